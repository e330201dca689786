//! A user's many names are one principal, and its groups are its groups, because the controller says so.

use crate::bed::{self, ADMIN_PASSWORD, Kind, PASSWORD};
use crate::binds::wrong_passwords;
use crate::common::ldap_client::{Change, LdapClient, subtree};
use crate::redial::Setup;
use redial::ldap::ResultCode;
use std::thread;
use std::time::Duration;

#[test]
fn wrong_passwords_by_dn_upn_and_down_level_name_count_together() {
    let server = bed::samba();
    let redial = Setup::before(server).start();
    let names = ["CN=Jörg Übel\\, Dr.,OU=Berlin,OU=Staff,DC=corp,DC=example", "uebel@corp.example", "CORP\\uebel"];
    for name in names {
        assert_eq!(redial.connect().bind(name, PASSWORD).code, ResultCode::SUCCESS, "{name}");
    }
    for (number, name) in names.iter().cycle().take(6).enumerate() {
        assert_eq!(redial.connect().bind(name, &format!("wrong {number}")).code, ResultCode::INVALID_CREDENTIALS, "{name}");
    }
    assert_eq!(wrong_passwords(server, "uebel"), 3);
    let (_, metrics) = redial.http("/metrics").expect("metrics");
    assert!(metrics.contains("redial_lockout_guarded_principals 1"), "{metrics}");
    // Binds at the controller itself: not locked, though its policy locks after five.
    server.direct_as("uebel@corp.example", PASSWORD);
}

#[test]
fn members_by_way_of_other_groups_are_let_in_until_they_leave() {
    for server in [bed::samba(), bed::slapd()] {
        let mut administrator = server.direct_as(server.administrator(), ADMIN_PASSWORD);
        group(&mut administrator, server.kind, INNER, ALICE);
        group(&mut administrator, server.kind, OUTER, INNER);
        let access = format!(
            "[[access]]\nname = \"members\"\nclients = [\"group:{OUTER}\"]\nbases = [\"DC=corp,DC=example\"]\nattributes = [\"cn\", \"sn\"]\n\
             [binds]\nttl = \"2s\"\n"
        );
        let redial = Setup::before(server).with(&access).start();
        let question = subtree("DC=corp,DC=example", "(sn=Übel)", &["cn"]);
        let search = |phone: &mut LdapClient| {
            let found = phone.search(&question);
            (found.outcome.code, found.entries.len())
        };
        let names: &[&str] = if server.kind == Kind::Samba { &[ALICE, "alice@corp.example", "CORP\\alice"] } else { &[ALICE] };
        for name in names {
            assert_eq!(search(&mut redial.connect().bound(name, PASSWORD)), (ResultCode::SUCCESS, 1), "{:?}: {name}", server.kind);
        }
        let bob = ALICE.replace("Alice", "Bob");
        let outside = (ResultCode::INSUFFICIENT_ACCESS_RIGHTS, 0);
        assert_eq!(search(&mut redial.connect().bound(&bob, PASSWORD)), outside, "{:?}", server.kind);
        let mut session = redial.connect().bound(ALICE, PASSWORD);
        assert_eq!(search(&mut session), (ResultCode::SUCCESS, 1), "{:?}", server.kind);

        // A groupOfNames must keep a member.
        let left = administrator.modify(INNER, Change::Replace, "member", &[&bob]);
        assert_eq!(left.code, ResultCode::SUCCESS, "{:?}: {left:?}", server.kind);
        thread::sleep(Duration::from_secs(2));
        assert_eq!(search(&mut session), outside, "{:?}: a session from before", server.kind);
        assert_eq!(search(&mut redial.connect().bound(ALICE, PASSWORD)), outside, "{:?}: another bind", server.kind);
        assert_eq!(search(&mut redial.connect().bound(&bob, PASSWORD)), (ResultCode::SUCCESS, 1), "{:?}: who came instead", server.kind);
        for dn in [OUTER, INNER] {
            assert_eq!(administrator.delete(dn).code, ResultCode::SUCCESS, "{:?}", server.kind);
        }
    }
}

fn group(administrator: &mut LdapClient, kind: Kind, dn: &str, member: &str) {
    let class = if kind == Kind::Samba { "group" } else { "groupOfNames" };
    let added = administrator.add(dn, &[("objectClass", &[class]), ("member", &[member])]);
    assert_eq!(added.code, ResultCode::SUCCESS, "{kind:?}: {added:?}");
}

const ALICE: &str = "CN=Alice Test,OU=Berlin,OU=Staff,DC=corp,DC=example";
const INNER: &str = "CN=Who Inner,OU=Groups,DC=corp,DC=example";
const OUTER: &str = "CN=Who Outer,OU=Groups,DC=corp,DC=example";
