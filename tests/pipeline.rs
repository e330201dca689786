//! An operation's way from accepted to answered, over a scripted directory and a paused clock.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod common;

use common::configuration::Configuration;
use common::phone::Phone;
use common::requests::{compare_with, delete_of};
use common::scripted_directory::{Scripted, ScriptedDirectory};
use redial::config::{Access, Clients, Config, DirectoryKind, SearchAs};
use redial::directory::{Asked, Directory, DirectoryError, RunAs};
use redial::ldap::ResultCode;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest};
use redial::metrics::Metrics;
use redial::pipeline::Pipeline;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const BASE: &str = "dc=corp";

/// A pipeline in front of one scripted directory.
struct House {
    pipeline: Arc<Pipeline>,
    directory: Arc<ScriptedDirectory>,
}

impl House {
    fn new(directory: ScriptedDirectory, change: impl FnOnce(&mut Config)) -> Self {
        let directory = Arc::new(directory);
        let mut config = Configuration::default().load();
        change(&mut config);
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::clone(&directory) as _];
        let pipeline = Arc::new(Pipeline::new(&config, directories, Arc::new(Metrics::unrecorded())));
        Self { pipeline, directory }
    }

    fn phone(&self) -> Phone {
        Phone::new(&self.pipeline)
    }

    fn phone_at(&self, address: [u8; 4]) -> Phone {
        let mut phone = self.phone();
        phone.client.peer = (address, 50_000).into();
        phone
    }
}

fn search(filter: &str) -> SearchRequest {
    SearchRequest::new(BASE, Scope::WholeSubtree, Filter::parse(filter).unwrap(), &["telephoneNumber"])
}

fn compare(attribute: &str, value: &str) -> Vec<u8> {
    compare_with("cn=a,dc=corp", attribute, value)
}

fn delete() -> Vec<u8> {
    delete_of("cn=a,dc=corp")
}

fn search_as_client(config: &mut Config) {
    let DirectoryKind::Upstream(upstream) = &mut config.directories[0].kind else { panic!("an upstream directory") };
    upstream.search_as = SearchAs::Client;
}

#[tokio::test(start_paused = true)]
async fn the_second_identical_search_is_answered_from_memory() {
    let house = House::new(ScriptedDirectory::always(Scripted::one("cn=a,dc=corp", "+49 30 1")), |_| {});
    let miss = house.phone().search(BASE, "(cn=a*)").await;
    let hit = house.phone().search(BASE, "(CN=A*)").await;
    assert_eq!((miss.from_memory, hit.from_memory, house.directory.times_asked()), (false, true, 1));
    assert_eq!((miss.code, &miss.entries), (ResultCode::SUCCESS, &hit.entries));
    assert_eq!(miss.entries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_directory_refused_is_not_kept() {
    let house = House::new(ScriptedDirectory::always(Scripted::Result(ResultCode::BUSY, "later")), |_| {});
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::BUSY);
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::BUSY);
    assert_eq!(house.directory.times_asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn identical_searches_in_flight_become_one() {
    let answer = Scripted::one("cn=a,dc=corp", "1").after(Duration::from_secs(1));
    let house = House::new(ScriptedDirectory::always(answer), |_| {});
    let answers = futures_util::future::join_all((0..500).map(|_| async { house.phone().search(BASE, "(cn=a*)").await })).await;
    assert!(answers.iter().all(|answer| answer.code == ResultCode::SUCCESS && answer.entries.len() == 1));
    assert_eq!(house.directory.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fill_outlives_the_phone_that_asked_first() {
    let answer = Scripted::one("cn=a,dc=corp", "1").after(Duration::from_secs(1));
    let house = House::new(ScriptedDirectory::always(answer), |_| {});
    let phone = house.phone();
    assert!(tokio::time::timeout(Duration::from_millis(10), phone.search(BASE, "(cn=a*)")).await.is_err());
    sleep(Duration::from_secs(2)).await;
    assert!(house.phone().search(BASE, "(cn=a*)").await.from_memory);
    assert_eq!(house.directory.times_asked(), 1);
}

/// A house that holds an answer past its time.
async fn with_a_stale_answer() -> House {
    let house = House::new(ScriptedDirectory::always(Scripted::one("cn=a,dc=corp", "old")), |_| {});
    house.phone().search(BASE, "(cn=a*)").await;
    sleep(Duration::from_secs(600)).await;
    house
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_stands_in_at_once_for_a_directory_that_fails() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    let asked_at = Instant::now();
    let answer = house.phone().search(BASE, "(cn=a*)").await;
    assert_eq!((answer.code, answer.entries.len()), (ResultCode::SUCCESS, 1));
    assert!(asked_at.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_stands_in_for_a_server_that_says_busy() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Result(ResultCode::BUSY, ""));
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_stands_in_after_1800_ms_for_a_directory_that_dawdles() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Silence);
    let asked_at = Instant::now();
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::SUCCESS);
    let waited = asked_at.elapsed();
    assert!(waited >= Duration::from_millis(1800) && waited < Duration::from_millis(1900), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_comes_by_pages_to_a_client_that_wants_pages() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    let page = house.phone().page(BASE, "(cn=a*)", 10, b"").await;
    assert_eq!((page.entries.len(), page.cookie), (1, Some(Vec::new())));
}

#[tokio::test(start_paused = true)]
async fn any_real_answer_replaces_a_stale_one_and_gone_is_one() {
    let house = with_a_stale_answer().await;
    house.directory.answers(Scripted::Result(ResultCode::NO_SUCH_OBJECT, ""));
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::NO_SUCH_OBJECT);
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::NO_SUCH_OBJECT);
}

#[tokio::test(start_paused = true)]
async fn nothing_stale_is_served_past_its_limit() {
    let house = with_a_stale_answer().await;
    sleep(Duration::from_secs(25 * 3600)).await;
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_hit_late_in_its_time_is_asked_again_in_the_background() {
    let house = House::new(ScriptedDirectory::always(Scripted::one("cn=a,dc=corp", "old")), |_| {});
    house.phone().search(BASE, "(cn=a*)").await;
    house.directory.answers(Scripted::one("cn=a,dc=corp", "new"));
    sleep(Duration::from_secs(265)).await;
    let hit = house.phone().search(BASE, "(cn=a*)").await;
    assert!(hit.from_memory);
    sleep(Duration::from_secs(1)).await;
    let renewed = house.phone().search(BASE, "(cn=a*)").await;
    assert!(renewed.from_memory && renewed.entries != hit.entries);
    assert_eq!(house.directory.times_asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn clients_of_different_accesses_never_share_an_answer() {
    let house = House::new(ScriptedDirectory::always(Scripted::one("cn=a,dc=corp", "1")), |config| {
        let everybody = &config.accesses[0];
        let voice = Access { networks: vec!["10.20.0.0/16".parse().unwrap()], ..everybody.clone() };
        let guests = Access { size_limit: Some(5), ..everybody.clone() };
        config.accesses = vec![voice, guests];
    });
    assert!(!house.phone_at([10, 20, 1, 7]).search(BASE, "(cn=a*)").await.from_memory);
    assert!(!house.phone_at([192, 0, 2, 1]).search(BASE, "(cn=a*)").await.from_memory);
    assert!(house.phone_at([10, 20, 9, 9]).search(BASE, "(cn=a*)").await.from_memory);
    assert_eq!(house.directory.times_asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_an_access_nothing_is_asked() {
    let house = House::new(ScriptedDirectory::always(Scripted::Silence), |config| config.accesses[0].clients = Clients::Bound);
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    assert_eq!(house.phone().ask(&compare("sn", "x"), None).await.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    assert_eq!(house.directory.times_asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_filter_on_a_hidden_attribute_never_reaches_the_directory() {
    let house = House::new(ScriptedDirectory::always(Scripted::success()), |config| {
        config.accesses[0].attributes = Some(["cn".to_owned(), "telephonenumber".to_owned()].into());
    });
    for filter in ["(pager=1)", "(!(pager=1))", "(&(cn=a)(!(pager=1)))", "(|(cn=a)(pager=1*))"] {
        assert_eq!(house.phone().search(BASE, filter).await.code, ResultCode::SUCCESS);
    }
    for operation in house.directory.asked() {
        let Asked::Search { op, .. } = operation.request else { panic!("a search") };
        assert!(!SearchRequest::decode(&op).unwrap().filter.to_string().contains("pager"));
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
    let house = House::new(ScriptedDirectory::always(Scripted::success()), |config| {
        config.accesses[0].filter = Some(Filter::parse("(objectClass=person)").unwrap());
    });
    assert_eq!(house.phone().ask(&compare("cn", "a"), None).await.code, ResultCode::NO_SUCH_OBJECT);
    assert!(house.directory.asked().iter().all(|operation| matches!(operation.request, Asked::Search { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_right_password_makes_the_client_known_and_a_wrong_one_does_not_say_why() {
    let house = House::new(
        ScriptedDirectory::new(|operation| match &operation.request {
            Asked::Bind { password, .. } if password.expose() == b"right" => Scripted::success(),
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
        (Asked::Bind { .. }, _) => Scripted::success(),
        (_, RunAs::Client(as_whom)) if as_whom.name.starts_with("alice") => Scripted::one("cn=a,dc=corp", "hers"),
        _ => Scripted::one("cn=a,dc=corp", "his"),
    };
    let house = House::new(ScriptedDirectory::new(script), search_as_client);
    let (mut alice, mut bob) = (house.phone(), house.phone());
    assert_eq!(alice.search(BASE, "(cn=a*)").await.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    alice.bind("alice@corp.example", "a").await;
    bob.bind("bob@corp.example", "b").await;
    let hers = alice.search(BASE, "(cn=a*)").await;
    let his = bob.search(BASE, "(cn=a*)").await;
    assert!(!his.from_memory && hers.entries != his.entries);
    assert_eq!(alice.search(BASE, "(cn=a*)").await.entries, hers.entries);
    assert_eq!(house.directory.times_asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_write_runs_as_the_client_and_is_forgotten_before_the_client_hears_of_it() {
    let house = House::new(
        ScriptedDirectory::new(|operation| match operation.request {
            Asked::Search { .. } => Scripted::one("cn=a,dc=corp", "old"),
            _ => Scripted::success(),
        }),
        |_| {},
    );
    let mut phone = house.phone();
    assert_eq!(phone.ask(&delete(), None).await.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    phone.search(BASE, "(cn=a*)").await;
    phone.bind("alice@corp.example", "a").await;
    assert_eq!(phone.ask(&delete(), None).await.code, ResultCode::SUCCESS);
    assert!(!phone.search(BASE, "(cn=a*)").await.from_memory);
    let written: Vec<_> = house.directory.asked().into_iter().filter(|op| matches!(op.request, Asked::Write { .. })).collect();
    assert_eq!(written.len(), 1);
    assert!(matches!(&written[0].run_as, RunAs::Client(as_whom) if as_whom.name == "alice@corp.example"));
}

#[tokio::test(start_paused = true)]
async fn a_write_of_unknown_outcome_says_so_and_is_sent_once() {
    let house = House::new(ScriptedDirectory::always(Scripted::success()), |_| {});
    let mut phone = house.phone();
    phone.bind("alice@corp.example", "a").await;
    phone.search(BASE, "(cn=a*)").await;
    house.directory.answers(Scripted::Fails(DirectoryError::ConnectionLost { sent: true }));
    let answer = phone.ask(&delete(), None).await;
    assert_eq!(answer.code, ResultCode::UNAVAILABLE);
    assert!(answer.diagnostic.contains("unknown"), "{}", answer.diagnostic);
    house.directory.answers(Scripted::success());
    assert!(!phone.search(BASE, "(cn=a*)").await.from_memory);
    assert_eq!(house.directory.asked().iter().filter(|op| matches!(op.request, Asked::Write { .. })).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn writes_are_refused_where_the_directory_does_not_take_them() {
    let house = House::new(ScriptedDirectory::always(Scripted::success()), |config| {
        let DirectoryKind::Upstream(upstream) = &mut config.directories[0].kind else { panic!("an upstream directory") };
        upstream.forward_writes = false;
    });
    let mut phone = house.phone();
    phone.bind("alice@corp.example", "a").await;
    assert_eq!(phone.ask(&delete(), None).await.code, ResultCode::UNWILLING_TO_PERFORM);
    assert_eq!(house.directory.times_asked(), 1);
}

const FIVE: [(&str, &str); 5] =
    [("cn=a,dc=corp", "1"), ("cn=b,dc=corp", "2"), ("cn=c,dc=corp", "3"), ("cn=d,dc=corp", "4"), ("cn=e,dc=corp", "5")];

#[tokio::test(start_paused = true)]
async fn pages_together_are_the_whole_answer_and_ask_the_directory_once() {
    let house = House::new(ScriptedDirectory::always(Scripted::Answer(FIVE.to_vec(), ResultCode::SUCCESS)), |_| {});
    let phone = house.phone();
    let whole = phone.search(BASE, "(cn=*)").await;
    let (mut entries, mut cookie, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = phone.page(BASE, "(cn=*)", 2, &cookie).await;
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
    let cookie = phone.page(BASE, "(cn=*)", 2, b"").await.cookie.unwrap();
    assert_eq!(phone.page(BASE, "(sn=*)", 2, &cookie).await.code, ResultCode::UNWILLING_TO_PERFORM);
    assert_eq!(phone.page(BASE, "(cn=*)", 2, &cookie).await.code, ResultCode::SUCCESS);
    assert_eq!(phone.page(BASE, "(cn=*)", 2, &cookie).await.code, ResultCode::UNWILLING_TO_PERFORM);
    assert_eq!(phone.page(BASE, "(cn=*)", 2, b"forged").await.code, ResultCode::UNWILLING_TO_PERFORM);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_size_zero_ends_a_paged_search() {
    let house = House::new(ScriptedDirectory::always(Scripted::Answer(FIVE.to_vec(), ResultCode::SUCCESS)), |_| {});
    let phone = house.phone();
    let cookie = phone.page(BASE, "(cn=*)", 2, b"").await.cookie.unwrap();
    let end = phone.page(BASE, "(cn=*)", 0, &cookie).await;
    assert_eq!((end.entries.len(), end.cookie), (0, Some(Vec::new())));
    assert_eq!(phone.page(BASE, "(cn=*)", 2, &cookie).await.code, ResultCode::UNWILLING_TO_PERFORM);
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
        let answer = house.phone().search(BASE, "(cn=*)").await;
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
    assert_eq!(house.phone().search(BASE, "(cn=a*)").await.code, ResultCode::UNAVAILABLE);
    assert_eq!(house.phone().ask(&compare("cn", "a"), None).await.code, ResultCode::UNAVAILABLE);
}
