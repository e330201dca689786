//! An operation's way from accepted to answered, over a scripted directory and a paused clock.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

#[path = "common/scripted_directory.rs"]
mod scripted_directory;

use redial::config::{self, Access, Clients, Config, DirectoryConfig, DirectoryKind, SearchAs};
use redial::directory::{Asked, Directory, DirectoryError, RunAs};
use redial::identity::Identity;
use redial::ldap::ber::{Reader, tag, write_constructed, write_element, write_integer};
use redial::ldap::control::{PagedResults, parse_controls, write_control};
use redial::ldap::dn::Dn;
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::message::{LdapResult, Request, Scope, SearchRequest};
use redial::ldap::{Envelope, MessageId, ResultCode, oid};
use redial::metrics::Metrics;
use redial::pipeline::{Begun, Client, Pipeline, Said};
use redial::session::{Accepted, AcceptedRequest, ClientMessageId, Security};
use scripted_directory::{Scripted, ScriptedDirectory};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const BASE: &str = "dc=corp,dc=example";

/// A pipeline in front of one scripted directory.
struct House {
    pipeline: Arc<Pipeline>,
    directory: Arc<ScriptedDirectory>,
}

/// Somebody who asks.
struct Phone<'a> {
    house: &'a House,
    client: Client,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
struct Answered {
    /// The octets of each entry's protocolOp.
    entries: Vec<Vec<u8>>,
    code: ResultCode,
    diagnostic: String,
    /// At once, without waiting.
    from_memory: bool,
    cookie: Option<Vec<u8>>,
}

impl House {
    fn new(directory: ScriptedDirectory, change: impl FnOnce(&mut Config)) -> Self {
        let directory = Arc::new(directory);
        let mut config = config();
        change(&mut config);
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::clone(&directory) as _];
        let pipeline = Arc::new(Pipeline::new(&config, directories, Arc::new(Metrics::unrecorded())));
        Self { pipeline, directory }
    }

    fn phone(&self) -> Phone<'_> {
        self.phone_at("10.20.1.7")
    }

    fn phone_at(&self, address: &str) -> Phone<'_> {
        let peer = (address.parse::<std::net::IpAddr>().unwrap(), 50_000).into();
        Phone {
            house: self,
            client: Client { peer, listener: 0, security: Security::Clear, identity: Identity::Anonymous, standing: None },
        }
    }
}

impl Phone<'_> {
    async fn search(&self, filter: &str) -> Answered {
        self.ask(&search(filter).encode(), None).await
    }

    async fn page(&self, filter: &str, size: u32, cookie: &[u8]) -> Answered {
        let mut control = Vec::new();
        write_control(&mut control, oid::PAGED_RESULTS, true, Some(&PagedResults { size, cookie }.encode()));
        self.ask(&search(filter).encode(), Some(&control)).await
    }

    async fn bind(&mut self, name: &str, password: &str) -> Answered {
        let mut request = Vec::new();
        write_constructed(&mut request, op::BIND_REQUEST, |out| {
            write_integer(out, tag::INTEGER, 3);
            write_element(out, tag::OCTET_STRING, name.as_bytes());
            write_element(out, 0x80, password.as_bytes());
        });
        let (answered, identity) = self.run(&request, None).await;
        self.client.identity = identity.expect("a bind says who the client is");
        answered
    }

    async fn ask(&self, op: &[u8], controls: Option<&[u8]>) -> Answered {
        self.run(op, controls).await.0
    }

    async fn run(&self, op: &[u8], controls: Option<&[u8]>) -> (Answered, Option<Identity>) {
        let mut out = Vec::new();
        let mut identity = None;
        let mut said = match self.begin(op, controls, &mut out) {
            Begun::Answered(_) => return (answered(&out, true), None),
            Begun::Running(running) => {
                let (outbox, said) = mpsc::channel(4);
                tokio::spawn(Arc::clone(&self.house.pipeline).finish(running, outbox));
                said
            }
        };
        while let Some(said) = said.recv().await {
            match said {
                Said::Part(_, octets) | Said::Finished(_, octets) => out.extend_from_slice(&octets),
                Said::BindFinished(_, bound, octets) => {
                    identity = Some(bound.map_or(Identity::Anonymous, |bound| Identity::Bound(bound.principal)));
                    out.extend_from_slice(&octets);
                }
            }
        }
        (answered(&out, false), identity)
    }

    fn begin(&self, op: &[u8], controls: Option<&[u8]>, out: &mut Vec<u8>) -> Begun {
        let mut frame = Vec::new();
        write_envelope(&mut frame, MessageId::new(7).unwrap(), op, controls);
        let envelope = Envelope::parse(&frame).unwrap();
        let request = match Request::parse(&envelope).unwrap() {
            Request::Search(search) => AcceptedRequest::Search(search),
            Request::Bind(bind) => AcceptedRequest::Bind(bind),
            Request::Compare(compare) => AcceptedRequest::Compare(compare),
            Request::Write(write) => AcceptedRequest::Write(write),
            Request::Extended(extended) => AcceptedRequest::Extended(extended),
            Request::Unbind | Request::Abandon(_) => panic!("the session's own"),
        };
        let message_id = ClientMessageId::new(envelope.message_id).unwrap();
        let accepted = Accepted { message_id, request, controls: envelope.controls };
        self.house.pipeline.begin(&self.client, &accepted, Instant::now(), out)
    }
}

fn answered(octets: &[u8], from_memory: bool) -> Answered {
    let mut messages = Reader::new(octets);
    let mut entries = Vec::new();
    loop {
        let envelope = Envelope::parse(messages.element().expect("a last word").raw).unwrap();
        assert_eq!(envelope.message_id.number(), 7);
        if envelope.op_tag == op::SEARCH_RESULT_ENTRY {
            entries.push(envelope.op.to_vec());
            continue;
        }
        assert!(messages.is_empty(), "something after the last word");
        let result = LdapResult::parse(envelope.op_content).unwrap();
        let controls = parse_controls(envelope.controls).unwrap();
        let cookie = controls.iter().find(|control| control.oid == oid::PAGED_RESULTS);
        let cookie = cookie.map(|control| PagedResults::parse(control.value.unwrap()).unwrap().cookie.to_vec());
        let diagnostic = String::from_utf8_lossy(result.diagnostic).into_owned();
        return Answered { entries, code: result.code, diagnostic, from_memory, cookie };
    }
}

fn search(filter: &str) -> SearchRequest {
    SearchRequest::new(BASE, Scope::WholeSubtree, Filter::parse(filter).unwrap(), &["telephoneNumber"])
}

fn compare(attribute: &str, value: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write_constructed(&mut request, op::COMPARE_REQUEST, |out| {
        write_element(out, tag::OCTET_STRING, b"cn=a,dc=corp,dc=example");
        write_constructed(out, tag::SEQUENCE, |out| {
            write_element(out, tag::OCTET_STRING, attribute.as_bytes());
            write_element(out, tag::OCTET_STRING, value.as_bytes());
        });
    });
    request
}

fn delete() -> Vec<u8> {
    let mut request = Vec::new();
    write_element(&mut request, op::DELETE_REQUEST, b"cn=a,dc=corp,dc=example");
    request
}

fn config() -> Config {
    Config {
        listeners: Vec::new(),
        directories: vec![DirectoryConfig {
            name: "corp".to_owned(),
            base: BASE.to_owned(),
            base_dn: Dn::parse(BASE).unwrap(),
            kind: DirectoryKind::Upstream(config::Upstream {
                servers: Vec::new(),
                discover: None,
                ca: None,
                search_as: SearchAs::Service,
                service: None,
                forward_writes: true,
                connections: 1,
                connect_timeout: Duration::from_secs(3),
                operation_timeout: Duration::from_secs(8),
                idle: Duration::from_secs(300),
                probe_interval: Duration::from_secs(10),
                page_size: 500,
            }),
        }],
        accesses: vec![access("anybody", Clients::Any)],
        cache: config::Cache::default(),
        binds: config::Binds::default(),
        limits: config::Limits::default(),
        accounts: Vec::new(),
        admin: None,
        audit: None,
    }
}

fn access(name: &str, clients: Clients) -> Access {
    Access {
        name: name.to_owned(),
        networks: Vec::new(),
        clients,
        bases: vec![(BASE.to_owned(), Dn::parse(BASE).unwrap())],
        attributes: None,
        filter: None,
        size_limit: None,
    }
}

fn search_as_client(config: &mut Config) {
    let DirectoryKind::Upstream(upstream) = &mut config.directories[0].kind else { panic!("an upstream directory") };
    upstream.search_as = SearchAs::Client;
}

#[tokio::test(start_paused = true)]
async fn the_second_identical_search_is_answered_from_memory() {
    let house = House::new(ScriptedDirectory::always(Scripted::one("cn=a,dc=corp,dc=example", "+49 30 1")), |_| {});
    let miss = house.phone().search("(cn=a*)").await;
    let hit = house.phone().search("(CN=A*)").await;
    assert_eq!((miss.from_memory, hit.from_memory, house.directory.times_asked()), (false, true, 1));
    assert_eq!((miss.code, &miss.entries), (ResultCode::SUCCESS, &hit.entries));
    assert_eq!(miss.entries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_directory_refused_is_not_kept() {
    let house = House::new(ScriptedDirectory::always(Scripted::Result(ResultCode::BUSY, "later")), |_| {});
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::BUSY);
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::BUSY);
    assert_eq!(house.directory.times_asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn identical_searches_in_flight_become_one() {
    let answer = Scripted::one("cn=a,dc=corp,dc=example", "1").after(Duration::from_secs(1));
    let house = House::new(ScriptedDirectory::always(answer), |_| {});
    let answers = futures_util::future::join_all((0..500).map(|_| async { house.phone().search("(cn=a*)").await })).await;
    assert!(answers.iter().all(|answer| answer.code == ResultCode::SUCCESS && answer.entries.len() == 1));
    assert_eq!(house.directory.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fill_outlives_the_phone_that_asked_first() {
    let answer = Scripted::one("cn=a,dc=corp,dc=example", "1").after(Duration::from_secs(1));
    let house = House::new(ScriptedDirectory::always(answer), |_| {});
    let phone = house.phone();
    assert!(tokio::time::timeout(Duration::from_millis(10), phone.search("(cn=a*)")).await.is_err());
    sleep(Duration::from_secs(2)).await;
    assert!(house.phone().search("(cn=a*)").await.from_memory);
    assert_eq!(house.directory.times_asked(), 1);
}

/// A house that holds an answer past its time.
async fn with_a_stale_answer() -> House {
    let house = House::new(ScriptedDirectory::always(Scripted::one("cn=a,dc=corp,dc=example", "old")), |_| {});
    house.phone().search("(cn=a*)").await;
    sleep(Duration::from_secs(600)).await;
    house
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_stands_in_at_once_for_a_directory_that_fails() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    let asked_at = Instant::now();
    let answer = house.phone().search("(cn=a*)").await;
    assert_eq!((answer.code, answer.entries.len()), (ResultCode::SUCCESS, 1));
    assert!(asked_at.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_stands_in_for_a_server_that_says_busy() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Result(ResultCode::BUSY, ""));
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_stands_in_after_1800_ms_for_a_directory_that_dawdles() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Silence);
    let asked_at = Instant::now();
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::SUCCESS);
    let waited = asked_at.elapsed();
    assert!(waited >= Duration::from_millis(1800) && waited < Duration::from_millis(1900), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_comes_by_pages_to_a_client_that_wants_pages() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    let page = house.phone().page("(cn=a*)", 10, b"").await;
    assert_eq!((page.entries.len(), page.cookie), (1, Some(Vec::new())));
}

#[tokio::test(start_paused = true)]
async fn any_real_answer_replaces_a_stale_one_and_gone_is_one() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Result(ResultCode::NO_SUCH_OBJECT, ""));
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::NO_SUCH_OBJECT);
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::NO_SUCH_OBJECT);
}

#[tokio::test(start_paused = true)]
async fn nothing_stale_is_served_past_its_limit() {
    let house = with_a_stale_answer().await;
    sleep(Duration::from_secs(25 * 3600)).await;
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_hit_late_in_its_time_is_asked_again_in_the_background() {
    let house = House::new(ScriptedDirectory::always(Scripted::one("cn=a,dc=corp,dc=example", "old")), |_| {});
    house.phone().search("(cn=a*)").await;
    house.directory.answers(Scripted::one("cn=a,dc=corp,dc=example", "new"));
    sleep(Duration::from_secs(265)).await;
    let hit = house.phone().search("(cn=a*)").await;
    assert!(hit.from_memory);
    sleep(Duration::from_secs(1)).await;
    let renewed = house.phone().search("(cn=a*)").await;
    assert!(renewed.from_memory && renewed.entries != hit.entries);
    assert_eq!(house.directory.times_asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn clients_of_different_accesses_never_share_an_answer() {
    let house = House::new(ScriptedDirectory::always(Scripted::one("cn=a,dc=corp,dc=example", "1")), |config| {
        let voice = Access { networks: vec!["10.20.0.0/16".parse().unwrap()], ..access("voice", Clients::Any) };
        let guests = Access { size_limit: Some(5), ..access("guests", Clients::Any) };
        config.accesses = vec![voice, guests];
    });
    assert!(!house.phone_at("10.20.1.7").search("(cn=a*)").await.from_memory);
    assert!(!house.phone_at("192.0.2.1").search("(cn=a*)").await.from_memory);
    assert!(house.phone_at("10.20.9.9").search("(cn=a*)").await.from_memory);
    assert_eq!(house.directory.times_asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_an_access_nothing_is_asked() {
    let house = House::new(ScriptedDirectory::always(Scripted::Silence), |config| config.accesses[0].clients = Clients::Bound);
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    assert_eq!(house.phone().ask(&compare("sn", "x"), None).await.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    assert_eq!(house.directory.times_asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_filter_on_a_hidden_attribute_never_reaches_the_directory() {
    let house = House::new(ScriptedDirectory::always(Scripted::Result(ResultCode::SUCCESS, "")), |config| {
        config.accesses[0].attributes = Some(["cn".to_owned(), "telephonenumber".to_owned()].into());
    });
    for filter in ["(pager=1)", "(!(pager=1))", "(&(cn=a)(!(pager=1)))", "(|(cn=a)(pager=1*))"] {
        assert_eq!(house.phone().search(filter).await.code, ResultCode::SUCCESS);
    }
    for operation in house.directory.asked() {
        let Asked::Search { op, request, .. } = operation.request else { panic!("a search") };
        assert!(!request.filter.to_string().contains("pager"));
        assert!(!String::from_utf8_lossy(&op).contains("pager"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_compare_of_a_hidden_attribute_says_the_same_whatever_the_value() {
    let house = House::new(ScriptedDirectory::always(Scripted::Result(ResultCode::COMPARE_TRUE, "")), |config| {
        config.accesses[0].attributes = Some(["cn".to_owned()].into());
    });
    let right = house.phone().ask(&compare("pager", "1"), None).await;
    assert_eq!(right, house.phone().ask(&compare("pager", "2"), None).await);
    assert_eq!(right.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    assert_eq!(house.phone().ask(&compare("cn", "a"), None).await.code, ResultCode::COMPARE_TRUE);
    assert_eq!(house.directory.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_compare_sees_only_entries_that_the_access_shows() {
    let house = House::new(ScriptedDirectory::always(Scripted::Result(ResultCode::SUCCESS, "")), |config| {
        config.accesses[0].filter = Some(Filter::parse("(objectClass=person)").unwrap());
    });
    assert_eq!(house.phone().ask(&compare("cn", "a"), None).await.code, ResultCode::NO_SUCH_OBJECT);
    assert!(house.directory.asked().iter().all(|operation| matches!(operation.request, Asked::Search { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_right_password_makes_the_client_known_and_a_wrong_one_does_not_say_why() {
    let house = House::new(
        ScriptedDirectory::new(|operation| match &operation.request {
            Asked::Bind { password, .. } if password.expose() == b"right" => Scripted::Result(ResultCode::SUCCESS, ""),
            _ => Scripted::Result(ResultCode::INVALID_CREDENTIALS, "data 525"),
        }),
        |_| {},
    );
    let mut phone = house.phone();
    assert_eq!(phone.bind("alice@corp.example", "right").await.code, ResultCode::SUCCESS);
    assert_eq!(phone.client.identity.name(), "alice@corp.example");
    let refused = phone.bind("alice@corp.example", "wrong").await;
    assert_eq!((refused.code, refused.diagnostic.as_str()), (ResultCode::INVALID_CREDENTIALS, ""));
    assert!(phone.client.identity.is_anonymous());
    assert_eq!(house.directory.times_asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bind_without_a_directory_is_unavailable_and_never_wrong() {
    let errors = [DirectoryError::Unavailable, DirectoryError::ConnectionLost { sent: true }, DirectoryError::TimedOut];
    for error in errors {
        let house = House::new(ScriptedDirectory::always(Scripted::Fails(error)), |_| {});
        assert_eq!(house.phone().bind("alice@corp.example", "right").await.code, ResultCode::UNAVAILABLE);
        assert_eq!(house.directory.times_asked(), 1);
    }
    let silent = House::new(ScriptedDirectory::always(Scripted::Silence), |_| {});
    assert_eq!(silent.phone().bind("alice@corp.example", "right").await.code, ResultCode::UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn principals_never_share_an_answer_where_searches_run_as_the_client() {
    let script = |operation: &redial::directory::Operation| match (&operation.request, &operation.run_as) {
        (Asked::Bind { .. }, _) => Scripted::Result(ResultCode::SUCCESS, ""),
        (_, RunAs::Client(as_whom)) if as_whom.name.starts_with("alice") => Scripted::one("cn=a,dc=corp,dc=example", "hers"),
        _ => Scripted::one("cn=a,dc=corp,dc=example", "his"),
    };
    let house = House::new(ScriptedDirectory::new(script), search_as_client);
    let (mut alice, mut bob) = (house.phone(), house.phone());
    assert_eq!(alice.search("(cn=a*)").await.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    alice.bind("alice@corp.example", "a").await;
    bob.bind("bob@corp.example", "b").await;
    let hers = alice.search("(cn=a*)").await;
    let his = bob.search("(cn=a*)").await;
    assert!(!his.from_memory && hers.entries != his.entries);
    assert_eq!(alice.search("(cn=a*)").await.entries, hers.entries);
    assert_eq!(house.directory.times_asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_write_runs_as_the_client_and_is_forgotten_before_the_client_hears_of_it() {
    let house = House::new(
        ScriptedDirectory::new(|operation| match operation.request {
            Asked::Search { .. } => Scripted::one("cn=a,dc=corp,dc=example", "old"),
            _ => Scripted::Result(ResultCode::SUCCESS, ""),
        }),
        |_| {},
    );
    let mut phone = house.phone();
    assert_eq!(phone.ask(&delete(), None).await.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    phone.search("(cn=a*)").await;
    phone.bind("alice@corp.example", "a").await;
    assert_eq!(phone.ask(&delete(), None).await.code, ResultCode::SUCCESS);
    assert!(!phone.search("(cn=a*)").await.from_memory);
    let written: Vec<_> = house.directory.asked().into_iter().filter(|op| matches!(op.request, Asked::Write { .. })).collect();
    assert_eq!(written.len(), 1);
    assert!(matches!(&written[0].run_as, RunAs::Client(as_whom) if as_whom.name == "alice@corp.example"));
}

#[tokio::test(start_paused = true)]
async fn a_write_of_unknown_outcome_says_so_and_is_sent_once() {
    let house = House::new(ScriptedDirectory::always(Scripted::Result(ResultCode::SUCCESS, "")), |_| {});
    let mut phone = house.phone();
    phone.bind("alice@corp.example", "a").await;
    phone.search("(cn=a*)").await;
    house.directory.answers(Scripted::Fails(DirectoryError::ConnectionLost { sent: true }));
    let answer = phone.ask(&delete(), None).await;
    assert_eq!(answer.code, ResultCode::UNAVAILABLE);
    assert!(answer.diagnostic.contains("unknown"), "{}", answer.diagnostic);
    house.directory.answers(Scripted::Result(ResultCode::SUCCESS, ""));
    assert!(!phone.search("(cn=a*)").await.from_memory);
    assert_eq!(house.directory.asked().iter().filter(|op| matches!(op.request, Asked::Write { .. })).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn writes_are_refused_where_the_directory_does_not_take_them() {
    let house = House::new(ScriptedDirectory::always(Scripted::Result(ResultCode::SUCCESS, "")), |config| {
        let DirectoryKind::Upstream(upstream) = &mut config.directories[0].kind else { panic!("an upstream directory") };
        upstream.forward_writes = false;
    });
    let mut phone = house.phone();
    phone.bind("alice@corp.example", "a").await;
    assert_eq!(phone.ask(&delete(), None).await.code, ResultCode::UNWILLING_TO_PERFORM);
    assert_eq!(house.directory.times_asked(), 1);
}

const FIVE: [(&str, &str); 5] = [
    ("cn=a,dc=corp,dc=example", "1"),
    ("cn=b,dc=corp,dc=example", "2"),
    ("cn=c,dc=corp,dc=example", "3"),
    ("cn=d,dc=corp,dc=example", "4"),
    ("cn=e,dc=corp,dc=example", "5"),
];

#[tokio::test(start_paused = true)]
async fn pages_together_are_the_whole_answer_and_ask_the_directory_once() {
    let house = House::new(ScriptedDirectory::always(Scripted::Answer(FIVE.to_vec(), ResultCode::SUCCESS)), |_| {});
    let phone = house.phone();
    let whole = phone.search("(cn=*)").await;
    let (mut entries, mut cookie, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = phone.page("(cn=*)", 2, &cookie).await;
        assert_eq!(page.code, ResultCode::SUCCESS);
        entries.extend(page.entries);
        cookie = page.cookie.unwrap();
        pages += 1;
        if cookie.is_empty() {
            break;
        }
    }
    assert_eq!((pages, entries), (3, whole.entries));
    assert_eq!(house.directory.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cookie_is_good_once_for_its_own_search_and_for_a_while() {
    let house = House::new(ScriptedDirectory::always(Scripted::Answer(FIVE.to_vec(), ResultCode::SUCCESS)), |_| {});
    let phone = house.phone();
    let cookie = phone.page("(cn=*)", 2, b"").await.cookie.unwrap();
    assert_eq!(phone.page("(sn=*)", 2, &cookie).await.code, ResultCode::UNWILLING_TO_PERFORM);
    assert_eq!(phone.page("(cn=*)", 2, &cookie).await.code, ResultCode::SUCCESS);
    assert_eq!(phone.page("(cn=*)", 2, &cookie).await.code, ResultCode::UNWILLING_TO_PERFORM);
    assert_eq!(phone.page("(cn=*)", 2, b"forged").await.code, ResultCode::UNWILLING_TO_PERFORM);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_size_zero_ends_a_paged_search() {
    let house = House::new(ScriptedDirectory::always(Scripted::Answer(FIVE.to_vec(), ResultCode::SUCCESS)), |_| {});
    let phone = house.phone();
    let cookie = phone.page("(cn=*)", 2, b"").await.cookie.unwrap();
    let end = phone.page("(cn=*)", 0, &cookie).await;
    assert_eq!((end.entries.len(), end.cookie), (0, Some(Vec::new())));
    assert_eq!(phone.page("(cn=*)", 2, &cookie).await.code, ResultCode::UNWILLING_TO_PERFORM);
}

#[tokio::test(start_paused = true)]
async fn more_entries_than_asked_for_are_cut_and_the_limit_holds_on_the_hit() {
    let house = House::new(ScriptedDirectory::always(Scripted::Answer(FIVE.to_vec(), ResultCode::SUCCESS)), |_| {});
    let request = SearchRequest { size_limit: 3, ..search("(cn=*)") }.encode();
    for from_memory in [false, true] {
        let answer = house.phone().ask(&request, None).await;
        assert_eq!((answer.code, answer.entries.len()), (ResultCode::SIZE_LIMIT_EXCEEDED, 3));
        assert_eq!(answer.from_memory, from_memory);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_keep_is_passed_on_whole() {
    let house = House::new(ScriptedDirectory::always(Scripted::Answer(FIVE.to_vec(), ResultCode::SUCCESS)), |config| {
        config.cache.capacity = 10_000;
    });
    for _ in 0..2 {
        let answer = house.phone().search("(cn=*)").await;
        assert_eq!((answer.code, answer.entries.len(), answer.from_memory), (ResultCode::SUCCESS, 5, false));
    }
    assert_eq!(house.directory.times_asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_searchs_own_time_limit_ends_it() {
    let house = House::new(ScriptedDirectory::always(Scripted::Silence), |_| {});
    let asked_at = Instant::now();
    let answer = house.phone().ask(&SearchRequest { time_limit: 5, ..search("(cn=a*)") }.encode(), None).await;
    assert_eq!(answer.code, ResultCode::TIME_LIMIT_EXCEEDED);
    assert!(asked_at.elapsed() >= Duration::from_secs(5) && asked_at.elapsed() < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_never_answers_ends_as_unavailable() {
    let house = House::new(ScriptedDirectory::always(Scripted::Silence), |_| {});
    assert_eq!(house.phone().search("(cn=a*)").await.code, ResultCode::UNAVAILABLE);
    assert_eq!(house.phone().ask(&compare("cn", "a"), None).await.code, ResultCode::UNAVAILABLE);
}
