//! Nobody sees more than their access shows, whoever asked before; what an attribute hides cannot be guessed either.

use crate::bed::{self, PASSWORD, Server};
use crate::common::ldap_client::{LdapClient, subtree};
use crate::redial::{Redial, Setup};
use redial::ldap::ResultCode;

/// Anonymous phones see names and numbers of people who are not disabled; who has bound sees everything.
const TWO_ACCESSES: &str = r#"
[[access]]
name = "phones"
clients = "anonymous"
bases = ["OU=Staff,DC=corp,DC=example"]
attributes = ["cn", "sn", "telephoneNumber"]
filter = "(!(userAccountControl:1.2.840.113556.1.4.803:=2))"

[[access]]
name = "people"
clients = "bound"
bases = ["DC=corp,DC=example"]
attributes = ["*"]
"#;
const ALICE: &str = "CN=Alice Test,OU=Berlin,OU=Staff,DC=corp,DC=example";
/// Person 7 is neither disabled nor without a number; the employee number is what is hidden from phones.
const HIDDEN: (&str, &str) = ("100007", "999999");

#[test]
fn an_answer_to_one_client_is_never_given_to_another_with_less_access() {
    both(|server, redial| {
        let question = subtree("OU=Staff,DC=corp,DC=example", "(|(sn=Müller)(sn=Nowak)(sn=Lange))", &[]);
        let everything = server.direct().search(&question).entries;
        let disabled = everything.iter().filter(|entry| entry.values("userAccountControl")[0].parse::<u32>().unwrap() & 2 == 2).count();
        assert!(disabled > 0 && everything.len() > disabled, "the question tells the two apart");
        for round in ["first", "again", "once more"] {
            let mut alice = redial.connect().bound(ALICE, PASSWORD);
            assert_eq!(alice.search(&question).entries, everything, "{round}: who has bound sees all");
            let phone = redial.connect().search(&question);
            assert_eq!(phone.entries.len(), everything.len() - disabled, "{round}: no disabled people for a phone");
            for (name, _) in phone.entries.iter().flat_map(|entry| &entry.attributes) {
                assert!(["cn", "sn", "telephonenumber"].contains(&name.to_lowercase().as_str()), "{round}: a phone was shown {name}");
            }
        }
    });
}

#[test]
fn an_attribute_that_is_asked_for_by_name_stays_hidden() {
    both(|_, redial| {
        let hidden = ["employeeNumber", "EMPLOYEENUMBER", "cn"];
        let found = redial.connect().search(&subtree("OU=Staff,DC=corp,DC=example", "(sn=Nowak)", &hidden));
        assert!(!found.entries.is_empty());
        assert!(found.entries.iter().all(|entry| entry.values("employeeNumber").is_empty() && !entry.values("cn").is_empty()));
        let only_hidden = redial.connect().search(&subtree("OU=Staff,DC=corp,DC=example", "(sn=Nowak)", &["employeeNumber"]));
        assert!(only_hidden.entries.iter().all(|entry| entry.attributes.is_empty()), "not all attributes instead of none");
    });
}

#[test]
fn no_shape_of_a_filter_tells_a_hidden_value_from_a_wrong_guess() {
    both(|server, redial| {
        let shapes = [
            "(employeeNumber=?)",
            "(EMPLOYEENUMBER=?)",
            "(employeeNumber=?*)",
            "(employeeNumber=*?)",
            "(employeeNumber>=?)",
            "(employeeNumber<=?)",
            "(employeeNumber~=?)",
            "(!(employeeNumber=?))",
            "(!(!(employeeNumber=?)))",
            "(!(employeeNumber>=?))",
            "(&(cn=*)(!(employeeNumber=?)))",
            "(|(cn=nobody)(employeeNumber=?))",
            "(!(|(cn=nobody)(employeeNumber=?)))",
            "(!(&(cn=*)(employeeNumber=?)))",
            "(employeeNumber:caseIgnoreMatch:=?)",
            "(employeeNumber:dn:=?)",
            "(employeeNumber;x-option=?)",
            "(2.16.840.1.113730.3.1.3=?)",
            "(:caseIgnoreMatch:=?)",
        ];
        let mut phone = redial.connect();
        let person = seven(server);
        let mut guess = |shape: &str, value: &str| {
            let found = phone.search(&subtree(&person, &shape.replace('?', value), &["cn"]));
            (found.outcome.code, found.entries)
        };
        for shape in shapes {
            assert_eq!(guess(shape, HIDDEN.0), guess(shape, HIDDEN.1), "{:?}: {shape} tells", server.kind);
        }
        for shape in ["(employeeNumber=*)", "(!(employeeNumber=*))"] {
            assert_eq!(guess(shape, "").1, guess(&shape.replace("employeeNumber", "noSuchAttribute"), "").1, "{shape} tells");
        }
        assert_eq!(guess("(|(employeeNumber=?)(cn=*))", HIDDEN.1).1.len(), 1, "the rest of an OR still matches");
    });
}

#[test]
fn a_compare_tells_nothing_about_a_hidden_attribute_or_a_hidden_entry() {
    both(|server, redial| {
        let person = seven(server);
        let guess = |value: &str| redial.connect().compare(&person, "employeeNumber", value.as_bytes()).code;
        assert_eq!(guess(HIDDEN.0), guess(HIDDEN.1), "{:?}", server.kind);
        assert_ne!(guess(HIDDEN.0), ResultCode::COMPARE_TRUE, "{:?}", server.kind);
        let allowed = redial.connect().compare(&person, "sn", surname(server, &person).as_bytes());
        assert_eq!(allowed.code, ResultCode::COMPARE_TRUE, "{:?}: {}", server.kind, allowed.diagnostic);
        let disabled = &server.direct().search(&subtree("OU=Staff,DC=corp,DC=example", "(employeeNumber=100017)", &["cn"])).entries[0].dn;
        let outcome = redial.connect().compare(disabled, "sn", surname(server, disabled).as_bytes());
        assert!(!matches!(outcome.code, ResultCode::COMPARE_TRUE | ResultCode::COMPARE_FALSE), "{:?}: {outcome:?}", server.kind);
        let mut alice = redial.connect().bound(ALICE, PASSWORD);
        assert_eq!(alice.compare(&person, "employeeNumber", HIDDEN.0.as_bytes()).code, ResultCode::COMPARE_TRUE);
    });
}

#[test]
fn a_search_above_the_access_is_narrowed_to_it_and_one_beside_it_is_refused() {
    both(|server, redial| {
        let filter = "(|(cn=svc-redial)(sn=Übel))";
        let above = redial.connect().search(&subtree("DC=corp,DC=example", filter, &["cn"]));
        assert_eq!(above.entries.len(), 1, "{:?}: only below Staff", server.kind);
        let beside = redial.connect().search(&subtree("OU=Service Accounts,DC=corp,DC=example", filter, &["cn"]));
        assert_eq!((beside.entries.len(), beside.outcome.code), (0, ResultCode::INSUFFICIENT_ACCESS_RIGHTS), "{:?}", server.kind);
    });
}

fn both(test: impl Fn(&Server, &Redial)) {
    for server in [bed::samba(), bed::slapd()] {
        test(server, &Setup::before(server).with(TWO_ACCESSES).start());
    }
}

/// The DN of person 7.
fn seven(server: &Server) -> String {
    let filter = format!("(employeeNumber={})", HIDDEN.0);
    let found = server.direct().search(&subtree("DC=corp,DC=example", &filter, &["cn"]));
    found.entries[0].dn.clone()
}

fn surname(server: &Server, dn: &str) -> String {
    let mut direct: LdapClient = server.direct();
    direct.search(&subtree(dn, "(objectClass=*)", &["sn"])).entries[0].values("sn")[0].clone()
}
