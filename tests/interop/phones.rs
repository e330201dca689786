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
use std::collections::HashMap;

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
            let expected = Expected::of(server, &mut direct, &search);
            if search.request.size_limit == 0 {
                for (how, found) in [("again", run(&mut direct, &search)), ("by pages", direct.search_paged(&search.request, 100))] {
                    expected.assert_given(&search, how, &Found { references: 0, ..found });
                }
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
        let expected = Expected::of(server, &mut direct, &search);
        let found = run(&mut phone, &search);
        expected.assert_given(&search, "on the miss", &found);
        compared.push((search, expected, found));
    }
    let with_entries = compared.iter().filter(|(.., found)| !found.entries.is_empty()).count();
    assert!(with_entries > 40, "only {with_entries} of the searches find anybody: that would compare little");

    let sent = relay.sent();
    for (search, expected, missed) in &compared {
        let hit = run(&mut phone, search);
        expected.assert_given(search, "on the hit", &hit);
        assert_eq!(hit.entries, missed.entries, "{}: hit and miss", search.name);
        assert_eq!(relay.sent(), sent, "{}: octets went to the controller on the hit", search.name);
    }
}

fn run(client: &mut LdapClient, search: &PhoneSearch) -> Found {
    match search.page_size {
        Some(size) => client.search_paged(&search.request, size),
        None => client.search(&search.request),
    }
}

/// What the directory itself gives, as Redial promises it: without references, and with the size limit kept. (Samba does not keep it.)
struct Expected {
    code: ResultCode,
    /// Everything that matches, with its size limit lifted.
    whole: Vec<Entry>,
    /// How much of it is given.
    count: usize,
    /// Which part of it is given, where not all is: Samba's order is steady, slapd's is another when it is asked by pages.
    is_first_part: bool,
}

impl Expected {
    fn of(server: &Server, direct: &mut LdapClient, search: &PhoneSearch) -> Self {
        let found = direct.search(&SearchRequest { size_limit: 0, ..search.request.clone() });
        let whole: Vec<Entry> = found.entries.iter().map(steady).collect();
        let limit = search.request.size_limit as usize;
        if limit > 0 && whole.len() > limit {
            let code = ResultCode::SIZE_LIMIT_EXCEEDED;
            return Self { code, whole, count: limit, is_first_part: server.kind == Kind::Samba };
        }
        Self { code: found.outcome.code, count: whole.len(), whole, is_first_part: false }
    }

    fn assert_given(&self, search: &PhoneSearch, when: &str, found: &Found) {
        let name = &search.name;
        assert_eq!(found.outcome.code, self.code, "{name}, {when}: {}", found.outcome.diagnostic);
        assert_eq!(found.references, 0, "{name}, {when}: references never reach a phone");
        let entries: Vec<Entry> = found.entries.iter().map(steady).collect();
        assert_eq!(entries.len(), self.count, "{name}, {when}: number of entries");
        if self.is_first_part {
            assert_eq!(entries, self.whole[..self.count], "{name}, {when}");
        }
        let whole: HashMap<&str, &Entry> = self.whole.iter().map(|entry| (entry.dn.as_str(), entry)).collect();
        let given: HashMap<&str, &Entry> = entries.iter().map(|entry| (entry.dn.as_str(), entry)).collect();
        assert_eq!(given.len(), self.count, "{name}, {when}: each entry once");
        for (dn, entry) in given {
            assert_eq!(whole.get(dn), Some(&entry), "{name}, {when}");
        }
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
    let found = counter.search(&SearchRequest::new(
        "cn=Operations,cn=Monitor",
        Scope::BaseObject,
        Filter::Present("objectClass".to_owned()),
        &["monitorOpInitiated"],
    ));
    found.entries[0].values("monitorOpInitiated")[0].parse().expect("a number")
}
