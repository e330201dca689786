//! Binds of clients: sent once, on connections of their own.

use super::*;

#[tokio::test]
async fn a_bind_is_sent_once_and_its_response_comes_as_it_was_sent() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    let done = bench.bind("cn=phone").await.unwrap();
    assert_eq!((done.code, &done.op[..]), (ResultCode::SUCCESS, &[0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0][..]));
    assert_eq!(client_binds(&controller).len(), 1);
}

#[tokio::test]
async fn a_refused_bind_is_not_tried_on_another_server() {
    let refuse = |heard: &Heard| (heard.tag == op::BIND_REQUEST).then(|| vec![heard.done(ResultCode::INVALID_CREDENTIALS)]);
    let controllers = [ScriptedController::plain(refuse).await, ScriptedController::plain(refuse).await];
    let bench = bench(&plain(&[&controllers[0], &controllers[1]]));
    assert_eq!(bench.bind("cn=phone").await.unwrap().code, ResultCode::INVALID_CREDENTIALS);
    assert_eq!(client_binds(&controllers[0]).len() + client_binds(&controllers[1]).len(), 1);
}

#[tokio::test]
async fn a_bind_that_breaks_off_is_an_error_and_not_sent_again() {
    let cut = |heard: &Heard| (heard.tag == op::BIND_REQUEST).then(|| vec![Act::Close]);
    let controllers = [ScriptedController::plain(cut).await, ScriptedController::plain(cut).await];
    let bench = bench(&plain(&[&controllers[0], &controllers[1]]));
    let error = bench.bind("cn=phone").await.unwrap_err();
    assert_eq!(error, DirectoryError::ConnectionLost { sent: true });
    assert_eq!(error.result_code(), ResultCode::UNAVAILABLE, "never 49");
    assert_eq!(client_binds(&controllers[0]).len() + client_binds(&controllers[1]).len(), 1);
}

#[tokio::test]
async fn bind_connections_are_used_again_for_binds_and_for_nothing_else() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    for number in 0..5 {
        bench.bind(&format!("cn=phone{number}")).await.unwrap();
        bench.search("dc=a", Some(5)).await.unwrap();
    }
    let bound: Vec<_> = client_binds(&controller).iter().map(|heard| heard.connection).collect();
    assert!(bound.iter().all(|connection| *connection == bound[0]));
    assert!(searches(&controller).iter().all(|heard| heard.connection != bound[0]));
}

#[tokio::test]
async fn no_two_binds_are_under_way_on_one_connection() {
    let controller = ScriptedController::plain(|heard| (heard.tag == op::BIND_REQUEST).then(Vec::new)).await;
    let bench = Arc::new(bench(&plain(&[&controller])));
    for number in 0..20 {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.bind(&format!("cn=phone{number}")).await });
    }
    let mut used: Vec<_> = controller.wait_for(op::BIND_REQUEST, 8).await.iter().map(|heard| heard.connection).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), client_binds(&controller).len());
    assert_eq!(used.len(), 8, "the others wait");
}

#[tokio::test]
async fn sasl_credentials_do_not_reach_a_client_that_bound_simply() {
    let with_creds =
        |heard: &Heard| (heard.tag == op::BIND_REQUEST).then(|| vec![heard.message(&[0x61, 10, 0x0a, 1, 0, 4, 0, 4, 0, 0x87, 1, 9])]);
    let controller = ScriptedController::plain(with_creds).await;
    let done = bench(&plain(&[&controller])).bind("cn=phone").await.unwrap();
    assert_eq!(done.op[..], [0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0]);
}
