//! Which controller is asked, and when another is: failover, and the one retry of a search.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::timeout;

#[tokio::test]
async fn a_result_that_breaks_off_before_its_first_entry_is_asked_again_elsewhere() {
    let asked = Arc::new(AtomicUsize::new(0));
    let script = |asked: &Arc<AtomicUsize>| {
        let asked = Arc::clone(asked);
        move |heard: &Heard| {
            let is_first = heard.tag == op::SEARCH_REQUEST && asked.fetch_add(1, Ordering::SeqCst) == 0;
            is_first.then(|| vec![Act::Close])
        }
    };
    let controllers = [answering(script(&asked)).await, answering(script(&asked)).await];
    let bench = bench(&plain(&[&controllers[0], &controllers[1]]));
    let (entries, done) = bench.search("dc=a", Some(5)).await.unwrap();
    assert_eq!((entries.len(), done.code), (1, ResultCode::SUCCESS));
    assert_eq!(controllers.each_ref().map(|controller| searches(controller).len()), [1, 1]);
}

#[tokio::test]
async fn with_one_server_a_broken_search_is_asked_again_on_a_fresh_connection() {
    let asked = AtomicUsize::new(0);
    let controller = answering(move |_| (asked.fetch_add(1, Ordering::SeqCst) == 0).then(|| vec![Act::Close])).await;
    let bench = bench(&plain(&[&controller]));
    assert_eq!(bench.search("dc=a", Some(5)).await.unwrap().0.len(), 1);
    let asked = searches(&controller);
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].connection, asked[1].connection);
}

#[tokio::test]
async fn a_search_is_asked_again_once_and_no_more() {
    let controllers = [answering(|_| Some(vec![Act::Close])).await, answering(|_| Some(vec![Act::Close])).await];
    let bench = bench(&plain(&[&controllers[0], &controllers[1]]));
    assert!(matches!(bench.search("dc=a", Some(5)).await, Err(DirectoryError::ConnectionLost { .. })));
    assert_eq!(controllers.each_ref().map(|controller| searches(controller).len()), [1, 1]);
}

#[tokio::test]
async fn a_second_try_that_gets_no_answer_either_ends_in_an_error() {
    let binds = AtomicUsize::new(0);
    let controller = ScriptedController::plain(move |heard| match heard.tag {
        op::BIND_REQUEST if binds.fetch_add(1, Ordering::SeqCst) > 0 => Some(vec![]),
        op::SEARCH_REQUEST if !heard.is_root_dse() => Some(vec![Act::Close]),
        _ => None,
    })
    .await;
    let bench = bench(&plain(&[&controller]));
    let wait = Duration::from_millis(200);
    let error = bench.run_with(RunAs::Service, search("dc=a", Some(5)), None, wait).await.unwrap_err();
    assert_eq!(error, DirectoryError::ConnectionLost { sent: true });
}

#[tokio::test]
async fn a_result_that_breaks_off_after_an_entry_begins_anew_elsewhere() {
    let asked = Arc::new(AtomicUsize::new(0));
    let script = |asked: &Arc<AtomicUsize>| {
        let asked = Arc::clone(asked);
        move |heard: &Heard| (asked.fetch_add(1, Ordering::SeqCst) == 0).then(|| vec![heard.entry("cn=a"), heard.entry("cn=b"), Act::Close])
    };
    let controllers = [answering(script(&asked)).await, answering(script(&asked)).await];
    let bench = bench(&plain(&[&controllers[0], &controllers[1]]));
    let (entries, done) = bench.search("dc=a", Some(5)).await.unwrap();
    assert_eq!((entries.len(), done.code), (1, ResultCode::SUCCESS), "what came before is void");
    assert_eq!(controllers.each_ref().map(|controller| searches(controller).len()), [1, 1]);
}

#[tokio::test]
async fn a_result_that_breaks_off_twice_is_an_error() {
    let controller = answering(|heard| Some(vec![heard.entry("cn=a"), Act::Close])).await;
    let other = answering(|heard| Some(vec![heard.entry("cn=a"), Act::Close])).await;
    let bench = bench(&plain(&[&controller, &other]));
    assert_eq!(bench.search("dc=a", Some(5)).await.unwrap_err(), DirectoryError::ConnectionLost { sent: true });
    assert_eq!(searches(&controller).len() + searches(&other).len(), 2);
}

#[tokio::test]
async fn a_write_that_breaks_off_is_never_sent_again() {
    let controllers = [answering(|_| Some(vec![Act::Close])).await, answering(|_| Some(vec![Act::Close])).await];
    let bench = bench(&plain(&[&controllers[0], &controllers[1]]));
    assert_eq!(bench.run(RunAs::Service, modify()).await.unwrap_err(), DirectoryError::ConnectionLost { sent: true });
    let sent: usize = controllers.iter().map(|controller| controller.heard_with(op::MODIFY_REQUEST).len()).sum();
    assert_eq!(sent, 1);
}

#[tokio::test]
async fn busy_and_unavailable_lead_a_search_to_the_other_server() {
    for code in [ResultCode::BUSY, ResultCode::UNAVAILABLE] {
        let asked = Arc::new(AtomicUsize::new(0));
        let script = |asked: &Arc<AtomicUsize>| {
            let asked = Arc::clone(asked);
            move |heard: &Heard| (asked.fetch_add(1, Ordering::SeqCst) == 0).then(|| vec![heard.done(code)])
        };
        let controllers = [answering(script(&asked)).await, answering(script(&asked)).await];
        let bench = bench(&plain(&[&controllers[0], &controllers[1]]));
        assert_eq!(bench.search("dc=a", Some(5)).await.unwrap().1.code, ResultCode::SUCCESS);
    }
}

#[tokio::test]
async fn busy_from_the_only_server_is_passed_on() {
    let controller = answering(|heard| Some(vec![heard.done(ResultCode::BUSY)])).await;
    let bench = bench(&plain(&[&controller]));
    assert_eq!(bench.search("dc=a", Some(5)).await.unwrap().1.code, ResultCode::BUSY);
    assert_eq!(searches(&controller).len(), 1);
}

#[tokio::test]
async fn the_only_server_is_asked_though_operations_have_just_broken_off_there() {
    let asked = AtomicUsize::new(0);
    let controller = answering(move |_| (asked.fetch_add(1, Ordering::SeqCst) < 4).then(|| vec![Act::Close])).await;
    let bench = bench(&plain(&[&controller]));
    for _ in 0..2 {
        // It is tried twice.
        assert_eq!(bench.search("dc=a", Some(5)).await.unwrap_err(), DirectoryError::ConnectionLost { sent: true });
    }
    assert_eq!(bench.search("dc=a", Some(5)).await.unwrap().1.code, ResultCode::SUCCESS);
}

#[tokio::test]
async fn a_server_that_is_away_is_passed_over() {
    let mut away = well().await;
    away.stop();
    let controller = well().await;
    let bench = bench(&plain(&[&away, &controller]));
    for _ in 0..20 {
        assert_eq!(bench.search("dc=a", Some(5)).await.unwrap().0.len(), 1);
        assert_eq!(bench.run(RunAs::Service, modify()).await.unwrap().1.code, ResultCode::SUCCESS);
    }
}

#[tokio::test]
async fn start_up_without_controllers_is_no_error_and_a_server_that_comes_back_is_used() {
    let mut controller = well().await;
    controller.stop();
    let bench = bench(&plain(&[&controller]));
    bench.upstream.start();
    assert_eq!(bench.search("dc=a", Some(5)).await.unwrap_err(), DirectoryError::Unavailable);
    controller.start_again().await;
    let waiting = async {
        while !bench.upstream.is_available() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.expect("the probe finds it");
    assert_eq!(bench.search("dc=a", Some(5)).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn start_makes_a_first_connection_before_anybody_asks() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    bench.upstream.start();
    controller.wait_for(op::SEARCH_REQUEST, 1).await;
    assert!(controller.heard_with(op::SEARCH_REQUEST)[0].is_root_dse());
    assert_eq!(bench.search("dc=a", Some(5)).await.unwrap().0.len(), 1);
    assert_eq!(controller.connections().1, 1, "the search used it");
}

#[tokio::test]
async fn three_timeouts_in_a_row_take_a_server_out() {
    let controller = answering(|_| Some(vec![])).await;
    let bench = bench(&plain(&[&controller]));
    let wait = Duration::from_millis(50);
    for _ in 0..3 {
        let error = bench.run_with(RunAs::Service, search("dc=a", Some(5)), None, wait).await.unwrap_err();
        assert_eq!(error, DirectoryError::TimedOut);
    }
    assert_eq!(bench.search("dc=a", Some(5)).await.unwrap_err(), DirectoryError::Unavailable, "at once, without the deadline");
    assert_eq!(controller.wait_for(op::ABANDON_REQUEST, 3).await.len(), 3);
}
