//! Active Directory gives 1,000 entries to a client that does not page; a phone asks for all and never pages.

use crate::bed::{self, PASSWORD};
use crate::common::ldap_client::subtree;
use crate::redial::Setup;
use redial::ldap::ResultCode;
use redial::ldap::message::SearchRequest;
use std::collections::HashSet;

/// slapd holds this account to 1,000 entries, as Active Directory holds everybody.
const LIMITED: &str = "CN=svc-limited,OU=Service Accounts,DC=corp,DC=example";

#[test]
fn all_of_1500_people_come_through_where_the_directory_stops_at_1000() {
    let server = bed::slapd();
    let alone = server.direct_as(LIMITED, PASSWORD).search(&fifteen_hundred());
    assert_eq!((alone.entries.len(), alone.outcome.code), (1000, ResultCode::SIZE_LIMIT_EXCEEDED), "the directory alone");

    let redial = Setup { service: Some(LIMITED), ..Setup::before(server) }.start();
    for when in ["on the miss", "on the hit"] {
        let found = redial.connect().search(&fifteen_hundred());
        assert_eq!((found.entries.len(), found.outcome.code), (1500, ResultCode::SUCCESS), "{when}: {}", found.outcome.diagnostic);
        let names: HashSet<_> = found.entries.iter().map(|entry| &entry.dn).collect();
        assert_eq!(names.len(), 1500, "{when}: each once");
    }
}

#[test]
fn all_of_1500_people_come_from_samba() {
    let redial = Setup::before(bed::samba()).start();
    let found = redial.connect().search(&fifteen_hundred());
    assert_eq!((found.entries.len(), found.outcome.code), (1500, ResultCode::SUCCESS), "{}", found.outcome.diagnostic);
}

#[test]
fn the_accesss_own_limit_holds_beyond_the_directorys() {
    let access =
        "[[access]]\nname = \"some\"\nclients = \"any\"\nbases = [\"DC=corp,DC=example\"]\nattributes = [\"*\"]\nsize_limit = 1200\n";
    let redial = Setup { service: Some(LIMITED), ..Setup::before(bed::slapd()) }.with(access).start();
    for when in ["on the miss", "on the hit"] {
        let found = redial.connect().search(&fifteen_hundred());
        assert_eq!((found.entries.len(), found.outcome.code), (1200, ResultCode::SIZE_LIMIT_EXCEEDED), "{when}");
    }
}

#[test]
fn a_size_limit_of_the_clients_holds_on_the_miss_and_on_the_hit() {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        for (limit, code) in [(10, ResultCode::SIZE_LIMIT_EXCEEDED), (1499, ResultCode::SIZE_LIMIT_EXCEEDED), (1500, ResultCode::SUCCESS)] {
            for when in ["on the miss", "on the hit"] {
                let found = redial.connect().search(&SearchRequest { size_limit: limit, ..fifteen_hundred() });
                assert_eq!((found.entries.len(), found.outcome.code), (limit as usize, code), "{:?}, {when}", server.kind);
            }
        }
    }
}

/// Asks for the people with the first 1,500 employee numbers.
fn fifteen_hundred() -> SearchRequest {
    let filter = "(|(employeeNumber=100*)(employeeNumber=1010*)(employeeNumber=1011*)(employeeNumber=1012*)(employeeNumber=1013*)\
                  (employeeNumber=1014*))";
    subtree("OU=Staff,DC=corp,DC=example", filter, &["cn", "telephoneNumber"])
}
