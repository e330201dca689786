//! Connecting: whom Redial believes to be a controller, and what never leaves before it does.

use super::*;
use common::scripted_controller::Security;

#[tokio::test]
async fn a_search_goes_out_under_the_service_account_and_comes_back() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=example", Some(10)).await.unwrap();
    assert_eq!((entries.len(), done.code), (1, ResultCode::SUCCESS));
    let binds = controller.heard_with(op::BIND_REQUEST);
    assert_eq!(binds.len(), 1);
    assert!(binds[0].op.ends_with(b"\x04\x09cn=redial\x80\x07service"));
    let search = &searches(&controller)[0];
    assert_eq!(search.size_limit(), 10);
    assert!(search.page().is_none(), "ten entries fit a page");
    assert!(bench.upstream.is_available());
}

#[tokio::test]
async fn ldaps_and_start_tls_work_by_name_and_by_address() {
    for host in ["localhost", "127.0.0.1"] {
        let (ca, tls) = certificate(Certificate::Good);
        let ldaps = ScriptedController::start(Security::Ldaps(Arc::clone(&tls)), |_| None).await;
        let start_tls = ScriptedController::start(Security::StartTls(tls), |_| None).await;
        let found = bench(&over_tls(&ldaps, host, UpstreamSecurity::Ldaps, ca.clone())).search("dc=a", Some(1)).await;
        assert_eq!(found.unwrap().0.len(), 1);
        let found = bench(&over_tls(&start_tls, host, UpstreamSecurity::StartTls, ca)).search("dc=a", Some(1)).await;
        assert_eq!(found.unwrap().0.len(), 1);
        assert_eq!(start_tls.heard()[0].tag, op::EXTENDED_REQUEST);
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_before_the_password_leaves() {
    for kind in [Certificate::OtherName, Certificate::Expired, Certificate::SelfSigned] {
        let (ca, tls) = certificate(kind);
        for (security, accepted) in
            [(Security::Ldaps(Arc::clone(&tls)), UpstreamSecurity::Ldaps), (Security::StartTls(tls), UpstreamSecurity::StartTls)]
        {
            let controller = ScriptedController::start(security, |_| None).await;
            let bench = bench(&over_tls(&controller, "localhost", accepted, ca.clone()));
            assert_eq!(bench.search("dc=a", Some(1)).await.unwrap_err(), DirectoryError::Unavailable, "{kind:?}");
            assert_eq!(bench.bind("cn=phone").await.unwrap_err(), DirectoryError::Unavailable, "{kind:?}");
            assert!(controller.heard_with(op::BIND_REQUEST).is_empty(), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_ca_of_somebody_else_is_refused() {
    let (_, tls) = certificate(Certificate::Good);
    let (other_ca, _) = certificate(Certificate::Good);
    let controller = ScriptedController::start(Security::Ldaps(tls), |_| None).await;
    let bench = bench(&over_tls(&controller, "localhost", UpstreamSecurity::Ldaps, other_ca));
    assert_eq!(bench.search("dc=a", Some(1)).await.unwrap_err(), DirectoryError::Unavailable);
}

#[tokio::test]
async fn a_refused_start_tls_is_an_error_and_nothing_goes_in_clear() {
    let (ca, tls) = certificate(Certificate::Good);
    let refuse = |heard: &Heard| (heard.tag == op::EXTENDED_REQUEST).then(|| vec![heard.done(ResultCode::PROTOCOL_ERROR)]);
    let controller = ScriptedController::start(Security::StartTls(tls), refuse).await;
    let bench = bench(&over_tls(&controller, "localhost", UpstreamSecurity::StartTls, ca));
    assert_eq!(bench.search("dc=a", Some(1)).await.unwrap_err(), DirectoryError::Unavailable);
    assert!(controller.heard().iter().all(|heard| heard.tag == op::EXTENDED_REQUEST));
}

#[tokio::test]
async fn octets_injected_before_the_handshake_are_refused() {
    let (ca, tls) = certificate(Certificate::Good);
    let inject = |heard: &Heard| {
        let Act::Say(mut octets) = heard.done(ResultCode::SUCCESS) else { return None };
        let Act::Say(injected) = heard.done(ResultCode::SUCCESS) else { return None };
        octets.extend(injected);
        (heard.tag == op::EXTENDED_REQUEST).then(|| vec![Act::Say(octets), Act::StartTls])
    };
    let controller = ScriptedController::start(Security::StartTls(tls), inject).await;
    let bench = bench(&over_tls(&controller, "localhost", UpstreamSecurity::StartTls, ca));
    assert_eq!(bench.search("dc=a", Some(1)).await.unwrap_err(), DirectoryError::Unavailable);
    assert!(controller.heard_with(op::BIND_REQUEST).is_empty());
}

#[tokio::test]
async fn a_service_account_that_is_refused_makes_the_directory_unavailable() {
    let refuse = |heard: &Heard| (heard.tag == op::BIND_REQUEST).then(|| vec![heard.done(ResultCode::INVALID_CREDENTIALS)]);
    let controller = ScriptedController::plain(refuse).await;
    let bench = bench(&plain(&[&controller]));
    assert_eq!(bench.search("dc=a", Some(1)).await.unwrap_err(), DirectoryError::Unavailable);
    assert_eq!(bench.search("dc=a", Some(1)).await.unwrap_err(), DirectoryError::Unavailable);
    assert_eq!(controller.heard_with(op::BIND_REQUEST).len(), 1, "known to be down: not asked again for each search");
    assert!(!bench.upstream.is_available());
}
