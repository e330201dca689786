//! Two controllers of one directory: one may go, and no phone notices. All may go: what is remembered is answered, and no password is wrong.

use crate::bed::{self, Kind, PASSWORD, Server};
use crate::common::ldap_client::{Change, subtree};
use crate::redial::{OPEN, Redial, Setup, eventually};
use crate::relay::Relay;
use redial::ldap::ResultCode;

#[test]
fn one_of_two_domain_controllers_may_go_and_every_search_and_bind_still_succeeds() {
    let relays = [Relay::to(bed::samba().ldaps), Relay::to(bed::samba().ldaps)];
    let servers = relays.iter().map(|relay| format!("ldaps://{}", relay.address)).collect();
    let redial = Setup { servers, ..Setup::before(bed::samba()) }.watchful().start();
    for away in [0, 1] {
        relays[away].cut();
        for number in 0..30 {
            // A search that nobody has asked before, so it cannot come from memory.
            let filter = format!("(employeeNumber={})", 100_100 + away * 100 + number);
            let found = redial.connect().search(&subtree("DC=corp,DC=example", &filter, &["cn"]));
            assert_eq!((found.entries.len(), found.outcome.code), (1, ResultCode::SUCCESS), "{filter} without controller {away}");
        }
        let bound = redial.connect().bind("alice@corp.example", PASSWORD);
        assert_eq!(bound.code, ResultCode::SUCCESS, "{}", bound.diagnostic);
        relays[away].mend();
        eventually("both controllers are up again", || both_up(&redial));
    }
}

#[test]
fn a_controller_that_never_answers_at_the_start_does_not_hinder_the_other() {
    let servers = vec!["ldaps://127.0.66.16:3636".to_owned(), format!("ldaps://{}", bed::slapd().ldaps)];
    let redial = Setup { servers, ..Setup::before(bed::slapd()) }.start();
    for number in 0..10 {
        let found = redial.connect().search(&subtree("DC=corp,DC=example", &format!("(employeeNumber=1003{number:02})"), &["cn"]));
        assert_eq!((found.entries.len(), found.outcome.code), (1, ResultCode::SUCCESS), "{}", found.outcome.diagnostic);
    }
}

#[test]
fn searches_go_on_while_one_of_two_slapds_is_really_stopped() {
    let going = Server::start(Kind::Slapd, "going", "127.0.66.14");
    let servers = vec![format!("ldaps://{}", going.ldaps), format!("ldaps://{}", bed::slapd().ldaps)];
    let redial = Setup { servers, ..Setup::before(bed::slapd()) }.start();
    let mut phone = redial.connect();
    let mut going = Some(going);
    for number in 0..60 {
        if number == 20 {
            going.take().expect("stopped once").stop();
        }
        let found = phone.search(&subtree("DC=corp,DC=example", &format!("(employeeNumber=1004{number:02})"), &["cn"]));
        assert_eq!((found.entries.len(), found.outcome.code), (1, ResultCode::SUCCESS), "search {number}: {}", found.outcome.diagnostic);
    }
}

#[test]
fn with_every_slapd_killed_only_what_is_remembered_is_answered_and_no_password_is_wrong() {
    let start = |(name, address)| Server::start(Kind::Slapd, name, address);
    all_killed([("killed-1", "127.0.66.18"), ("killed-2", "127.0.66.19")].map(start).into());
}

#[test]
fn with_every_domain_controller_killed_only_what_is_remembered_is_answered_and_no_password_is_wrong() {
    all_killed(vec![Server::start(Kind::Samba, "killed-dc", "127.0.66.3")]);
}

fn all_killed(controllers: Vec<Server>) {
    const ALICE: &str = "CN=Alice Test,OU=Berlin,OU=Staff,DC=corp,DC=example";
    const BOB: &str = "CN=Bob Test,OU=Berlin,OU=Staff,DC=corp,DC=example";
    let servers: Vec<String> = controllers.iter().map(|server| format!("ldaps://{}", server.ldaps)).collect();
    let setup = Setup { servers, ..Setup::before(&controllers[0]) }.with_writes();
    let remembers = setup.start();
    let short = "[binds]\nttl = \"1s\"\n[cache]\nttl = \"1s\"\n[[cache.rule]]\nname = \"strict\"\nfilter = \"(cn=?)\"\nttl = \"1s\"\nstale = \"0s\"\n";
    let forgets = setup.with(&format!("{OPEN}{short}")).start();
    let question = subtree(bed::BASE, "(sn=Übel)", &[]);
    let strict = subtree(bed::BASE, "(cn=Alice Test)", &["cn"]);
    let mut sessions = Vec::new();
    let mut before = Vec::new();
    for redial in [&remembers, &forgets] {
        let mut session = redial.connect().bound(ALICE, PASSWORD);
        before = session.search(&question).entries;
        assert_eq!((before.len(), session.search(&strict).entries.len()), (1, 1));
        sessions.push(session);
    }

    controllers.into_iter().for_each(Server::kill);

    for _ in 0..3 {
        let mut phone = remembers.connect().bound(ALICE, PASSWORD);
        assert_eq!(phone.search(&question).entries, before, "from memory");
        for (name, password) in [(ALICE, "wrong"), (BOB, PASSWORD), (BOB, "wrong"), ("CN=Nobody,DC=corp,DC=example", PASSWORD)] {
            let outcome = remembers.connect().bind(name, password);
            assert_eq!(outcome.code, ResultCode::UNAVAILABLE, "{name} with {password}: {outcome:?}");
        }
        let unknown = phone.search(&subtree(bed::BASE, "(sn=Nowak)", &["cn"]));
        assert_eq!((unknown.entries.len(), unknown.outcome.code), (0, ResultCode::UNAVAILABLE), "an answer that nobody has");
        assert_eq!(phone.compare(ALICE, "sn", b"Test").code, ResultCode::UNAVAILABLE);
        assert_eq!(phone.modify(ALICE, Change::Replace, "telephoneNumber", &["1"]).code, ResultCode::UNAVAILABLE);
    }
    eventually("a password that was proved longer ago than its time is not accepted", || {
        let code = forgets.connect().bind(ALICE, PASSWORD).code;
        assert!([ResultCode::SUCCESS, ResultCode::UNAVAILABLE].contains(&code), "{code}");
        code == ResultCode::UNAVAILABLE
    });
    eventually("an answer that may not be stale is not given when it is", || {
        let found = forgets.connect().search(&strict);
        assert!([ResultCode::SUCCESS, ResultCode::UNAVAILABLE].contains(&found.outcome.code), "{:?}", found.outcome);
        found.outcome.code == ResultCode::UNAVAILABLE
    });
    assert_eq!(forgets.connect().search(&question).entries, before, "one that may be stale is");
    let (_, metrics) = forgets.http("/metrics").expect("metrics");
    assert!(metrics.contains("redial_cache_stale_total 1\n"), "{metrics}");
    for mut session in sessions {
        assert_eq!(session.search(&question).entries, before, "whoever has bound stays bound");
    }
}

fn both_up(redial: &Redial) -> bool {
    let (_, metrics) = redial.http("/metrics").expect("the metrics");
    metrics.lines().filter(|line| line.starts_with("redial_upstream_up{") && line.ends_with(" 1")).count() == 2
}
