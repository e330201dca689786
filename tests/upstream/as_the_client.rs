//! Operations under the client's own name: one connection a principal, and nobody else's.

use super::*;
use redial::identity::revocation::Revocation;
use redial::identity::roster::Caller;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use tokio::time::timeout;

#[tokio::test]
async fn operations_of_one_principal_share_a_connection_and_others_never_get_it() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    // The same credentials in two objects, as two sessions have them; another password is another principal.
    let principals = [client("cn=a", b"1"), client("cn=a", b"1"), client("cn=a", b"2"), client("cn=b", b"1")];
    for _ in 0..3 {
        for principal in &principals {
            bench.run(RunAs::Client(Arc::clone(principal)), search("dc=a", Some(5))).await.unwrap();
        }
    }
    let used: Vec<_> = searches(&controller).iter().map(|heard| heard.connection).collect();
    assert_eq!(used, [0, 0, 1, 2].repeat(3));
    assert_eq!(client_binds(&controller).len(), 3);
}

#[tokio::test]
async fn a_connection_that_the_controller_closed_is_bound_again() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    let principal = client("cn=a", b"1");
    bench.run(RunAs::Client(Arc::clone(&principal)), search("dc=a", Some(5))).await.unwrap();
    controller.act(0, Act::Close);
    let (entries, _) = bench.run(RunAs::Client(principal), search("dc=b", Some(5))).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(client_binds(&controller).len(), 2);
}

#[tokio::test]
async fn busy_for_a_principal_costs_no_new_bind() {
    let controller = answering(|heard| Some(vec![heard.done(ResultCode::BUSY)])).await;
    let bench = bench(&plain(&[&controller]));
    let principal = client("cn=a", b"1");
    for _ in 0..2 {
        let (_, done) = bench.run(RunAs::Client(Arc::clone(&principal)), search("dc=a", Some(5))).await.unwrap();
        assert_eq!(done.code, ResultCode::BUSY);
    }
    assert_eq!(client_binds(&controller).len(), 1);
}

#[tokio::test]
async fn credentials_refused_once_are_not_sent_again_until_the_client_proves_itself() {
    let password_is_right = Arc::new(AtomicUsize::new(0));
    let is_right = Arc::clone(&password_is_right);
    let controller = ScriptedController::plain(move |heard| {
        let refuses = heard.tag == op::BIND_REQUEST && is_right.load(Ordering::SeqCst) == 0;
        refuses.then(|| vec![heard.done(ResultCode::INVALID_CREDENTIALS)])
    })
    .await;
    let bench = bench(&plain(&[&controller]));
    let sessions = [client("cn=a", b"secret"), client("cn=a", b"secret")];
    for session in sessions.iter().cycle().take(10) {
        let error = bench.run(RunAs::Client(Arc::clone(session)), search("dc=a", Some(5))).await.unwrap_err();
        assert_eq!(error, DirectoryError::CredentialsRefused);
    }
    assert_eq!(client_binds(&controller).len(), 1, "ten operations, one wrong password");
    password_is_right.store(1, Ordering::SeqCst);
    bench.bind("cn=a").await.unwrap();
    bench.run(RunAs::Client(Arc::clone(&sessions[0])), search("dc=a", Some(5))).await.unwrap();
}

#[tokio::test]
async fn a_rebind_that_is_refused_ends_the_sessions_that_live_on_these_credentials_and_counts_as_an_attempt() {
    let refused = Arc::new(AtomicUsize::new(0));
    let refuses = Arc::clone(&refused);
    let controller = ScriptedController::plain(move |heard| {
        let refuses = heard.tag == op::BIND_REQUEST && refuses.load(Ordering::SeqCst) > 0;
        refuses.then(|| vec![heard.done(ResultCode::INVALID_CREDENTIALS)])
    })
    .await;
    let bench = bench(&plain(&[&controller]));
    let register = Arc::new(Register::new(&config::Binds { attempts: 1, ..config::Binds::default() }));
    let session = |password: &[u8]| {
        let presented = register.present(0, "cn=a", &Secret::new(password));
        let caller = Caller { name: "cn=a".into(), peer: "10.20.0.1:50000".parse().unwrap(), listener: 0 };
        let member = register.enter(&presented, caller);
        member.confirm(Waker::noop(), Instant::now());
        (RunAs::Client(Arc::new(Credentials::new("cn=a".into(), Secret::new(password), Arc::clone(&register)))), member)
    };
    let (run_as, member) = session(b"right");
    let (_, other) = session(b"other");
    bench.run(run_as.clone(), search("dc=a", Some(5))).await.unwrap();
    assert_eq!(member.revoked(), None);

    // The password has been changed, and the connection is lost.
    refused.store(1, Ordering::SeqCst);
    controller.act(0, Act::Close);
    bench.run(run_as, search("dc=b", Some(5))).await.unwrap_err();
    assert_eq!((member.revoked(), other.revoked()), (Some(Revocation::Refused), None));
    assert_eq!(register.guarded(), 1);

    // The account has no attempt left: what nobody has seen to be right is not shown to a controller.
    let binds = client_binds(&controller).len();
    let (run_as, _member) = session(b"third");
    assert_eq!(bench.run(run_as, search("dc=c", Some(5))).await.unwrap_err(), DirectoryError::Unavailable);
    assert_eq!((binds, client_binds(&controller).len()), (2, 2));
}

#[tokio::test]
async fn many_operations_at_once_bind_a_principal_once() {
    let controller = well().await;
    let bench = Arc::new(bench(&plain(&[&controller])));
    let principal = client("cn=a", b"1");
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let (bench, principal) = (Arc::clone(&bench), Arc::clone(&principal));
            tokio::spawn(async move { bench.run(RunAs::Client(principal), modify()).await })
        })
        .collect();
    for task in asking {
        assert_eq!(task.await.unwrap().unwrap().1.code, ResultCode::SUCCESS);
    }
    assert_eq!(client_binds(&controller).len(), 1);
    assert_eq!(usual(&controller.heard_with(op::MODIFY_REQUEST)[0]).len(), 1);
}

#[tokio::test]
async fn principals_beyond_the_bound_take_the_place_of_the_longest_idle() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    for number in 0..260 {
        bench.run(RunAs::Client(client(&format!("cn={number}"), b"1")), search("dc=a", Some(5))).await.unwrap();
    }
    let waiting = async {
        while controller.connections().0 > 256 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.expect("the connections of the first are closed");
}
