//! Who is disabled, or has another password, at a real controller is soon refused, and does not live on in open sessions.

use crate::bed::{ADMIN_PASSWORD, PASSWORD, Server};
use crate::common::ldap_client::{Change, LdapClient, Outcome, subtree};
use crate::redial::{OPEN, Redial, Setup};
use crate::writes::{unicode, written};
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A short `[binds] ttl`, and one that no test lasts for.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(300);
/// Somebody whom nothing happens to.
const BYSTANDER: &str = "CN=Alice Test,OU=Berlin,OU=Staff,DC=corp,DC=example";

#[test]
fn who_is_disabled_is_refused_within_the_ttl_and_loses_all_open_sessions_with_that() {
    let servers = written();
    let user = User::new(&servers[0], "disabled1");
    let redial = before(&servers[0], SHORT);
    let mut sessions = user.names().map(|name| redial.connect().bound(&name, PASSWORD));
    let mut bystander = redial.connect().bound(BYSTANDER, PASSWORD);
    sessions.iter_mut().for_each(searches);

    user.disable();
    // Under one name, in whose place every name is meant.
    let [_, upn, _] = user.names();
    refused_within_the_ttl(&redial, &upn, PASSWORD);
    sessions.iter_mut().for_each(hears_the_notice);
    for name in user.names() {
        assert_eq!(redial.connect().bind(&name, PASSWORD).code, ResultCode::INVALID_CREDENTIALS, "{name}");
    }
    searches(&mut bystander);
    user.delete();
}

#[test]
fn who_is_dropped_by_hand_is_asked_about_at_once_and_loses_all_open_sessions() {
    let servers = written();
    let user = User::new(&servers[0], "dropped1");
    let redial = before(&servers[0], LONG);
    let mut sessions = user.names().map(|name| redial.connect().bound(&name, PASSWORD));
    let mut bystander = redial.connect().bound(BYSTANDER, PASSWORD);
    user.disable();
    let [dn, upn, _] = user.names();
    assert_eq!(redial.connect().bind(&dn, PASSWORD).code, ResultCode::SUCCESS, "from memory");

    let (status, body) = redial.request("DELETE", &format!("/principals?name={upn}")).expect("an answer");
    assert_eq!(status, 200, "{body}");
    sessions.iter_mut().for_each(hears_the_notice);
    for name in user.names() {
        assert_eq!(redial.connect().bind(&name, PASSWORD).code, ResultCode::INVALID_CREDENTIALS, "{name}");
    }
    searches(&mut bystander);
    user.delete();
}

#[test]
fn a_password_changed_at_the_controller_works_at_first_and_the_old_one_is_refused_within_the_ttl() {
    let servers = written();
    let user = User::new(&servers[0], "changed1");
    let redial = before(&servers[0], SHORT);
    let [dn, upn, _] = user.names();
    let mut sessions = user.names().map(|name| redial.connect().bound(&name, PASSWORD));
    user.set_password("Second.Passw0rd");
    refused_within_the_ttl(&redial, &upn, PASSWORD);
    sessions.iter_mut().for_each(hears_the_notice);
    assert_eq!(redial.connect().bind(&dn, "Second.Passw0rd").code, ResultCode::SUCCESS, "the new one after the old one");

    // Where the new one comes first, the old one need not wait for its time to pass.
    let redial = before(&servers[0], LONG);
    let mut sessions = user.names().map(|name| redial.connect().bound(&name, "Second.Passw0rd"));
    user.set_password("Third.Passw0rd");
    assert_eq!(redial.connect().bind(&dn, "Third.Passw0rd").code, ResultCode::SUCCESS, "the new one before the old one");
    assert_eq!(redial.connect().bind(&upn, "Second.Passw0rd").code, ResultCode::INVALID_CREDENTIALS, "the old one");
    sessions.iter_mut().for_each(hears_the_notice);
    user.delete();
}

fn before(server: &Server, ttl: Duration) -> Redial {
    Setup::before(server).with(&format!("{OPEN}[binds]\nttl = \"{}s\"\n", ttl.as_secs())).start()
}

/// A bind that begins [`SHORT`] from now is refused. Those before it may be accepted, and do not prolong it.
fn refused_within_the_ttl(redial: &Redial, name: &str, password: &str) {
    let begun = Instant::now();
    loop {
        let late = begun.elapsed() >= SHORT;
        let outcome = redial.connect().bind(name, password);
        if outcome.code == ResultCode::INVALID_CREDENTIALS {
            return;
        }
        assert!(outcome.code == ResultCode::SUCCESS && !late, "{name}: {outcome:?}");
        sleep(Duration::from_millis(50));
    }
}

fn searches(session: &mut LdapClient) {
    let found = session.search(&subtree(BYSTANDER, "(objectClass=*)", &["cn"]));
    assert_eq!((found.outcome.code, found.entries.len()), (ResultCode::SUCCESS, 1), "{:?}", found.outcome);
}

/// A Notice of Disconnection (RFC 4511 section 4.4.1) is all that it hears, without having asked, and then the end.
fn hears_the_notice(session: &mut LdapClient) {
    let message = session.receive().expect("a notice");
    assert_eq!((message.id, message.op_tag), (0, op::EXTENDED_RESPONSE), "{message:?}");
    let outcome = Outcome::parse(&message.content);
    assert_eq!(outcome.code, ResultCode::STRONGER_AUTH_REQUIRED, "{outcome:?}");
    assert_eq!(session.receive().expect_err("the end").kind(), ErrorKind::UnexpectedEof);
}

/// An account of one test's own.
struct User<'a> {
    server: &'a Server,
    account: &'static str,
}

impl<'a> User<'a> {
    fn new(server: &'a Server, account: &'static str) -> Self {
        let user = Self { server, account };
        let [dn, upn, _] = user.names();
        let attributes: [(&str, &[&str]); 5] = [
            ("objectClass", &["user"]),
            ("sAMAccountName", &[account]),
            ("userPrincipalName", &[&upn]),
            ("unicodePwd", &[&unicode(PASSWORD)]),
            ("userAccountControl", &["512"]),
        ];
        done(&user.administrator().add(&dn, &attributes));
        user
    }

    /// Distinguished name, user principal name and down-level name.
    fn names(&self) -> [String; 3] {
        let account = self.account;
        [format!("CN={account},CN=Users,DC=corp,DC=example"), format!("{account}@corp.example"), format!("CORP\\{account}")]
    }

    fn disable(&self) {
        done(&self.administrator().modify(&self.names()[0], Change::Replace, "userAccountControl", &["514"]));
    }

    fn set_password(&self, password: &str) {
        done(&self.administrator().modify(&self.names()[0], Change::Replace, "unicodePwd", &[&unicode(password)]));
    }

    fn delete(self) {
        done(&self.administrator().delete(&self.names()[0]));
    }

    /// At the controller itself: Redial does not see what is written.
    fn administrator(&self) -> LdapClient {
        self.server.direct_as(self.server.administrator(), ADMIN_PASSWORD)
    }
}

fn done(outcome: &Outcome) {
    assert_eq!(outcome.code, ResultCode::SUCCESS, "{}", outcome.diagnostic);
}
