//! A long life under load: the program before two controllers that go and come back, fall silent and break off, while its configuration, its
//! certificate and its phonebook are replaced, and clients of every kind look at each answer. When all have left, nothing of it is left.
//!
//! `REDIAL_SOAK` says how many operations there are; see CONTRIBUTING.md.
#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a long one says how it goes"
)]

#[path = "soak/clients.rs"]
mod clients;
mod common;
#[path = "soak/reading.rs"]
mod reading;
#[path = "soak/swarm.rs"]
mod swarm;
#[path = "soak/weather.rs"]
mod weather;
#[path = "soak/world.rs"]
mod world;

use clients::{Alarm, Around, KINDS, STRANGERS};
use common::addresses::free_addresses;
use common::admin;
use common::ldap_client::{LdapClient, subtree};
use common::program::Program;
use common::site::Site;
use reading::Reading;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use swarm::{Met, Swarm};
use weather::{Change, FAIR, FOUL};
use world::{Of, PASSWORD, PEOPLE, SERVICE, USERS, World};

/// A program before two controllers, with all that is around it.
pub(crate) struct Soak {
    pub(crate) site: Site,
    pub(crate) program: Program,
    pub(crate) admin: SocketAddr,
    pub(crate) around: Around,
    /// How often each part of the configuration was replaced.
    edition: AtomicU64,
}

impl Soak {
    fn begin(test: &str) -> Self {
        let site = Site::new(&format!("soak-{test}"));
        site.write("phonebook.ldif", &phonebook(0));
        let [plain, start_tls, ldaps, admin] = free_addresses();
        let (world, listeners) = (World::new(), [plain, start_tls, ldaps]);
        let config = site.configure(&configuration(&world, listeners, admin, 0));
        let program = Program::serving(&config, File::create(site.path("log")).unwrap().into());
        let around = Around { world, listeners, ca: site.path("ca.pem"), over: AtomicBool::new(false), operations: AtomicU64::new(0) };
        let soak = Self { site, program, admin, around, edition: AtomicU64::new(0) };
        eventually("it is ready", || admin::request(admin, "GET", "/readyz").is_some_and(|(status, _)| status == 200));
        soak.until_up();
        soak
    }

    pub(crate) fn reading(&self) -> Reading {
        Reading::of(self.program.process.id(), self.admin)
    }

    /// Waits until Redial has found every controller well.
    pub(crate) fn until_up(&self) {
        eventually("every controller is up", || self.reading().is_up());
        self.around.world.calms_down();
    }

    /// Another configuration and phonebook, read at the signal; whoever asks then is told of the new one.
    pub(crate) fn reload(&self) {
        let edition = self.edition.fetch_add(1, Ordering::Relaxed) + 1;
        let Around { world, listeners, .. } = &self.around;
        self.site.write("phonebook.ldif", &phonebook(edition));
        self.site.configure(&configuration(world, *listeners, self.admin, edition));
        // As logrotate does.
        let _ = std::fs::remove_file(self.site.path("audit.jsonl"));
        self.signal();
        let found = LdapClient::plain(listeners[0]).unwrap().search(&subtree("dc=contacts", "(cn=Edition)", &["telephoneNumber"]));
        assert_eq!(found.entries[0].values("telephoneNumber"), [edition.to_string()]);
    }

    /// Tells it to read its files again, and waits until it has.
    pub(crate) fn signal(&self) {
        let reloads = || self.reading().sum("redial_config_reloads_total{result=\"succeeded\"}");
        let before = reloads();
        self.program.signal("HUP");
        eventually("the configuration is reloaded", || reloads() > before);
    }

    /// So many operations by clients of every kind, while these changes happen again and again, and each of them once at least.
    fn round(&self, operations: u64, changes: &[Change]) -> Met {
        let seconds = (operations / RATE).max(changes.len() as u64);
        let lasts = Duration::from_secs_f64(seconds as f64 / changes.len() as f64 / 2.0).min(LONGEST_CHANGE);
        self.around.over.store(false, Ordering::Relaxed);
        let began = Instant::now();
        let mut swarms = Swarm::begin(self.around.listeners, &self.site.folder, operations, seconds);
        std::thread::scope(|scope| {
            let around = &self.around;
            let _alarm = Alarm(&around.over);
            for (kind, number) in KINDS.iter().flat_map(|(count, kind)| (0..*count).map(move |number| (kind, number))) {
                scope.spawn(move || {
                    let _alarm = Alarm(&around.over);
                    kind(around, number);
                });
            }
            let mut told = Instant::now();
            for (number, change) in changes.iter().cycle().enumerate() {
                let is_done = number >= changes.len() && !swarms.iter_mut().any(Swarm::runs);
                if is_done || around.over.load(Ordering::Relaxed) {
                    break;
                }
                change.happen(self, lasts);
                if told.elapsed() > TELL_EVERY {
                    told = Instant::now();
                    println!("{:>6} s: {}", began.elapsed().as_secs(), self.reading());
                }
            }
            around.over.store(true, Ordering::Relaxed);
        });
        assert_eq!(self.around.world.wrong(), None);
        let mut met = Met { operations: self.around.operations.swap(0, Ordering::Relaxed), ..Met::default() };
        for swarm in swarms {
            met.add(&swarm.end(self.around.world.starved_since(began)));
        }
        met
    }

    /// What it takes when all have left.
    fn at_rest(&self) -> Reading {
        eventually("nothing is left to do", || self.reading().is_at_rest());
        // Connections to controllers that nobody needs any more are closed after a second.
        sleep(Duration::from_secs(2));
        self.reading()
    }
}

fn phonebook(edition: u64) -> String {
    format!(
        "dn: dc=contacts\nobjectClass: domain\n\ndn: cn=Edition,dc=contacts\nobjectClass: person\ncn: Edition\ntelephoneNumber: {edition}\n"
    )
}

/// What an edition changes: the directory of the controllers in one of two, another access, another limit.
fn configuration(world: &World, [plain, start_tls, ldaps]: [SocketAddr; 3], admin: SocketAddr, edition: u64) -> String {
    let servers: Vec<_> = world.addresses.iter().map(|address| format!("ldaps://{address}")).collect();
    let tls = "certificate = \"cert.pem\", key = \"key.pem\"";
    let controllers = format!("servers = {servers:?}\nca = {:?}\nprobe = \"1s\"\npage_size = 25\nidle = \"1s\"\n", world.ca);
    let connections = 3 + edition / 2 % 2;
    let other = if edition % 3 == 1 {
        "[[access]]\nname = \"other\"\nclients = [\"cn=nobody\"]\nbases = [\"dc=corp\"]\nattributes = [\"cn\"]\n"
    } else {
        ""
    };
    format!(
        "[[listener]]\naddress = \"{plain}\"\nplain_passwords = \"allow\"\n\
         [[listener]]\naddress = \"{start_tls}\"\ntls = {{ {tls}, start_tls = \"optional\" }}\n\
         [[listener]]\naddress = \"{ldaps}\"\ntls = {{ {tls} }}\n\
         [admin]\naddress = \"{admin}\"\n[audit]\nfile = \"audit.jsonl\"\n\
         [directory.corp]\nbase = \"dc=corp\"\n{controllers}bind_dn = \"{SERVICE}\"\npassword = \"{PASSWORD}\"\nconnections = {connections}\n\
         [directory.own]\nbase = \"dc=own\"\n{controllers}search_as = \"client\"\nwrites = \"forward\"\n\
         [directory.contacts]\nbase = \"dc=contacts\"\nldif = \"phonebook.ldif\"\n\
         {other}[[access]]\nname = \"own\"\nclients = \"bound\"\nbases = [\"dc=own\"]\nattributes = [\"*\"]\n\
         [[access]]\nname = \"people\"\nclients = \"any\"\nbases = [\"{PEOPLE}\"]\nattributes = [\"*\"]\n\
         [[access]]\nname = \"contacts\"\nclients = \"any\"\nbases = [\"dc=contacts\"]\nattributes = [\"*\"]\n\
         [cache]\ncapacity = \"{CAPACITY}MiB\"\nttl = \"2s\"\nempty_ttl = \"1s\"\n\
         [binds]\nttl = \"2s\"\nrejected_ttl = \"1s\"\nwindow = \"1m\"\n\
         [limits]\nconnects_per_address = 5000\nhandshake_timeout = \"1m\"\nwrite_stall = \"5s\"\nqueued = \"64KiB\"\nidle = \"{}s\"\n",
        60 + edition % 2
    )
}

/// Waits until something is so, since nobody says when.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn memory_descriptors_and_tables_end_where_they_began() {
    let operations = std::env::var("REDIAL_SOAK").map_or(OPERATIONS, |operations| operations.parse().expect("a number of operations"));
    let soak = Soak::begin("rest");
    soak.round(operations / 10, FAIR);
    println!("at rest, after a tenth in fair weather: {}", soak.at_rest());
    let began = Instant::now();
    let first = soak.round(operations / 2, FOUL);
    let before = soak.at_rest();
    println!("at rest, after {} operations: {before}", first.operations);
    let mut met = soak.round(operations / 2, FOUL);
    met.add(&first);
    let took = began.elapsed();
    let after = soak.at_rest();
    println!(
        "at rest, after {} operations in {} s, of which {} found no time and the longest took {:?}: {after}",
        met.operations,
        took.as_secs(),
        met.failed,
        met.longest
    );

    assert!(met.operations >= operations && met.resumed > 0, "{met:?}");
    assert!(after.resident <= before.resident + GROWTH, "{before}, and then {after}");
    assert_eq!(after.other_descriptors(), before.other_descriptors(), "{before}, and then {after}");
    assert!(after.sum("redial_cache_bytes") <= f64::from(CAPACITY << 20), "{after}");
    for table in ["searches", "clients", "pages"] {
        assert_eq!(after.table(table), 0.0, "{table}: {after}");
    }
    for table in ["passwords", "guard", "askers"] {
        assert!(after.table(table) <= NAMES, "{table}: {}", after.table(table));
    }
    for counter in ["redial_panics_total", "redial_config_reloads_total{result=\"failed\"}", "redial_audit_dropped_total"] {
        assert_eq!(after.sum(counter), 0.0, "{counter}");
    }
}

#[test]
fn with_one_of_two_controllers_killed_under_load_no_cached_or_retried_search_fails() {
    let (soak, began) = (Soak::begin("one-killed"), Instant::now());
    let swarm = Swarm::of_callers(soak.around.listeners[0], &soak.site.folder, 1_500);
    let mut client = LdapClient::plain(soak.around.listeners[0]).unwrap();
    for away in [0, 1] {
        for search in 0..60 {
            if search == 20 {
                soak.around.world.kill(&[away]);
            }
            // Nobody has asked that before, so it cannot come from memory.
            let (question, since) = (format!("(|(cn=Ada Zuse)(telephoneNumber={away} {search}))"), Instant::now());
            let found = client.search(&subtree(PEOPLE, &question, &["cn"]));
            if soak.around.succeeded(&question, &found.outcome, since, Of::All) {
                assert_eq!(found.entries.len(), 1, "{question}");
            }
        }
        soak.around.world.restart(&[away]);
        soak.until_up();
    }
    assert!(swarm.end(soak.around.world.starved_since(began)).operations > 0);
    assert!(soak.around.operations.load(Ordering::Relaxed) > 100, "both were never away at once");
}

#[test]
fn with_both_controllers_killed_under_load_every_cached_search_is_answered_within_two_seconds() {
    let soak = Soak::begin("both-killed");
    let callers = |operations| Swarm::of_callers(soak.around.listeners[0], &soak.site.folder, operations);
    callers(300).end(false);
    let swarm = callers(1_500);
    sleep(Duration::from_secs(1));
    soak.around.world.kill(&[0, 1]);
    // Longer than answers are fresh: the last ones are past their time.
    let met = swarm.end(false);
    assert!(met.longest < Duration::from_secs(2), "{met:?}");
    let stale = soak.reading().sum("redial_cache_stale_total");
    assert!(stale > 0.0, "answers past their time stood in");
    assert!(soak.around.world.was_troubled(Of::All, Instant::now()), "nobody was there");
}

/// Names that bind, with room for Redial's own.
const NAMES: f64 = (USERS + STRANGERS + 10) as f64;
/// Operations of the short form.
const OPERATIONS: u64 = 20_000;
/// A second.
const RATE: u64 = 5_600;
/// MiB.
const CAPACITY: u32 = 4;
/// What a process may take more after the whole time than after half of it, in KiB: the allocator keeps what it had at the worst moment, so that
/// in half an hour of foul weather there were between 28 and 35 MiB at any time after its first half minute. A build without optimisation takes more, and its short form
/// has not met the worst of it by half time.
const GROWTH: u64 = if cfg!(debug_assertions) { 12 << 10 } else { 6 << 10 };
/// Longer than answers are fresh.
const LONGEST_CHANGE: Duration = Duration::from_secs(3);
const TELL_EVERY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);
