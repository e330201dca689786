//! Writes go to the directory once, in the client's own name, and the next search shows them.

use crate::bed::{self, ADMIN_PASSWORD, Kind, PASSWORD, Server};
use crate::common::ldap_client::{Change, LdapClient, subtree};
use crate::redial::{Redial, Setup};
use redial::ldap::ResultCode;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};

const ALICE: &str = "CN=Alice Test,OU=Berlin,OU=Staff,DC=corp,DC=example";
const NEW: &str = "CN=New Contact,OU=Contacts,DC=corp,DC=example";

#[test]
fn a_user_changes_their_own_number_and_the_next_search_shows_it() {
    for server in written().iter() {
        let redial = Setup::before(server).with_writes().start();
        let mut alice = redial.connect().bound(ALICE, PASSWORD);
        for number in ["+49 30 5550-777", "+49 30 5550-100"] {
            numbers(&mut redial.connect(), ALICE);
            let outcome = alice.modify(ALICE, Change::Replace, "telephoneNumber", &[number]);
            assert_eq!(outcome.code, ResultCode::SUCCESS, "{:?}: {}", server.kind, outcome.diagnostic);
            assert_eq!(numbers(&mut alice, ALICE), [number], "{:?}: the same session", server.kind);
            assert_eq!(numbers(&mut redial.connect(), ALICE), [number], "{:?}: another phone", server.kind);
            assert_eq!(numbers(&mut server.direct(), ALICE), [number], "{:?}: the directory", server.kind);
        }
    }
}

#[test]
fn a_write_is_tied_to_a_condition_and_shows_what_was_and_what_is() {
    let servers = written();
    let slapd = servers.iter().find(|server| server.kind == Kind::Slapd).expect("a slapd");
    let redial = Setup::before(slapd).with_writes().start();
    // RFC 4528 and RFC 4527, as OpenLDAP's own client sends them.
    let modify = |condition: &str, number: &str| {
        let change = format!("dn: {ALICE}\nchangetype: modify\nreplace: telephoneNumber\ntelephoneNumber: {number}\n");
        let mut client = Command::new("ldapmodify")
            .args(["-x", "-v", "-H", &format!("ldaps://{}", redial.ldaps), "-D", ALICE, "-w", PASSWORD])
            .args(["-e", &format!("!assert={condition}"), "-e", "!preread=telephoneNumber", "-e", "!postread=telephoneNumber"])
            .env("LDAPTLS_CACERT", bed::ca())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ldapmodify");
        client.stdin.take().expect("its input").write_all(change.as_bytes()).expect("it reads");
        let ended = client.wait_with_output().expect("its end");
        (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr))
    };
    let (code, said) = modify("(telephoneNumber=nobody's)", "+49 30 5550-999");
    assert_eq!(code, Some(122), "assertionFailed: {said}");
    for (before, after) in [("+49 30 5550-100", "+49 30 5550-888"), ("+49 30 5550-888", "+49 30 5550-100")] {
        let (code, said) = modify(&format!("(telephoneNumber={before})"), after);
        assert_eq!(code, Some(0), "{said}");
        let shown: Vec<_> = said.lines().filter(|line| line.starts_with("telephoneNumber: ")).collect();
        assert_eq!(shown, [format!("telephoneNumber: {before}"), format!("telephoneNumber: {after}")], "{said}");
    }
}

#[test]
fn what_a_client_may_not_write_the_directory_refuses() {
    for server in written().iter() {
        let redial = Setup::before(server).with_writes().start();
        let bob = ALICE.replace("Alice", "Bob");
        let outcome = redial.connect().bound(ALICE, PASSWORD).modify(&bob, Change::Replace, "telephoneNumber", &["1"]);
        assert_eq!(outcome.code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS, "{:?}: {}", server.kind, outcome.diagnostic);
        let outcome = redial.connect().modify(&bob, Change::Replace, "telephoneNumber", &["1"]);
        assert_ne!(outcome.code, ResultCode::SUCCESS, "{:?}: who has not bound writes nothing", server.kind);
        assert_eq!(numbers(&mut server.direct(), &bob), ["+49 30 5550-101"], "{:?}", server.kind);
    }
}

#[test]
fn an_entry_is_added_changed_renamed_and_deleted_by_the_administrator() {
    for server in written().iter() {
        let redial = Setup::before(server).with_writes().start();
        let mut administrator = redial.connect().bound(server.administrator(), ADMIN_PASSWORD);
        let class = if server.kind == Kind::Samba { "contact" } else { "inetOrgPerson" };
        let attributes: [(&str, &[&str]); 4] =
            [("objectClass", &[class]), ("cn", &["New Contact"]), ("sn", &["Contact"]), ("telephoneNumber", &["12"])];
        assert_eq!(contacts(&redial), 0, "{:?}: remembered as nobody", server.kind);
        ok(server, administrator.add(NEW, &attributes).code);
        assert_eq!(contacts(&redial), 1, "{:?}: added", server.kind);
        ok(server, administrator.modify(NEW, Change::Add, "description", &["tried"]).code);
        ok(server, administrator.modify(NEW, Change::Delete, "description", &[]).code);
        assert_eq!(administrator.add(NEW, &attributes).code, ResultCode::ENTRY_ALREADY_EXISTS, "{:?}", server.kind);
        ok(server, administrator.rename(NEW, "CN=Old Contact").code);
        let renamed = NEW.replace("New", "Old");
        assert_eq!(numbers(&mut redial.connect(), &renamed), ["12"], "{:?}: renamed", server.kind);
        ok(server, administrator.delete(&renamed).code);
        assert_eq!(contacts(&redial), 0, "{:?}: deleted", server.kind);
    }
}

#[test]
fn a_password_changed_through_redial_is_the_one_that_counts_from_then_on() {
    let servers = written();
    let slapd = &servers[1]; // Samba does not know the operation.
    let redial = Setup::before(slapd).with_writes().start();
    let bob = "cn=Bob Test,ou=Berlin,ou=Staff,dc=corp,dc=example";
    for (old, new) in [(PASSWORD, "Another.Passw0rd"), ("Another.Passw0rd", PASSWORD)] {
        let mut client = LdapClient::ldaps(redial.ldaps, &bed::ca()).expect("LDAPS").bound(bob, old);
        let outcome = client.change_password(bob, old, new);
        assert_eq!(outcome.code, ResultCode::SUCCESS, "{}", outcome.diagnostic);
        assert_eq!(redial.connect().bind(bob, new).code, ResultCode::SUCCESS, "the new one");
        assert_eq!(redial.connect().bind(bob, old).code, ResultCode::INVALID_CREDENTIALS, "the old one");
    }
}

#[test]
fn active_directorys_way_to_set_a_password_works_through_redial() {
    let servers = written();
    let samba = &servers[0];
    let redial = Setup::before(samba).with_writes().start();
    let bob = "CN=Bob Test,OU=Berlin,OU=Staff,DC=corp,DC=example";
    let bind = |password| redial.connect().bind(bob, password).code;
    let (own, reset) = ("Owners.Passw0rd", "Resetters.Passw0rd");

    // The owner deletes the old one, which they must know, and adds the new one.
    let mut client = LdapClient::ldaps(redial.ldaps, &bed::ca()).expect("LDAPS").bound(bob, PASSWORD);
    let mut change = |old, new| {
        let changes: [(Change, &str, &[&str]); 2] =
            [(Change::Delete, "unicodePwd", &[&unicode(old)]), (Change::Add, "unicodePwd", &[&unicode(new)])];
        client.modify_all(bob, &changes).code
    };
    assert_ne!(change("Not.The.0ld.one", own), ResultCode::SUCCESS);
    assert_eq!(bind(PASSWORD), ResultCode::SUCCESS, "nothing has changed");
    ok(samba, change(PASSWORD, own));
    assert_eq!(bind(own), ResultCode::SUCCESS, "the new one at once");
    assert_eq!(bind(PASSWORD), ResultCode::INVALID_CREDENTIALS, "the old one no more");

    // An administrator replaces it.
    let mut administrator = LdapClient::ldaps(redial.ldaps, &bed::ca()).expect("LDAPS").bound(samba.administrator(), ADMIN_PASSWORD);
    ok(samba, administrator.modify(bob, Change::Replace, "unicodePwd", &[&unicode(reset)]).code);
    assert_eq!(bind(reset), ResultCode::SUCCESS, "the new one at once");
    assert_eq!(bind(own), ResultCode::INVALID_CREDENTIALS, "the old one no more");
    ok(samba, administrator.modify(bob, Change::Replace, "unicodePwd", &[&unicode(PASSWORD)]).code);
    assert_eq!(bind(PASSWORD), ResultCode::SUCCESS, "the first one again, at once");
    assert!(!redial.log().contains("Passw0rd"), "a password in the log");
}

#[test]
fn writes_are_refused_where_the_configuration_does_not_forward_them() {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        let outcome =
            redial.connect().bound(server.administrator(), ADMIN_PASSWORD).delete("CN=Bob Test,OU=Berlin,OU=Staff,DC=corp,DC=example");
        assert_eq!(outcome.code, ResultCode::UNWILLING_TO_PERFORM, "{:?}: {}", server.kind, outcome.diagnostic);
    }
}

/// Servers that may be written: one test at a time, since all begin and end with the same people.
pub(crate) fn written() -> MutexGuard<'static, [Server; 2]> {
    static WRITTEN: OnceLock<Mutex<[Server; 2]>> = OnceLock::new();
    let servers = || [Server::start(Kind::Samba, "written-dc", "127.0.66.2"), Server::start(Kind::Slapd, "written-ol", "127.0.66.15")];
    // A test that failed has said so; the others still tell something.
    WRITTEN.get_or_init(|| Mutex::new(servers())).lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A value of `unicodePwd` (MS-ADTS section 3.1.1.3.1.5): in quotes, in UTF-16.
pub(crate) fn unicode(password: &str) -> String {
    format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).map(char::from).collect()
}

fn ok(server: &Server, code: ResultCode) {
    assert_eq!(code, ResultCode::SUCCESS, "{:?}", server.kind);
}

fn numbers(client: &mut LdapClient, dn: &str) -> Vec<String> {
    client.search(&subtree(dn, "(objectClass=*)", &["telephoneNumber"])).entries[0].values("telephoneNumber")
}

fn contacts(redial: &Redial) -> usize {
    redial.connect().search(&subtree("OU=Contacts,DC=corp,DC=example", "(sn=Contact)", &["cn"])).entries.len()
}
