//! What a client may do on one connection, with a real directory behind it.

use crate::bed::{self, PASSWORD};
use crate::common::ldap_client::{Entry, LdapClient, Outcome, subtree};
use crate::redial::Setup;
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::ldap::message::{Scope, SearchRequest};
use std::collections::HashMap;

const ALICE: &str = "CN=Alice Test,OU=Berlin,OU=Staff,DC=corp,DC=example";

#[test]
fn searches_sent_all_at_once_are_each_answered_with_their_own_entries() {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        let mut phone = redial.connect();
        // Some of them twice, so that misses, hits and shared flights mix on one connection.
        let numbers: Vec<u32> = (0..50).map(|number| 100_500 + number % 40).collect();
        let sent: HashMap<u32, u32> = numbers
            .iter()
            .map(|&number| {
                let search = subtree("DC=corp,DC=example", &format!("(employeeNumber={number})"), &["employeeNumber"]);
                (phone.send(&search.encode(), None), number)
            })
            .collect();
        let (mut done, mut entries) = (0, 0);
        while done < sent.len() {
            let message = phone.receive().expect("the rest of the answers");
            match message.op_tag {
                op::SEARCH_RESULT_ENTRY => {
                    entries += 1;
                    assert_eq!(
                        Entry::parse(&message.content).values("employeeNumber"),
                        [sent[&message.id].to_string()],
                        "{:?}",
                        server.kind
                    );
                }
                op::SEARCH_RESULT_DONE => {
                    done += 1;
                    assert_eq!(Outcome::parse(&message.content).code, ResultCode::SUCCESS, "{:?}", server.kind);
                }
                other => panic!("{other:#04x}"),
            }
        }
        assert_eq!(entries, sent.len(), "{:?}", server.kind);
    }
}

#[test]
fn an_abandoned_search_says_nothing_more_and_the_session_goes_on() {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        let mut phone = redial.connect();
        for key in 0..5 {
            // As a phone does at the next key: the search before is of no use any more. Another one each time, so that memory has no answer.
            phone.send_and_abandon(&subtree("DC=corp,DC=example", &format!("(description=*nobody has this {key}*)"), &[]).encode());
            let found = phone.search(&subtree("DC=corp,DC=example", "(sn=Übel)", &["cn"]));
            assert_eq!(found.entries.len(), 1, "{:?}", server.kind);
        }
    }
}

#[test]
fn who_am_i_is_answered_before_and_after_a_bind_in_front_of_any_directory() {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        let mut phone = LdapClient::ldaps(redial.ldaps, &bed::ca()).expect("LDAPS");
        assert_eq!(phone.who_am_i(), "", "{:?}: nobody yet", server.kind);
        assert_eq!(phone.bind(ALICE, PASSWORD).code, ResultCode::SUCCESS);
        assert_eq!(phone.who_am_i().to_lowercase(), format!("dn:{}", ALICE.to_lowercase()), "{:?}", server.kind);
        phone.bind(ALICE, "wrong");
        assert_eq!(phone.who_am_i(), "", "{:?}: nobody again", server.kind);
    }
}

#[test]
fn the_root_dse_is_redials_own_and_names_what_works_through_it() {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        let found = redial.connect().search(&SearchRequest {
            scope: Scope::BaseObject,
            ..subtree("", "(objectClass=*)", &["namingContexts", "supportedControl", "supportedSASLMechanisms", "supportedExtension", "+"])
        });
        assert_eq!((found.entries.len(), found.outcome.code), (1, ResultCode::SUCCESS));
        let root = &found.entries[0];
        assert_eq!(root.dn, "");
        assert_eq!(root.values("namingContexts"), [bed::BASE]);
        assert!(root.values("supportedSASLMechanisms").is_empty(), "{:?}: a mechanism that cannot pass", server.kind);
        assert!(root.values("highestCommittedUSN").is_empty(), "{:?}: the controller's own", server.kind);
        let controls = root.values("supportedControl");
        assert!(controls.contains(&"1.2.840.113556.1.4.319".to_owned()), "paged results: {controls:?}");
        assert!(!controls.contains(&"2.16.840.1.113730.3.4.9".to_owned()), "no virtual list views: {controls:?}");
    }
}

#[test]
fn a_whole_phonebook_is_read_by_pages_as_a_pbx_does() {
    for server in [bed::samba(), bed::slapd()] {
        let redial = Setup::before(server).start();
        let everybody = subtree("OU=Staff,DC=corp,DC=example", "(objectClass=user)", &["cn"]);
        let expected = server.direct().search_paged(&everybody, 900).entries.len();
        assert!(expected > 2000);
        for size in [900, 37] {
            let mut found = redial.connect().search_paged(&everybody, size).entries;
            found.sort();
            found.dedup();
            assert_eq!(found.len(), expected, "{:?}: by {size}", server.kind);
        }
    }
}
