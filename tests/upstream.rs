//! What Redial does towards controllers, with scripted ones on loopback: each test is a sentence of the promise.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that meets the unexpected fails")]

mod common;

use bytes::Bytes;
use common::scripted_controller::{Act, Certificate, Heard, ScriptedController, Security, certificate, root_dse, usual};
use redial::config::{self, Limits, SearchAs, Server, ServiceAccount, UpstreamSecurity};
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Reply, RunAs};
use redial::identity::Credentials;
use redial::identity::register::Register;
use redial::identity::roster::{Caller, Revocation};
use redial::ldap::ResultCode;
use redial::ldap::control::write_control;
use redial::ldap::envelope::op;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest, WriteKind};
use redial::ldap::oid;
use redial::lifecycle::{Ending, lifecycle};
use redial::metrics::Metrics;
use redial::secret::Secret;
use redial::upstream::Upstream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A directory of controllers under test.
struct Bench {
    upstream: Upstream,
    _ending: Ending,
}

fn plain(controllers: &[&ScriptedController]) -> config::Upstream {
    let servers = controllers.iter().map(|controller| server(controller, "127.0.0.1", UpstreamSecurity::Plain)).collect();
    config::Upstream {
        servers,
        discover: None,
        ca: Some(certificate(Certificate::Good).0),
        search_as: SearchAs::Service,
        service: Some(ServiceAccount { bind_dn: "cn=redial".into(), password: Secret::new(b"service") }),
        forward_writes: true,
        connections: 4,
        connect_timeout: Duration::from_secs(10),
        operation_timeout: Duration::from_secs(10),
        idle: Duration::from_secs(300),
        probe_interval: Duration::from_secs(600),
        page_size: 1000,
    }
}

fn server(controller: &ScriptedController, host: &str, security: UpstreamSecurity) -> Server {
    Server {
        url: format!("ldap://{}", controller.address),
        host: host.into(),
        port: controller.address.port(),
        security,
        priority: 1,
        weight: 1,
    }
}

fn over_tls(controller: &ScriptedController, host: &str, security: UpstreamSecurity, ca: PathBuf) -> config::Upstream {
    config::Upstream { servers: vec![server(controller, host, security)], ca: Some(ca), ..plain(&[]) }
}

fn bench(config: &config::Upstream) -> Bench {
    let (ending, lifecycle) = lifecycle();
    let upstream = Upstream::new(3, config, &Limits::default(), Arc::new(Metrics::unrecorded()), lifecycle).unwrap();
    Bench { upstream, _ending: ending }
}

impl Bench {
    async fn run(&self, run_as: RunAs, request: Asked) -> Result<(Vec<Bytes>, Done), DirectoryError> {
        self.run_with(run_as, request, None, Duration::from_secs(20)).await
    }

    async fn run_with(
        &self,
        run_as: RunAs,
        request: Asked,
        controls: Option<Bytes>,
        wait: Duration,
    ) -> Result<(Vec<Bytes>, Done), DirectoryError> {
        let operation = Operation { run_as, request, controls, deadline: Instant::now() + wait };
        let mut replies = self.upstream.run(operation).await?;
        let mut entries = Vec::new();
        loop {
            match replies.next().await.expect("the end comes before the stream ends")? {
                Reply::Entry(entry) => entries.push(entry),
                Reply::Intermediate(_) | Reply::Who(_) => {}
                Reply::Again => entries.clear(),
                Reply::Done(done) => {
                    assert!(replies.next().await.is_none(), "nothing follows the end");
                    return Ok((entries, done));
                }
            }
        }
    }

    async fn search(&self, base: &str, wanted: Option<u32>) -> Result<(Vec<Bytes>, Done), DirectoryError> {
        self.run(RunAs::Service, search(base, wanted)).await
    }

    async fn bind(&self, name: &str) -> Result<Done, DirectoryError> {
        let request = Asked::Bind { name: name.into(), password: Secret::new(b"secret"), groups: Arc::default() };
        self.run(RunAs::Service, request).await.map(|(_, done)| done)
    }
}

fn search(base: &str, wanted: Option<u32>) -> Asked {
    let request = SearchRequest {
        base_object: base.into(),
        scope: Scope::WholeSubtree,
        deref_aliases: 0,
        size_limit: wanted.unwrap_or(0),
        time_limit: 0,
        types_only: false,
        filter: Filter::Present("cn".into()),
        attributes: vec!["cn".into()],
    };
    Asked::Search { op: request.encode().into(), request: Arc::new(request), entries_wanted: wanted }
}

fn modify() -> Asked {
    Asked::Write { op: Bytes::from_static(&[op::MODIFY_REQUEST, 4, 4, 0, 0x30, 0]), kind: WriteKind::Modify }
}

fn compare() -> Asked {
    let op = Bytes::from_static(&[op::COMPARE_REQUEST, 8, 4, 0, 0x30, 4, 4, 0, 4, 0]);
    Asked::Compare { op, entry: String::new(), attribute: String::new(), value: Vec::new() }
}

fn client(name: &str, password: &[u8]) -> Arc<Credentials> {
    let register = Arc::new(Register::new(&config::Binds::default()));
    Arc::new(Credentials::new(name.into(), Secret::new(password), register))
}

/// The usual controller with a script for everything but binds and the rootDSE.
async fn answering(script: impl Fn(&Heard) -> Option<Vec<Act>> + Send + Sync + 'static) -> ScriptedController {
    let is_plumbing = |heard: &Heard| heard.tag == op::BIND_REQUEST || heard.is_root_dse();
    ScriptedController::plain(move |heard| if is_plumbing(heard) { None } else { script(heard) }).await
}

async fn well() -> ScriptedController {
    ScriptedController::plain(|_| None).await
}

fn searches(controller: &ScriptedController) -> Vec<Heard> {
    controller.heard_with(op::SEARCH_REQUEST).into_iter().filter(|heard| !heard.is_root_dse()).collect()
}

// Connecting

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

// Choice, failover, retry

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

// Many on one connection

#[tokio::test]
async fn searches_behind_a_result_that_nobody_reads_go_elsewhere_and_their_server_is_not_blamed() {
    let first = answering(|heard| match (heard.tag, heard.tag == op::SEARCH_REQUEST && heard.base() == "cn=large") {
        (op::SEARCH_REQUEST, true) => Some(vec![heard.entry(&"x".repeat(100_000)); 400]),
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

// Collecting

/// A controller with `total` entries that gives at most 1,000 at once, as Active Directory does.
async fn with_entries(total: u32) -> ScriptedController {
    answering(move |heard| {
        if heard.tag != op::SEARCH_REQUEST {
            return None;
        }
        let (size, cookie) = heard.page().unwrap_or((u32::MAX, Vec::new()));
        let from: u32 = String::from_utf8(cookie).unwrap().parse().unwrap_or(0);
        let limit = if heard.size_limit() == 0 { u32::MAX } else { heard.size_limit() };
        let to = total.min(from.saturating_add(size.min(1000).min(limit)));
        let mut acts: Vec<Act> = (from..to).map(|number| heard.entry(&format!("cn={number}"))).collect();
        acts.push(match (heard.page(), to < total) {
            (Some(_), true) => heard.page_done(to.to_string().as_bytes()),
            (Some(_), false) => heard.page_done(b""),
            (None, true) => heard.done(ResultCode::SIZE_LIMIT_EXCEEDED),
            (None, false) => heard.done(ResultCode::SUCCESS),
        });
        Some(acts)
    })
    .await
}

#[tokio::test]
async fn more_entries_than_a_controller_gives_at_once_are_collected() {
    let controller = with_entries(2500).await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=a", None).await.unwrap();
    assert_eq!((entries.len(), done.code), (2500, ResultCode::SUCCESS));
    assert!(done.controls.is_none(), "the page's own control is not the client's");
    let pages = searches(&controller);
    assert_eq!(pages.len(), 3);
    assert!(pages.iter().all(|page| page.connection == pages[0].connection && page.size_limit() == 0));
}

#[tokio::test]
async fn collecting_stops_at_the_number_wanted_and_says_that_there_is_more() {
    let controller = with_entries(5000).await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=a", Some(1500)).await.unwrap();
    assert_eq!((entries.len(), done.code), (1500, ResultCode::SIZE_LIMIT_EXCEEDED));
    let pages: Vec<_> = searches(&controller).iter().map(|page| page.page().unwrap().0).collect();
    assert_eq!(pages, [1000, 501]);
}

#[tokio::test]
async fn a_result_of_exactly_the_number_wanted_is_complete() {
    let controller = with_entries(1500).await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=a", Some(1500)).await.unwrap();
    assert_eq!((entries.len(), done.code), (1500, ResultCode::SUCCESS));
}

#[tokio::test]
async fn a_search_for_few_is_not_paged_and_its_4_is_passed_on() {
    let controller = with_entries(2500).await;
    let bench = bench(&plain(&[&controller]));
    let (entries, done) = bench.search("dc=a", Some(500)).await.unwrap();
    assert_eq!((entries.len(), done.code), (500, ResultCode::SIZE_LIMIT_EXCEEDED));
    assert!(searches(&controller)[0].page().is_none());
}

#[tokio::test]
async fn a_server_that_does_not_announce_paging_is_asked_plainly() {
    let controller =
        ScriptedController::plain(|heard| heard.is_root_dse().then(|| vec![root_dse(heard, &[]), heard.done(ResultCode::SUCCESS)])).await;
    let bench = bench(&plain(&[&controller]));
    bench.search("dc=a", None).await.unwrap();
    assert!(searches(&controller)[0].controls.is_none());
}

#[tokio::test]
async fn paged_searches_never_share_a_connection_at_the_same_time() {
    // As OpenLDAP does: a connection knows the cookie of its last paged search and no other.
    let cookies: Mutex<std::collections::HashMap<usize, Vec<u8>>> = Mutex::default();
    let serial = AtomicUsize::new(0);
    let controller = answering(move |heard| {
        let (_, cookie) = heard.page()?;
        let mut cookies = cookies.lock().unwrap();
        if !cookie.is_empty() && cookies.get(&heard.connection) != Some(&cookie) {
            return Some(vec![heard.done(ResultCode::PROTOCOL_ERROR)]);
        }
        if cookie.first() == Some(&b'b') {
            return Some(vec![heard.entry("cn=last"), heard.page_done(b"")]);
        }
        let page = if cookie.is_empty() { 'a' } else { 'b' };
        let next = format!("{page}{}", serial.fetch_add(1, Ordering::SeqCst)).into_bytes();
        cookies.insert(heard.connection, next.clone());
        Some(vec![heard.entry("cn=more"), heard.page_done(&next)])
    })
    .await;
    let bench = Arc::new(bench(&plain(&[&controller])));
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.search("dc=a", None).await })
        })
        .collect();
    for task in asking {
        let (entries, done) = task.await.unwrap().unwrap();
        assert_eq!((entries.len(), done.code), (3, ResultCode::SUCCESS));
    }
    assert!(controller.connections().1 <= 4);
}

#[tokio::test]
async fn the_clients_controls_travel_and_domain_scope_joins_them() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    let mut controls = Vec::new();
    write_control(&mut controls, oid::MANAGE_DSA_IT, true, None);
    let wait = Duration::from_secs(20);
    bench.run_with(RunAs::Service, search("dc=a", Some(5)), Some(controls.clone().into()), wait).await.unwrap();
    let sent = searches(&controller)[0].controls.clone().unwrap();
    let mut expected = controls;
    write_control(&mut expected, oid::DOMAIN_SCOPE, false, None);
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_compare_is_answered() {
    let controller = well().await;
    let bench = bench(&plain(&[&controller]));
    assert_eq!(bench.run(RunAs::Service, compare()).await.unwrap().1.code, ResultCode::COMPARE_TRUE);
}

// Binds

fn client_binds(controller: &ScriptedController) -> Vec<Heard> {
    let is_service = |heard: &Heard| heard.op.windows(9).any(|part| part == b"cn=redial");
    controller.heard_with(op::BIND_REQUEST).into_iter().filter(|heard| !is_service(heard)).collect()
}

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

// As the client

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
