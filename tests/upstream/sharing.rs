//! Many operations on one connection: who waits for whom, and what ends it.

use super::*;
use std::sync::Mutex;
use tokio::time::timeout;

#[tokio::test]
async fn searches_behind_a_result_that_nobody_reads_go_elsewhere_and_their_server_is_not_blamed() {
    let first = answering(|heard| match (heard.tag, heard.tag == op::SEARCH_REQUEST && heard.base() == "cn=large") {
        (op::SEARCH_REQUEST, true) => Some(vec![heard.entry(&"x".repeat(100_000)); 100]),
        (op::SEARCH_REQUEST, false) if heard.base() == "cn=held" => Some(vec![]),
        _ => None,
    })
    .await;
    let second = well().await;
    let mut config = plain(&[&first, &second]);
    config.servers[1].priority = 2;
    let bench = bench(&config);
    let held = futures_util::future::join_all((0..3).map(|_| bench.search("cn=held", Some(5))));
    let large = async {
        first.wait_for(op::SEARCH_REQUEST, 4).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        let operation = Operation { run_as: RunAs::Service, request: search("cn=large", Some(500)), controls: None, deadline };
        bench.upstream.run(operation).await.unwrap()
    };
    let (held, _unread) = tokio::join!(held, large);
    for answer in held {
        assert_eq!(answer.unwrap().1.code, ResultCode::SUCCESS);
    }
    assert_eq!(searches(&second).len(), 3);
    bench.search("cn=new", Some(5)).await.unwrap();
    assert_eq!(searches(&first).last().unwrap().base(), "cn=new");
}

#[tokio::test]
async fn the_pool_never_exceeds_its_connections() {
    let held: Arc<Mutex<Vec<Heard>>> = Arc::default();
    let keep = Arc::clone(&held);
    let controller = answering(move |heard| {
        keep.lock().unwrap().push(heard.clone());
        Some(vec![])
    })
    .await;
    let bench = Arc::new(bench(&config::Upstream { connections: 3, ..plain(&[&controller]) }));
    let asking: Vec<_> = (0..200)
        .map(|number| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.search(&format!("dc={number}"), Some(5)).await })
        })
        .collect();
    controller.wait_for(op::SEARCH_REQUEST, 201).await;
    let waiting = async {
        while held.lock().unwrap().len() < 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.unwrap();
    for heard in held.lock().unwrap().iter() {
        controller.act(heard.connection, heard.entry(&heard.base()));
        controller.act(heard.connection, heard.done(ResultCode::SUCCESS));
    }
    for task in asking {
        assert_eq!(task.await.unwrap().unwrap().0.len(), 1);
    }
    let (_, most) = controller.connections();
    assert!((2..=3).contains(&most), "{most} connections");
}

#[tokio::test]
async fn a_notice_of_disconnection_is_obeyed_and_the_connection_replaced() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    bench.search("dc=a", Some(5)).await.unwrap();
    let mut notice = Vec::new();
    redial::ldap::response::write_notice_of_disconnection(&mut notice, ResultCode::UNAVAILABLE, "");
    controller.act(0, Act::Say(notice));
    controller.wait_for(op::UNBIND_REQUEST, 1).await;
    assert_eq!(bench.search("dc=b", Some(5)).await.unwrap().0.len(), 1);
    assert_eq!(searches(&controller)[1].connection, 1);
}

#[tokio::test]
async fn a_dropped_search_is_abandoned_at_the_controller() {
    let controller = answering(|_| Some(vec![])).await;
    let bench = bench(&plain(&[&controller]));
    let operation = Operation {
        run_as: RunAs::Service,
        request: search("dc=a", Some(5)),
        controls: None,
        deadline: Instant::now() + Duration::from_secs(20),
    };
    let replies = bench.upstream.run(operation).await.unwrap();
    controller.wait_for(op::SEARCH_REQUEST, 2).await;
    drop(replies);
    let abandon = controller.wait_for(op::ABANDON_REQUEST, 1).await;
    assert_eq!(abandon[0].abandoned(), searches(&controller)[0].id);
}
