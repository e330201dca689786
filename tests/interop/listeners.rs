//! Plain LDAP, StartTLS and LDAPS lead to the same directory.

use crate::bed::{self, PASSWORD};
use crate::common::ldap_client::{LdapClient, subtree};
use crate::redial::Setup;
use redial::ldap::ResultCode;

#[test]
fn every_listener_gives_the_same_entry_and_takes_a_password() {
    let redial = Setup::before(bed::samba()).start();
    let ca = bed::ca();
    let question = subtree("DC=corp,DC=example", "(sn=Übel)", &[]);
    let expected = bed::samba().direct().search(&question).entries;
    assert_eq!(expected.len(), 1);
    let connected = [
        ("plain", LdapClient::plain(redial.plain)),
        ("StartTLS", LdapClient::start_tls(redial.start_tls, &ca)),
        ("LDAPS", LdapClient::ldaps(redial.ldaps, &ca)),
    ];
    for (listener, client) in connected {
        let mut client = client.unwrap_or_else(|error| panic!("{listener}: {error}")).bound("alice@corp.example", PASSWORD);
        assert_eq!(client.search(&question).entries, expected, "{listener}");
    }
}

#[test]
fn nothing_is_told_before_start_tls_where_it_is_required() {
    let redial = Setup::before(bed::slapd()).start();
    let mut client = LdapClient::plain(redial.start_tls).expect("the StartTLS listener");
    let found = client.search(&subtree("DC=corp,DC=example", "(sn=Übel)", &[]));
    assert_eq!((found.entries.len(), found.outcome.code), (0, ResultCode::CONFIDENTIALITY_REQUIRED));
    assert_eq!(client.bind("cn=Alice Test,ou=Berlin,ou=Staff,dc=corp,dc=example", PASSWORD).code, ResultCode::CONFIDENTIALITY_REQUIRED);
}

#[test]
fn the_proxy_itself_reaches_a_controller_by_start_tls() {
    for server in [bed::samba(), bed::slapd()] {
        let setup = Setup { servers: vec![format!("ldap://{}", server.ldap)], ..Setup::before(server) };
        let found = setup.start().connect().search(&subtree("DC=corp,DC=example", "(sn=Übel)", &["cn"]));
        assert_eq!(found.entries.len(), 1, "{:?}: {}", server.kind, found.outcome.diagnostic);
    }
}
