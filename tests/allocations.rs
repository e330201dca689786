//! A hit allocates nothing: neither deciding, nor the key, nor the look-up, nor writing the answer.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test's helper fails the test")]

mod common;

use allocation_counter::measure;
use common::configuration::Configuration;
use common::requests;
use redial::access::{Accesses, Asker, Verdict};
use redial::cache::answer::{Answer, AnswerBuilder};
use redial::cache::forms::Forms;
use redial::cache::key::{Keyed, Owner, write_key};
use redial::cache::store::{Lookup, Store};
use redial::cache::{Spelling, Standing};
use redial::config::{Access, Clients, Config, Lifetimes};
use redial::identity::Identity;
use redial::ldap::envelope::op;
use redial::ldap::filter::Filter;
use redial::ldap::frame::Frame;
use redial::ldap::message::{Request, Scope, SearchRequest};
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::ldap::{Envelope, ResultCode};
use redial::metrics::Metrics;
use redial::outcome::{OperationKind, Outcome, Served};
use redial::pipeline::{Client, Pipeline};
use redial::session::Security;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const STAFF: &str = "OU=Staff,DC=corp,DC=example";

#[test]
fn a_hit_allocates_nothing() {
    let frame = frame();
    let accesses = accesses();
    let store = Store::new(256 << 20, 1, Duration::from_secs(600));
    let now = Instant::now();
    let (mut key, mut out) = (Vec::with_capacity(4096), Vec::with_capacity(1 << 16));

    let serve = |key: &mut Vec<u8>, out: &mut Vec<u8>| -> bool {
        key.clear();
        out.clear();
        let envelope = Envelope::parse(&frame).unwrap();
        let Request::Search(search) = Request::parse(&envelope).unwrap() else { return false };
        let asker = Asker { peer: "10.20.1.2".parse().unwrap(), identity: &Identity::Anonymous };
        let Verdict::Allow(grant) = accesses.decide(&asker, search.base_object, search.scope) else { return false };
        let owner = Owner { access: grant.index(), principal: None };
        assert_eq!(write_key(key, owner, grant.directory(), &search, envelope.controls), Keyed::Cacheable);
        let Lookup::Fresh(answer) = store.look_up(key, None, now) else { return false };
        answer.write(envelope.message_id, out);
        true
    };

    assert!(!serve(&mut key, &mut out), "nothing is kept yet");
    assert!(store.insert(&key, &answer(), store.generation(Some(0)), &LIFETIMES, 0.5, now));
    assert!(serve(&mut key, &mut out));
    // Many, since the map underneath does its housekeeping in some of the look-ups.
    let mut served = 0;
    let counted = measure(|| served = (0..10_000).filter(|_| serve(&mut key, &mut out)).count());
    assert_eq!((served, counted.count_total), (10_000, 0));
}

#[test]
fn a_repeated_hit_allocates_nothing() {
    let (store, metrics, now) = (Store::new(256 << 20, 1, Duration::from_secs(600)), Metrics::unrecorded(), Instant::now());
    let frame = frame();
    let split = || Envelope::split(Frame::first_of(&frame, frame.len()).unwrap().unwrap().contents).unwrap();
    let (_, op) = split();
    let spelling = Spelling { standing: standing(), op };
    assert!(store.insert(b"key", &answer(), store.generation(Some(0)), &LIFETIMES, 0.5, now));
    for _ in 0..2 {
        assert!(matches!(store.look_up(b"key", Some(&spelling), now), Lookup::Fresh(_)));
    }
    let mut out = Vec::with_capacity(1 << 16);
    let mut serve = || {
        out.clear();
        let (message_id, op) = split();
        let Some(found) = store.look_up_again(&store.spelled(&Spelling { op, ..spelling }), now) else { return false };
        found.answer().write(message_id, &mut out);
        let (code, entries) = (found.answer().code(), found.answer().entry_count());
        metrics.operations(&Outcome { kind: OperationKind::Search, served: Served::Hit, code, entries, took: Duration::ZERO }, 1);
        true
    };
    assert!(serve());
    let mut served = 0;
    let counted = measure(|| served = (0..10_000).filter(|_| serve()).count());
    assert_eq!((served, counted.count_total), (10_000, 0));
}

#[test]
fn the_key_of_a_search_in_a_known_form_allocates_nothing() {
    let frame = frame();
    let envelope = Envelope::parse(&frame).unwrap();
    let Request::Search(search) = Request::parse(&envelope).unwrap() else { panic!("it is a search") };
    let spelling = Spelling { standing: standing(), op: search.op };
    let (forms, mut key) = (Forms::default(), Vec::with_capacity(4096));
    assert_eq!(write_key(&mut key, Owner { access: 0, principal: None }, Some(0), &search, None), Keyed::Cacheable);
    for _ in 0..2 {
        forms.learn(&spelling, &key);
    }
    let mut written = 0;
    let counted = measure(|| {
        let mut write = || {
            key.clear();
            forms.write_key(&mut key, &spelling).is_some()
        };
        written = (0..10_000).filter(|_| write()).count();
    });
    assert_eq!((written, counted.count_total), (10_000, 0));
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

/// Anybody's.
fn standing() -> Standing {
    let config = Configuration { base: "dc=example", directory: "ldif = \"config/demo.ldif\"", ..Configuration::default() }.load();
    let pipeline = Pipeline::new(&config, Vec::new(), Arc::new(Metrics::unrecorded()));
    let client = Client::new(([10, 20, 1, 2], 50_000).into(), 0, Security::Clear, Identity::Anonymous);
    pipeline.standing(&client).unwrap()
}

fn frame() -> Vec<u8> {
    let filter = Filter::parse("(|(cn=smi*)(sn=smi*)(!(givenName:caseExactMatch:=Smith)))").unwrap();
    let attributes = ["cn", "sn", "givenName", "telephoneNumber", "mobile", "ipPhone"];
    let request = SearchRequest::new(&STAFF.to_lowercase(), Scope::WholeSubtree, filter, &attributes);
    requests::frame(7, &SearchRequest { size_limit: 50, ..request }.encode())
}

/// An access that narrows: some attributes of some entries.
fn accesses() -> Accesses {
    let Config { accesses, directories, .. } = Configuration { base: STAFF, ..Configuration::default() }.load();
    let access = Access {
        networks: vec!["10.20.0.0/16".parse().unwrap()],
        clients: Clients::Anonymous,
        attributes: Some(["cn".to_owned(), "sn".to_owned()].into()),
        filter: Some(Filter::parse("(objectClass=person)").unwrap()),
        size_limit: Some(500),
        ..accesses[0].clone()
    };
    Accesses::new(&[access], &directories)
}

fn answer() -> Answer {
    let mut builder = AnswerBuilder::default();
    for number in 0..10 {
        let mut octets = Vec::new();
        let name = format!("CN=Person {number},{STAFF}");
        write_entry_op(&mut octets, &name, [("cn", [name.as_bytes()]), ("sn", [b"Person".as_slice()])]);
        builder.push_entry(&octets);
    }
    let mut done = Vec::new();
    write_result_op(&mut done, op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "", "");
    builder.finish(ResultCode::SUCCESS, &done)
}

const LIFETIMES: Lifetimes =
    Lifetimes { ttl: Duration::from_secs(300), empty_ttl: Duration::from_secs(30), stale: Duration::from_secs(300), refresh: 0.8 };
