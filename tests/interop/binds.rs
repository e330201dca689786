//! A client proves who it is at the controller, under any of its names; a controller that is away is never a wrong password.

use crate::bed::{self, Kind, PASSWORD, Server};
use crate::common::ldap_client::subtree;
use crate::redial::{Setup, eventually};
use crate::relay::Relay;
use redial::ldap::ResultCode;
use std::thread;

const ALICE: &str = "CN=Alice Test,OU=Berlin,OU=Staff,DC=corp,DC=example";

#[test]
fn the_right_password_is_accepted_under_every_spelling_of_the_name() {
    let redial = Setup::before(bed::samba()).start();
    for name in [ALICE, "alice@corp.example", "CORP\\alice", "cn=alice test, ou=berlin, ou=staff, dc=corp, dc=example"] {
        assert_eq!(redial.connect().bind(name, PASSWORD).code, ResultCode::SUCCESS, "{name} at Samba");
    }
    let redial = Setup::before(bed::slapd()).start();
    assert_eq!(redial.connect().bind(ALICE, PASSWORD).code, ResultCode::SUCCESS, "at slapd");
}

#[test]
fn a_wrong_password_is_invalid_credentials_and_leaves_the_session_anonymous() {
    for server in [bed::samba(), bed::slapd()] {
        // Only who has bound may search.
        let access = "[[access]]\nname = \"bound\"\nclients = \"bound\"\nbases = [\"DC=corp,DC=example\"]\nattributes = [\"*\"]\n";
        let redial = Setup::before(server).with(access).start();
        let mut phone = redial.connect().bound(ALICE, PASSWORD);
        let question = subtree("DC=corp,DC=example", "(sn=Übel)", &["cn"]);
        assert_eq!(phone.search(&question).entries.len(), 1, "{:?}: bound", server.kind);
        assert_eq!(phone.bind(ALICE, "wrong").code, ResultCode::INVALID_CREDENTIALS, "{:?}", server.kind);
        let found = phone.search(&question);
        assert_eq!(found.entries.len(), 0, "{:?}: anonymous again, so refused: {:?}", server.kind, found.outcome);
        assert_eq!(phone.bind("CN=Nobody,DC=corp,DC=example", PASSWORD).code, ResultCode::INVALID_CREDENTIALS, "{:?}", server.kind);
    }
}

#[test]
fn a_name_without_a_password_is_refused_before_the_directory_hears_of_it() {
    let redial = Setup::before(bed::slapd()).start();
    assert_eq!(redial.connect().bind(ALICE, "").code, ResultCode::UNWILLING_TO_PERFORM);
    assert_eq!(redial.connect().bind("", PASSWORD).code, ResultCode::INVALID_CREDENTIALS);
    assert_eq!(redial.connect().bind("", "").code, ResultCode::SUCCESS, "an anonymous bind");
}

#[test]
fn when_the_controller_is_away_searches_come_from_memory_and_a_bind_is_unavailable_not_wrong() {
    for server in [bed::samba(), bed::slapd()] {
        let relay = Relay::to(server.ldaps);
        let redial = Setup::before_address(relay.address).start();
        let question = subtree("DC=corp,DC=example", "(sn=Übel)", &[]);
        let before = redial.connect().search(&question).entries;
        assert_eq!(before.len(), 1);
        relay.cut();
        let kind = server.kind;
        assert_eq!(redial.connect().search(&question).entries, before, "{kind:?}: the answer that is remembered");
        for password in [PASSWORD, "wrong"] {
            let outcome = redial.connect().bind("alice@corp.example", password);
            assert_eq!(outcome.code, ResultCode::UNAVAILABLE, "{kind:?}: {outcome:?}");
        }
        let found = redial.connect().search(&subtree("DC=corp,DC=example", "(sn=Nowak)", &["cn"]));
        assert_eq!(found.outcome.code, ResultCode::UNAVAILABLE, "{kind:?}: an answer that nobody has");
        relay.mend();
    }
}

#[test]
fn answers_are_remembered_when_slapd_is_really_stopped_and_asked_again_when_it_is_back() {
    let server = Server::start(Kind::Slapd, "stopped", "127.0.66.13");
    let redial = Setup::before(&server).watchful().start();
    let question = subtree("DC=corp,DC=example", "(sn=Übel)", &[]);
    let other = subtree("DC=corp,DC=example", "(sn=Nowak)", &["cn"]);
    let before = redial.connect().search(&question).entries;
    server.stop();
    assert_eq!(redial.connect().search(&question).entries, before);
    assert_eq!(redial.connect().bind(ALICE, PASSWORD).code, ResultCode::UNAVAILABLE);
    let server = Server::start(Kind::Slapd, "stopped", "127.0.66.13");
    let expected = server.direct().search(&other).entries;
    assert!(!expected.is_empty());
    eventually("the controller is found again", || redial.connect().search(&other).entries == expected);
    assert_eq!(redial.connect().bind(ALICE, PASSWORD).code, ResultCode::SUCCESS);
}

#[test]
fn ten_thousand_binds_with_one_stale_password_are_one_wrong_password_at_the_controller() {
    let server = bed::samba();
    let redial = Setup::before(server).start();
    let before = wrong_passwords(server, "lockme");
    let phone = || {
        let mut phone = redial.connect();
        for _ in 0..200 {
            assert_eq!(phone.bind("lockme@corp.example", "stale").code, ResultCode::INVALID_CREDENTIALS);
        }
    };
    thread::scope(|scope| (0..50).for_each(|_| drop(scope.spawn(phone))));
    assert_eq!(wrong_passwords(server, "lockme"), before + 1);
    assert_eq!(redial.connect().bind("lockme@corp.example", PASSWORD).code, ResultCode::SUCCESS, "the right one works");
}

#[test]
fn five_wrong_passwords_lock_nobody_where_the_policy_locks_after_five() {
    let server = bed::samba();
    let redial = Setup::before(server).start();
    for password in ["one", "two", "three", "four", "five"] {
        assert_eq!(redial.connect().bind("bob@corp.example", password).code, ResultCode::INVALID_CREDENTIALS);
    }
    assert_eq!(wrong_passwords(server, "bob"), 3);
    let (_, metrics) = redial.http("/metrics").expect("metrics");
    assert!(metrics.contains("redial_lockout_guarded_principals 1"), "{metrics}");
    assert!(redial.log().contains("bob@corp.example"), "the administrator is told");
    // Binds at the controller itself: not locked.
    server.direct_as("bob@corp.example", PASSWORD);
}

/// What the controller has counted against an account.
pub(crate) fn wrong_passwords(server: &Server, account: &str) -> u32 {
    let question = subtree(bed::BASE, &format!("(sAMAccountName={account})"), &["badPwdCount"]);
    let found = server.direct_as(server.administrator(), bed::ADMIN_PASSWORD).search(&question);
    let count = found.entries[0].values("badPwdCount").first().map_or(0, |count| count.parse().expect("a number"));
    assert_eq!(found.entries.len(), 1, "{account}");
    count
}
