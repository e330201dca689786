//! Fifty people with secrets that nobody else may read, in random operations of many connections at once: whatever Redial gives somebody,
//! the server would give the same person.
//!
//! What the server would give is asked of the server itself, under the same name, while nobody writes; while somebody writes it is
//! [`may_be_seen`], a rule that is itself held against the server for everybody first. `REDIAL_OPERATIONS` says how many operations
//! (100,000 take some minutes), `REDIAL_SEED` with which seed to begin; a seed decides what is asked, not in which order the connections'
//! requests meet.

use crate::bed::{ADMIN_PASSWORD, Kind, Server};
use crate::common::ldap_client::{Change, Entry, Found, LdapClient, Outcome, subtree};
use crate::redial::{OPEN, Redial, Setup};
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::ldap::message::{Scope, SearchRequest};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const TOP: &str = "ou=Private,dc=corp,dc=example";
const PEOPLE: usize = 50;
/// Entries below each.
const NOTES: usize = 2;
/// Connections at once.
const CONNECTIONS: usize = 6;
/// Operations of one seed; the half of them while somebody writes.
const OPERATIONS: u64 = 2_000;
/// Of one seed: people who are mostly asked as, and questions that are mostly asked, so that the same is asked as many people in turn.
const CROWD: usize = 8;
const QUESTIONS: usize = 40;
/// Seeds that once showed something. They are always played again.
const KEPT: &[u64] = &[];

/// Under whose name searches run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The client's: the server itself decides who sees what.
    Client,
    /// The service account's, which may see everything: the accesses of the configuration decide.
    Service,
}

#[test]
fn nobody_is_given_what_the_server_would_not_give_them() {
    let of_environment = |name: &str| std::env::var(name).ok().map(|number| number.parse::<u64>().expect("a number"));
    let seeds = of_environment("REDIAL_OPERATIONS").unwrap_or(2 * OPERATIONS).div_ceil(OPERATIONS);
    let first = of_environment("REDIAL_SEED").unwrap_or(1);
    let site = Site::new();
    for who in 0..PEOPLE {
        site.hold_the_rule_against_the_server(who);
    }
    let tally = Tally::default();
    for seed in KEPT.iter().copied().chain(first..first + seeds) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(&site, seed, &tally))) {
            eprintln!("the seed is {seed}: play it again with REDIAL_SEED={seed}, and keep it in KEPT");
            resume_unwind(panic);
        }
    }
    for who in 0..PEOPLE {
        site.hold_the_rule_against_the_server(who);
    }
    tally.is_worth_something(seeds);
}

/// One seed: reads, then reads and writes, then reads again, through one Redial.
fn play(site: &Site, seed: u64, tally: &Tally) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mode = if seed.is_multiple_of(2) { Mode::Client } else { Mode::Service };
    let redial = start(site, mode);
    let crowd: Vec<usize> = (0..CROWD).map(|_| random.usize(..PEOPLE)).collect();
    let connection = |number| {
        let (random, client, crowd) = (random.fork(), redial.connect(), crowd.clone());
        Connection { number, site, redial: &redial, mode, tally, random, client, crowd, in_fashion: Vec::new(), who: None }
    };
    let mut connections: Vec<Connection<'_>> = (0..CONNECTIONS).map(connection).collect();
    let in_fashion: Vec<_> = (0..QUESTIONS).map(|_| connections[0].new_question()).collect();
    connections.iter_mut().for_each(|connection| connection.in_fashion.clone_from(&in_fashion));
    for writes in [false, true, false] {
        site.known.lock().expect("no panic").clear();
        // Rounded up: what is asked for is done, and a few more.
        let operations = OPERATIONS.div_ceil(CONNECTIONS as u64 * if writes { 2 } else { 4 });
        thread::scope(|scope| {
            for connection in &mut connections {
                scope.spawn(move || (0..operations).for_each(|_| connection.operate(writes)));
            }
        });
    }
    let (_, metrics) = redial.http("/metrics").expect("metrics");
    let hits = metrics.lines().find_map(|line| line.strip_prefix("redial_cache_hits_total ")).expect("hits");
    tally.hits.fetch_add(hits.parse().expect("a number"), Ordering::Relaxed);
}

fn start(site: &Site, mode: Mode) -> Redial {
    let before = Setup::before(&site.server).with_writes();
    match mode {
        Mode::Client => before.with_clients_searching().with(OPEN).start(),
        Mode::Service => {
            let mut accesses = String::new();
            for who in 0..PEOPLE {
                let dn = person(who);
                writeln!(accesses, "[[access]]\nname = \"u{who:02}\"\nclients = [\"{dn}\"]\nbases = [\"{dn}\"]\nattributes = [\"*\"]\n")
                    .expect("a String takes it");
            }
            accesses += PUBLIC;
            before.with(&accesses).start()
        }
    }
}

/// What everybody may see of the others.
const PUBLIC: &str = r#"
[[access]]
name = "public"
clients = "bound"
bases = ["ou=Private,dc=corp,dc=example"]
attributes = ["objectClass", "cn", "sn", "telephoneNumber"]
filter = "(objectClass=inetOrgPerson)"
"#;

// What may be seen

/// May this person see that attribute of that entry? As `tests/bed/slapd` configures it.
fn may_be_seen(who: usize, dn: &str, attribute: &str) -> bool {
    let (dn, own) = (dn.to_lowercase(), person(who).to_lowercase());
    let is_secret = ["description", "employeenumber"].contains(&attribute.to_lowercase().as_str());
    let is_note = dn.starts_with("cn=note");
    dn.ends_with(&own) || !is_note && !is_secret
}

/// Whose secret it is, where it is one.
fn owner_of(value: &str) -> Option<usize> {
    value.strip_prefix("secret ")?.split(' ').next()?.parse().ok()
}

fn secret(who: usize, version: u32) -> String {
    format!("secret {who} {version}")
}

fn person(who: usize) -> String {
    format!("cn=u{who:02},{TOP}")
}

fn note(who: usize, number: usize) -> String {
    format!("cn=note {number},{}", person(who))
}

fn password(who: usize) -> String {
    format!("right {who}")
}

/// By person and request.
type Known = HashMap<(usize, Vec<u8>), Arc<Found>>;

/// The server, and what it says to each person who asks it directly.
struct Site {
    server: Server,
    direct: Vec<Mutex<LdapClient>>,
    /// While nobody writes.
    known: Mutex<Known>,
    /// Each secret is written once.
    version: AtomicU32,
}

impl Site {
    fn new() -> Self {
        let server = Server::start(Kind::Slapd, "private", "127.0.66.17");
        let mut administrator = LdapClient::plain(server.ldap).expect("slapd").bound(server.administrator(), ADMIN_PASSWORD);
        let mut add = |dn: &str, attributes: &[(&str, &[&str])]| {
            let outcome = administrator.add(dn, attributes);
            assert_eq!(outcome.code, ResultCode::SUCCESS, "{dn}: {}", outcome.diagnostic);
        };
        add(TOP, &[("objectClass", &["organizationalUnit"]), ("ou", &["Private"])]);
        for who in 0..PEOPLE {
            let (name, secret, number) = (format!("u{who:02}"), secret(who, 0), format!("+49 30 5550 {who:02}"));
            let public: [(&str, &[&str]); 4] =
                [("objectClass", &["inetOrgPerson"]), ("cn", &[&name]), ("sn", &["Private"]), ("telephoneNumber", &[&number])];
            let own: [(&str, &[&str]); 3] =
                [("description", &[&secret]), ("employeeNumber", &[&secret]), ("userPassword", &[&password(who)])];
            add(&person(who), &[&public[..], &own[..]].concat());
            for number in 0..NOTES {
                add(&note(who, number), &[("objectClass", &["device"]), ("cn", &[&format!("note {number}")]), ("description", &[&secret])]);
            }
        }
        let direct = |who| Mutex::new(LdapClient::plain(server.ldap).expect("slapd").bound(&person(who), &password(who)));
        let direct = (0..PEOPLE).map(direct).collect();
        Self { server, direct, known: Mutex::default(), version: AtomicU32::new(1) }
    }

    /// What the server itself says to this person; asked once as long as nobody writes.
    fn says(&self, who: usize, request: &SearchRequest) -> Arc<Found> {
        let key = (who, request.encode());
        if let Some(found) = self.known.lock().expect("no panic").get(&key) {
            return Arc::clone(found);
        }
        let found = Arc::new(self.direct[who].lock().expect("no panic").search(request));
        self.known.lock().expect("no panic").insert(key, Arc::clone(&found));
        found
    }

    /// The server gives this person exactly what [`may_be_seen`] says.
    fn hold_the_rule_against_the_server(&self, who: usize) {
        let everything = subtree(TOP, "(objectClass=*)", &["*"]);
        let mut administrator = LdapClient::plain(self.server.ldap).expect("slapd").bound(self.server.administrator(), ADMIN_PASSWORD);
        let seen = |entries: &[Entry]| {
            let values = entries.iter().flat_map(|entry| entry.attributes.iter().map(|(name, _)| (entry.dn.clone(), name.clone())));
            values.collect::<std::collections::BTreeSet<_>>()
        };
        let all = seen(&administrator.search(&everything).entries);
        let rule = all.into_iter().filter(|(dn, name)| name != "userPassword" && may_be_seen(who, dn, name)).collect();
        assert_eq!(seen(&self.direct[who].lock().expect("no panic").search(&everything).entries), rule, "u{who:02}");
    }
}

/// What was done, so that a run that proves nothing is noticed.
#[derive(Debug, Default)]
struct Tally {
    operations: AtomicU64,
    hits: AtomicU64,
    /// Answers held against the server's own.
    compared: AtomicU64,
    /// Values that only who asked may see.
    own_secrets: AtomicU64,
    bound: AtomicU64,
    not_bound: AtomicU64,
    written: AtomicU64,
}

impl Tally {
    fn is_worth_something(&self, seeds: u64) {
        eprintln!("{self:?}");
        let at_least = |count: &AtomicU64, least: u64| assert!(count.load(Ordering::Relaxed) >= least * seeds, "{self:?}");
        at_least(&self.operations, OPERATIONS);
        at_least(&self.hits, 50);
        at_least(&self.compared, 500);
        at_least(&self.own_secrets, 200);
        at_least(&self.bound, 50);
        at_least(&self.not_bound, 10);
        at_least(&self.written, 20);
    }
}

// Who asks

/// One connection through Redial, and who it is bound as.
struct Connection<'a> {
    number: usize,
    site: &'a Site,
    redial: &'a Redial,
    mode: Mode,
    tally: &'a Tally,
    random: fastrand::Rng,
    client: LdapClient,
    crowd: Vec<usize>,
    in_fashion: Vec<SearchRequest>,
    who: Option<usize>,
}

impl Connection<'_> {
    fn operate(&mut self, writes: bool) {
        self.tally.operations.fetch_add(1, Ordering::Relaxed);
        match self.random.u8(..100) {
            0..8 => self.bind(),
            8..11 => self.bind_with_a_wrong_password(),
            11..13 => {
                assert_eq!(self.client.bind("", "").code, ResultCode::SUCCESS);
                self.who = None;
            }
            13..16 => {
                self.client = self.redial.connect();
                self.who = None;
                self.bind();
            }
            16..22 if !writes => self.compare(),
            22..27 => self.abandon(),
            27..33 => self.ask_several(writes),
            33..63 if writes => self.write(),
            _ => {
                let question = self.question();
                let id = self.client.send(&question.encode(), None);
                self.hear(vec![(id, question)], &[], writes);
            }
        }
    }

    fn bind(&mut self) {
        let who = if self.random.u8(..8) == 0 { self.random.usize(..PEOPLE) } else { self.crowd[self.random.usize(..CROWD)] };
        let name = self.spelled(&person(who));
        let outcome = self.client.bind(&name, &password(who));
        assert_eq!(outcome.code, ResultCode::SUCCESS, "u{who:02}: {}", outcome.diagnostic);
        self.who = Some(who);
        self.tally.bound.fetch_add(1, Ordering::Relaxed);
    }

    /// One that is nobody's, or somebody else's. Afterwards the connection is nobody's. So few people are tried so, and with so few
    /// passwords, that the lockout guard never has to say anything.
    fn bind_with_a_wrong_password(&mut self) {
        let who = self.random.usize(..PEOPLE);
        let wrong = if self.random.bool() { "wrong".to_owned() } else { password((who + 1) % PEOPLE) };
        assert_eq!(self.client.bind(&person(who), &wrong).code, ResultCode::INVALID_CREDENTIALS, "u{who:02} with {wrong}");
        self.who = None;
        self.tally.not_bound.fetch_add(1, Ordering::Relaxed);
    }

    fn compare(&mut self) {
        let whose = self.random.usize(..PEOPLE);
        let dn = if self.random.bool() { person(whose) } else { note(whose, 0) };
        let (attribute, value) = match self.random.u8(..3) {
            0 => ("telephoneNumber", format!("+49 30 5550 {whose:02}")),
            1 => ("description", self.guess(whose)),
            _ => ("cn", format!("u{whose:02}")),
        };
        let outcome = self.client.compare(&dn, attribute, value.as_bytes());
        let says_something = |outcome: &Outcome| matches!(outcome.code, ResultCode::COMPARE_TRUE | ResultCode::COMPARE_FALSE);
        let Some(who) = self.who else { return assert!(!says_something(&outcome), "nobody hears of {dn} {attribute}: {outcome:?}") };
        let expected = self.site.direct[who].lock().expect("no panic").compare(&dn, attribute, value.as_bytes());
        if self.mode == Mode::Client || says_something(&outcome) {
            assert_eq!(outcome.code, expected.code, "{self}: {dn} {attribute}={value}: {outcome:?}, the server: {expected:?}");
        }
    }

    fn abandon(&mut self) {
        let (lost, wanted) = (self.question(), self.question());
        let abandoned = self.client.send(&lost.encode(), None);
        self.client.abandon(abandoned);
        let id = self.client.send(&wanted.encode(), None);
        self.hear(vec![(id, wanted)], &[(abandoned, lost)], true);
    }

    fn ask_several(&mut self, writes: bool) {
        let questions: Vec<_> = (0..self.random.usize(2..6)).map(|_| self.question()).collect();
        let asked = questions.into_iter().map(|question| (self.client.send(&question.encode(), None), question)).collect();
        self.hear(asked, &[], writes);
    }

    /// Writes a secret of one's own and reads it back, or tries to write somebody else's. No two connections write the same person's.
    fn write(&mut self) {
        let Some(who) = self.who else {
            let outcome = self.client.modify(&person(0), Change::Replace, "description", &["secret 0 nobody"]);
            return assert_ne!(outcome.code, ResultCode::SUCCESS, "nobody writes");
        };
        let secret = secret(who, self.site.version.fetch_add(1, Ordering::Relaxed));
        if who % CONNECTIONS != self.number {
            let other = (who + 1 + self.random.usize(..PEOPLE - 1)) % PEOPLE;
            let outcome = self.client.modify(&person(other), Change::Replace, "description", &[&secret]);
            return assert_ne!(outcome.code, ResultCode::SUCCESS, "{self}: writes u{other:02}");
        }
        let (dn, attribute) = match self.random.u8(..3) {
            0 => (person(who), "description"),
            1 => (person(who), "employeeNumber"),
            _ => (note(who, self.random.usize(..NOTES)), "description"),
        };
        let outcome = self.client.modify(&dn, Change::Replace, attribute, &[&secret]);
        assert_eq!(outcome.code, ResultCode::SUCCESS, "{self}: {dn}: {}", outcome.diagnostic);
        let found = self.client.search(&SearchRequest { scope: Scope::BaseObject, ..subtree(&dn, "(objectClass=*)", &[attribute]) });
        assert_eq!(found.entries[0].values(attribute), [secret], "{self}: {dn} after its write");
        self.tally.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads until all that was asked is answered, and looks at each answer.
    fn hear(&mut self, asked: Vec<(u32, SearchRequest)>, abandoned: &[(u32, SearchRequest)], writes: bool) {
        let mut open: HashMap<u32, (SearchRequest, Vec<Entry>)> =
            asked.into_iter().chain(abandoned.iter().cloned()).map(|(id, request)| (id, (request, Vec::new()))).collect();
        while open.keys().any(|id| abandoned.iter().all(|(abandoned, _)| abandoned != id)) {
            let message = self.client.receive().expect("the rest of the answers");
            let (_, entries) = open.get_mut(&message.id).unwrap_or_else(|| panic!("{self}: nobody asked for {message:?}"));
            match message.op_tag {
                op::SEARCH_RESULT_ENTRY => entries.push(Entry::parse(&message.content)),
                op::SEARCH_RESULT_DONE => {
                    let (request, entries) = open.remove(&message.id).expect("it is there");
                    self.look_at(&request, entries, &Outcome::parse(&message.content), writes);
                }
                tag => panic!("{tag:#x} in the answer to a search"),
            }
        }
    }

    fn look_at(&self, request: &SearchRequest, mut entries: Vec<Entry>, outcome: &Outcome, writes: bool) {
        let asked = format!("{self}: {} {:?} {} {:?}", request.base_object, request.scope, request.filter, request.attributes);
        let Some(who) = self.who else { return assert!(entries.is_empty(), "{asked}: {entries:?}") };
        for entry in &entries {
            for (attribute, values) in &entry.attributes {
                assert!(may_be_seen(who, &entry.dn, attribute), "{asked}: {} {attribute}", entry.dn);
                for value in values.iter().filter_map(|value| owner_of(std::str::from_utf8(value).ok()?)) {
                    assert_eq!(value, who, "{asked}: {entry:?}");
                    self.tally.own_secrets.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if writes {
            return;
        }
        self.tally.compared.fetch_add(1, Ordering::Relaxed);
        let expected = self.site.says(who, &SearchRequest { size_limit: 0, ..request.clone() });
        let is_said = |entry: &Entry| {
            let same = expected.entries.iter().find(|expected| expected.dn == entry.dn);
            same.is_some_and(|same| entry.attributes.iter().all(|attribute| same.attributes.contains(attribute)))
        };
        assert!(entries.iter().all(is_said), "{asked}: {entries:?}, the server: {expected:?}");
        let own = person(who);
        // Which ones come is the server's choice where they are not all.
        if request.size_limit > 0 {
            assert!(entries.len() <= request.size_limit as usize, "{asked}: {entries:?}");
        } else if self.mode == Mode::Client {
            let mut expected_entries = expected.entries.clone();
            entries.sort();
            expected_entries.sort();
            assert_eq!((&entries, outcome.code), (&expected_entries, expected.outcome.code), "{asked}");
        } else if request.base_object == TOP || request.base_object.ends_with(&own) {
            let all_own = expected.entries.iter().filter(|entry| entry.dn.ends_with(&own)).count();
            assert_eq!(entries.len(), all_own, "{asked}: {entries:?}, the server: {expected:?}");
        }
    }

    fn question(&mut self) -> SearchRequest {
        if self.random.u8(..6) == 0 { self.new_question() } else { self.in_fashion[self.random.usize(..QUESTIONS)].clone() }
    }

    fn new_question(&mut self) -> SearchRequest {
        let whose = self.crowd[self.random.usize(..CROWD)];
        let base = match self.random.u8(..10) {
            0..4 => TOP.to_owned(),
            4..7 => person(whose),
            7..9 => note(whose, self.random.usize(..NOTES)),
            _ => format!("cn=nobody,{TOP}"),
        };
        let other = self.crowd[self.random.usize(..CROWD)];
        let filter = FILTERS[self.random.usize(..FILTERS.len())].replace('?', &self.guess(other)).replace('#', &format!("{other:02}"));
        SearchRequest {
            scope: [Scope::BaseObject, Scope::SingleLevel, Scope::WholeSubtree, Scope::WholeSubtree][self.random.usize(..4)],
            size_limit: if self.random.u8(..10) == 0 { self.random.u32(1..4) } else { 0 },
            ..subtree(&self.spelled(&base), &filter, ATTRIBUTES[self.random.usize(..ATTRIBUTES.len())])
        }
    }

    /// A secret of that person's which was true once, or is.
    fn guess(&mut self, whose: usize) -> String {
        let last = self.site.version.load(Ordering::Relaxed);
        secret(whose, if self.random.bool() { 0 } else { self.random.u32(..last) })
    }

    /// Names are the same in other spellings, and seldom written so.
    fn spelled(&mut self, dn: &str) -> String {
        match self.random.u8(..20) {
            0 => dn.replace(',', ", "),
            1 => dn.to_uppercase(),
            _ => dn.to_owned(),
        }
    }
}

impl std::fmt::Display for Connection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection {}, {:?}, as {:?}", self.number, self.mode, self.who)
    }
}

/// `?` stands for a secret of somebody's, `#` for their number.
const FILTERS: &[&str] = &[
    "(objectClass=*)",
    "(objectClass=*)",
    "(cn=u#)",
    "(cn=u1*)",
    "(cn=note*)",
    "(description=*)",
    "(description=?)",
    "(!(description=?))",
    "(description=secret #*)",
    "(description=*secret*)",
    "(employeeNumber=*)",
    "(employeeNumber=?)",
    "(&(objectClass=inetOrgPerson)(!(employeeNumber=?)))",
    "(|(description=?)(cn=u#))",
    "(&(cn=*)(!(|(description=?)(employeeNumber=?))))",
    "(telephoneNumber=*5550 #)",
    "(description:caseExactMatch:=?)",
    "(userPassword=*)",
    "(:caseIgnoreMatch:=?)",
];

const ATTRIBUTES: &[&[&str]] = &[
    &[],
    &["*"],
    &["*", "+"],
    &["cn"],
    &["description"],
    &["DESCRIPTION", "employeeNumber", "cn"],
    &["cn", "employeenumber", "telephoneNumber"],
    &["userPassword", "description"],
    &["1.1"],
];
