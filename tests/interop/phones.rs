//! Every search that phones and PBXs send gives through Redial what the directory itself gives: on the miss, and again from memory,
//! when not one octet goes to the controller.

use crate::bed::{self, Kind, Server};
use crate::common::ldap_client::{Entry, Found, LdapClient};
use crate::corpus::{PhoneSearch, phone_searches};
use crate::redial::{OPEN, Setup};
use crate::relay::Relay;
use redial::ldap::ResultCode;
use redial::ldap::filter::Filter;
use redial::ldap::message::{Scope, SearchRequest};

/// Long enough that nothing expires or is refreshed while a test runs, and large enough for every user with every attribute.
pub(crate) const REMEMBER: &str = r#"
[cache]
capacity = "1GiB"
ttl = "1h"
empty_ttl = "1h"
"#;

/// Attributes that a domain controller changes by itself, at a bind for instance.
const VOLATILE: [&str; 8] =
    ["lastLogon", "lastLogonTimestamp", "logonCount", "badPwdCount", "badPasswordTime", "lockoutTime", "uSNChanged", "whenChanged"];

#[test]
fn every_phone_search_gives_what_samba_gives_on_the_miss_and_on_the_hit() {
    compare_every_search(bed::samba());
}

#[test]
fn every_phone_search_gives_what_slapd_gives_on_the_miss_and_on_the_hit() {
    compare_every_search(bed::slapd());
}

#[test]
fn a_directory_gives_the_same_twice_and_by_pages_so_that_comparing_means_something() {
    for server in [bed::samba(), bed::slapd()] {
        let mut direct = server.direct();
        for search in phone_searches() {
            let expected = asked_directly(server, &mut direct, &search);
            assert_same(&search, "the second time", &asked_directly(server, &mut direct, &search), &expected);
            if search.request.size_limit == 0 && search.request.scope == Scope::WholeSubtree {
                let paged = Found { references: 0, ..direct.search_paged(&search.request, 100) };
                assert_same(&search, "by pages", &paged, &expected);
            }
        }
    }
}

#[test]
fn the_second_time_slapd_itself_counts_no_operation() {
    let server = Server::start(Kind::Slapd, "counted", "127.0.66.12");
    let redial = Setup::before(&server).with(&format!("{OPEN}{REMEMBER}")).quiet().start();
    let (mut counter, mut phone) = (server.direct(), redial.connect());
    let begun = operations(&mut counter);
    for search in phone_searches() {
        run(&mut phone, &search);
    }
    let first = operations(&mut counter);
    assert!(first - begun > 50, "the first time they are asked of slapd: {} operations", first - begun);
    for search in phone_searches() {
        run(&mut phone, &search);
    }
    // The one operation is this reading of the counter.
    assert_eq!(operations(&mut counter) - first, 1);
}

fn compare_every_search(server: &Server) {
    let relay = Relay::to(server.ldaps);
    let redial = Setup::before_address(relay.address).with(&format!("{OPEN}{REMEMBER}")).quiet().start();
    let (mut direct, mut phone) = (server.direct(), redial.connect());
    let mut compared = Vec::new();
    for search in phone_searches() {
        let expected = asked_directly(server, &mut direct, &search);
        assert_same(&search, "on the miss", &run(&mut phone, &search), &expected);
        compared.push((search, expected));
    }
    let with_entries = compared.iter().filter(|(_, expected)| !expected.entries.is_empty()).count();
    assert!(with_entries > 40, "only {with_entries} of the searches find anybody: that would compare little");

    let sent = relay.sent();
    for (search, expected) in &compared {
        assert_same(search, "on the hit", &run(&mut phone, search), expected);
        assert_eq!(relay.sent(), sent, "{}: octets went to the controller on the hit", search.name);
    }
}

/// What the directory gives, as Redial promises it: without references, and with the size limit kept. (Samba does not keep it.)
fn asked_directly(server: &Server, direct: &mut LdapClient, search: &PhoneSearch) -> Found {
    let mut found = run(direct, search);
    found.references = 0;
    let limit = search.request.size_limit as usize;
    if server.kind == Kind::Samba && limit > 0 && found.entries.len() > limit {
        found.entries.truncate(limit);
        found.outcome.code = ResultCode::SIZE_LIMIT_EXCEEDED;
    }
    found
}

fn run(client: &mut LdapClient, search: &PhoneSearch) -> Found {
    match search.page_size {
        Some(size) => client.search_paged(&search.request, size),
        None => client.search(&search.request),
    }
}

fn assert_same(search: &PhoneSearch, when: &str, found: &Found, expected: &Found) {
    let name = &search.name;
    assert_eq!(found.outcome.code, expected.outcome.code, "{name}, {when}: {}", found.outcome.diagnostic);
    assert_eq!(found.references, 0, "{name}, {when}: references never reach a phone");
    assert_eq!(found.entries.len(), expected.entries.len(), "{name}, {when}: number of entries");
    for (found, expected) in found.entries.iter().zip(&expected.entries) {
        assert_eq!(steady(found), steady(expected), "{name}, {when}");
    }
}

/// The entry without what changes by itself.
fn steady(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    entry.attributes.retain(|(name, _)| !VOLATILE.iter().any(|volatile| volatile.eq_ignore_ascii_case(name)));
    entry
}

/// How many operations slapd has begun, this one included.
fn operations(counter: &mut LdapClient) -> u64 {
    let found = counter.search(&SearchRequest {
        base_object: "cn=Operations,cn=Monitor".to_owned(),
        scope: Scope::BaseObject,
        deref_aliases: 0,
        size_limit: 0,
        time_limit: 0,
        types_only: false,
        filter: Filter::Present("objectClass".to_owned()),
        attributes: vec!["monitorOpInitiated".to_owned()],
    });
    found.entries[0].values("monitorOpInitiated")[0].parse().expect("a number")
}
