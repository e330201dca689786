//! What the phonebook answers, seen from outside.

use super::*;
use crate::ldap::ber::{Reader, tag};
use crate::ldap::envelope::op;
use crate::ldap::filter::Filter;
use crate::ldap::message::Scope;

/// A small phonebook. Ids go by display order: the two without `cn` first.
const STAFF: &str = "dn: dc=example,dc=com
objectClass: top
objectClass: domain
dc: example

dn: ou=Staff,dc=example,dc=com
objectClass: organizationalUnit
ou: Staff

dn: cn=Müller\\, Jürgen,ou=Staff,dc=example,dc=com
objectClass: person
objectClass: inetOrgPerson
cn: Müller, Jürgen
cn: Jürgen Müller
surname: Müller
gn: Jürgen
telephoneNumber: +49 30 1234-56
telephoneNumber: +49 170 555 0100
employeeNumber: 12
createTimestamp: 20240101000000Z
userPassword: {SSHA}secret

dn: cn=Anna Schmidt,ou=Staff,dc=example,dc=com
objectClass: person
cn: Anna Schmidt
cn;lang-ru: Анна Шмидт
sn: Schmidt
mobile: 0171 2
userAccountControl: 514
employeeNumber: 9
manager: CN=Müller\\, Jürgen, OU=Staff, DC=example,DC=com
jpegPhoto:: /9j/

dn: cn=Bot,cn=Anna Schmidt,ou=Staff,dc=example,dc=com
objectClass: device
cn: Bot
";

fn name(text: &str) -> Dn {
    Dn::parse(text).unwrap()
}

fn staff() -> Book {
    Book::from_ldif(STAFF, &name("dc=example,dc=com")).unwrap()
}

pub(super) fn request(base: &str, scope: Scope, filter: &str, attributes: &[&str]) -> SearchRequest {
    SearchRequest::new(base, scope, Filter::parse(filter).unwrap(), attributes)
}

pub(super) type Attributes = Vec<(String, Vec<String>)>;

/// Takes a SearchResultEntry apart.
pub(super) fn decode(entry: &[u8]) -> (String, Attributes) {
    let mut whole = Reader::new(entry);
    let mut parts = Reader::new(whole.expect(op::SEARCH_RESULT_ENTRY).unwrap().content);
    whole.finish().unwrap();
    let dn = parts.text(tag::OCTET_STRING).unwrap().to_owned();
    let mut list = Reader::new(parts.expect(tag::SEQUENCE).unwrap().content);
    parts.finish().unwrap();
    let mut attributes = Vec::new();
    while !list.is_empty() {
        let mut attribute = Reader::new(list.expect(tag::SEQUENCE).unwrap().content);
        let kind = attribute.text(tag::OCTET_STRING).unwrap().to_owned();
        let mut set = Reader::new(attribute.expect(tag::SET).unwrap().content);
        attribute.finish().unwrap();
        let mut values = Vec::new();
        while !set.is_empty() {
            values.push(String::from_utf8_lossy(set.expect(tag::OCTET_STRING).unwrap().content).into_owned());
        }
        attributes.push((kind, values));
    }
    (dn, attributes)
}

/// The names found below the base, by their first RDN's value.
fn found(filter: &str) -> Vec<String> {
    let answer = staff().search(&request("dc=example,dc=com", Scope::WholeSubtree, filter, &["1.1"]), None);
    assert_eq!(answer.result().code, ResultCode::SUCCESS, "{filter}");
    answer.map(|entry| Dn::rdn_of(&decode(&entry).0).unwrap()[0].1.clone()).collect()
}

const EVERYBODY: [&str; 5] = ["example", "Staff", "Anna Schmidt", "Bot", "Müller, Jürgen"];

fn read(attributes: &[&str], types_only: bool) -> Attributes {
    let mut asked = request("cn=Müller\\, Jürgen,ou=Staff,dc=example,dc=com", Scope::BaseObject, "(objectClass=*)", attributes);
    asked.types_only = types_only;
    let entries: Vec<_> = staff().search(&asked, None).collect();
    assert_eq!(entries.len(), 1);
    decode(&entries[0]).1
}

fn kinds(attributes: &Attributes) -> Vec<&str> {
    attributes.iter().map(|(kind, _)| kind.as_str()).collect()
}

#[test]
fn everybody_has_a_class_and_comes_in_display_order() {
    assert_eq!(found("(objectClass=*)"), EVERYBODY);
    assert_eq!(found("(&)"), EVERYBODY);
    assert!(found("(|)").is_empty());
}

#[test]
fn equality_ignores_case_blanks_and_nothing_else() {
    assert_eq!(found("(cn=ANNA   schmidt)"), ["Anna Schmidt"]);
    assert_eq!(found("(cn=jÜRGEN MÜLLER)"), ["Müller, Jürgen"]);
    assert!(found("(cn=Jurgen Muller)").is_empty());
    assert_eq!(found("(objectclass=PERSON)"), ["Anna Schmidt", "Müller, Jürgen"]);
    assert_eq!(found("(sn~=schmidt)"), ["Anna Schmidt"]);
}

#[test]
fn substrings_match_at_the_front_inside_and_at_the_end() {
    assert_eq!(found("(cn=an*)"), ["Anna Schmidt"]);
    assert_eq!(found("(cn=*nn*)"), ["Anna Schmidt"]);
    assert_eq!(found("(cn=*r)"), ["Müller, Jürgen"]);
    assert_eq!(found("(cn=a*a*t)"), ["Anna Schmidt"]);
    assert!(found("(cn=a*a*a*t)").is_empty());
    assert_eq!(found("(|(cn=*mül*)(sn=*mül*))"), ["Müller, Jürgen"]);
    // "na bot" would cross from one value into the next.
    assert!(found("(cn=*t bot*)").is_empty());
}

#[test]
fn other_names_and_options_answer_to_the_attribute() {
    assert_eq!(found("(sn=müller)"), ["Müller, Jürgen"]);
    assert_eq!(found("(surname=müller)"), ["Müller, Jürgen"]);
    assert_eq!(found("(gn=jürgen)"), ["Müller, Jürgen"]);
    assert_eq!(found("(2.5.4.3=bot)"), ["Bot"]);
    assert_eq!(found("(cn=анна*)"), ["Anna Schmidt"]);
    assert_eq!(found("(cn;lang-ru=*)"), ["Anna Schmidt"]);
    assert!(found("(cn;lang-ru=anna*)").is_empty());
}

#[test]
fn an_unknown_attribute_is_undefined_and_a_known_one_false_for_who_lacks_it() {
    assert!(found("(other=1)").is_empty());
    assert!(found("(!(other=1))").is_empty());
    assert!(found("(!(other=*))").is_empty());
    assert_eq!(found("(|(other=1)(cn=bot))"), ["Bot"]);
    assert!(found("(&(!(other=1))(cn=bot))").is_empty());
    assert_eq!(found("(!(&(other=1)(cn=bot)))"), ["example", "Staff", "Anna Schmidt", "Müller, Jürgen"]);
    assert_eq!(found("(!(mobile=0171 2))"), ["example", "Staff", "Bot", "Müller, Jürgen"]);
    assert_eq!(found("(!(cn;lang-fr=x))"), EVERYBODY);
}

#[test]
fn telephone_numbers_compare_without_blanks_and_hyphens() {
    for filter in ["(telephoneNumber=+493012 3456)", "(telephoneNumber=+49 30*)", "(telephoneNumber=*123-456*)", "(telephoneNumber=*456)"] {
        assert_eq!(found(filter), ["Müller, Jürgen"], "{filter}");
    }
    assert!(found("(telephoneNumber=* *)").is_empty());
    assert_eq!(found("(!(telephoneNumber=- *))"), EVERYBODY);
}

#[test]
fn integers_have_their_order_and_text_has_another() {
    assert_eq!(found("(employeeNumber>=10)"), ["Müller, Jürgen"]);
    assert_eq!(found("(employeeNumber<=9)"), ["Anna Schmidt"]);
    assert!(found("(!(employeeNumber>=ten))").is_empty());
    assert_eq!(found("(&(sn>=m)(sn<=n))"), ["Müller, Jürgen"]);
    assert_eq!(found("(sn>=MÜLLER)"), ["Anna Schmidt", "Müller, Jürgen"]);
    assert_eq!(found("(sn<=müller)"), ["Müller, Jürgen"]);
}

#[test]
fn the_bit_rules_of_active_directory_work_on_integers() {
    assert_eq!(found("(userAccountControl:1.2.840.113556.1.4.803:=2)"), ["Anna Schmidt"]);
    assert!(found("(userAccountControl:1.2.840.113556.1.4.803:=3)").is_empty());
    assert_eq!(found("(userAccountControl:1.2.840.113556.1.4.804:=3)"), ["Anna Schmidt"]);
    assert!(found("(!(userAccountControl:1.2.840.113556.1.4.803:=x))").is_empty());
    assert!(found("(!(cn:1.2.840.113556.1.4.803:=2))").is_empty());
    let enabled = "(!(userAccountControl:1.2.840.113556.1.4.803:=2))";
    assert_eq!(found(enabled), ["example", "Staff", "Bot", "Müller, Jürgen"]);
}

#[test]
fn extensible_matches_know_rules_names_and_the_dn() {
    assert_eq!(found("(cn:=bot)"), ["Bot"]);
    assert_eq!(found("(cn:caseIgnoreMatch:=BOT)"), ["Bot"]);
    assert!(found("(cn:caseExactMatch:=BOT)").is_empty());
    assert_eq!(found("(cn:2.5.13.5:=Anna  Schmidt)"), ["Anna Schmidt"]);
    assert_eq!(found("(:caseExactMatch:=Schmidt)"), ["Anna Schmidt"]);
    assert!(found("(!(cn:1.2.3.4:=x))").is_empty());
    assert!(found("(!(telephoneNumber:caseIgnoreMatch:=x))").is_empty());
    assert_eq!(found("(ou=staff)"), ["Staff"]);
    assert_eq!(found("(ou:dn:=STAFF)"), ["Staff", "Anna Schmidt", "Bot", "Müller, Jürgen"]);
    assert_eq!(found("(cn:dn:=anna schmidt)"), ["Anna Schmidt", "Bot"]);
    assert_eq!(found("(dc:dn:=com)"), EVERYBODY);
    assert!(found("(ou:dn:caseExactMatch:=STAFF)").is_empty());
}

#[test]
fn names_as_values_compare_as_names() {
    assert_eq!(found("(manager=cn=müller\\5c2c jürgen,ou=staff,dc=EXAMPLE,dc=com)"), ["Anna Schmidt"]);
    assert!(found("(!(manager=cn=m*))").is_empty());
}

#[test]
fn a_photograph_is_there_or_not_and_nothing_else() {
    assert_eq!(found("(jpegPhoto=*)"), ["Anna Schmidt"]);
    assert!(found("(!(jpegPhoto=x))").is_empty());
}

#[test]
fn secrets_are_neither_returned_nor_matched() {
    assert!(found("(userPassword=*)").is_empty());
    assert!(found("(!(userPassword=*))").is_empty());
    assert!(read(&["userPassword", "USERPASSWORD;x-a"], false).is_empty());
    assert!(!String::from_utf8_lossy(&staff().store.octets).contains("SSHA"));
    let compared = staff().compare("cn=Müller\\, Jürgen,ou=Staff,dc=example,dc=com", "userPassword", b"{SSHA}secret");
    assert_eq!(compared.code, ResultCode::UNDEFINED_ATTRIBUTE_TYPE);
}

#[test]
fn all_user_attributes_come_in_their_order_with_their_values_in_theirs() {
    let attributes = read(&[], false);
    assert_eq!(kinds(&attributes), ["objectClass", "cn", "sn", "givenName", "telephoneNumber", "employeeNumber"]);
    assert_eq!(attributes[4].1, ["+49 30 1234-56", "+49 170 555 0100"]);
    assert_eq!(attributes, read(&["*"], false));
    assert_eq!(attributes, read(&["*", "cn", "nonsense"], false));
}

#[test]
fn attributes_are_selected_by_any_of_their_names() {
    assert_eq!(kinds(&read(&["TELEPHONENUMBER", "gn", "other"], false)), ["givenName", "telephoneNumber"]);
    assert!(read(&["1.1"], false).is_empty());
    assert_eq!(kinds(&read(&["1.1", "sn"], false)), ["sn"]);
    assert_eq!(kinds(&read(&["+"], false)), ["createTimestamp"]);
    assert_eq!(kinds(&read(&["createtimestamp"], false)), ["createTimestamp"]);
    assert_eq!(read(&["*", "+"], false).len(), 7);
}

#[test]
fn an_attribute_with_options_comes_with_the_one_without() {
    let asked = |names: &[&str]| {
        let asked = request("cn=anna schmidt,ou=staff,dc=example,dc=com", Scope::BaseObject, "(objectClass=*)", names);
        decode(&staff().search(&asked, None).next().unwrap()).1
    };
    assert_eq!(kinds(&asked(&["cn"])), ["cn", "cn;lang-ru"]);
    assert_eq!(kinds(&asked(&["CN;LANG-RU"])), ["cn;lang-ru"]);
    assert!(asked(&["cn;lang-fr"]).is_empty());
}

#[test]
fn types_only_gives_names_without_values() {
    let attributes = read(&["cn", "telephoneNumber"], true);
    assert_eq!(attributes, [("cn".to_owned(), Vec::new()), ("telephoneNumber".to_owned(), Vec::new())]);
}

#[test]
fn every_returned_name_can_be_read_again() {
    let book = staff();
    let all: Vec<_> = book.search(&request("dc=example,dc=com", Scope::WholeSubtree, "(objectClass=*)", &["1.1"]), None).collect();
    for entry in all {
        let (dn, _) = decode(&entry);
        let again: Vec<_> = book.search(&request(&dn, Scope::BaseObject, "(objectClass=*)", &["1.1"]), None).collect();
        assert_eq!(again, [entry], "{dn}");
    }
}

#[test]
fn scopes_are_kept() {
    let book = staff();
    let count = |base: &str, scope: Scope| book.search(&request(base, scope, "(objectClass=*)", &[]), None).count();
    assert_eq!(count("dc=example,dc=com", Scope::BaseObject), 1);
    assert_eq!(count("dc=example,dc=com", Scope::SingleLevel), 1);
    assert_eq!(count("DC=Example, DC=com", Scope::WholeSubtree), 5);
    assert_eq!(count("ou=staff,dc=example,dc=com", Scope::SingleLevel), 2);
    assert_eq!(count("ou=staff,dc=example,dc=com", Scope::WholeSubtree), 4);
    assert_eq!(count("cn=anna schmidt,ou=staff,dc=example,dc=com", Scope::WholeSubtree), 2);
    assert_eq!(count("cn=bot,cn=anna schmidt,ou=staff,dc=example,dc=com", Scope::SingleLevel), 0);
}

#[test]
fn a_missing_base_names_the_closest_entry_above_it() {
    let answer = |base: &str| staff().search(&request(base, Scope::WholeSubtree, "(objectClass=*)", &[]), None);
    let missing = answer("cn=x,cn=nobody,OU=STAFF,dc=example,dc=com");
    assert_eq!(missing.result().code, ResultCode::NO_SUCH_OBJECT);
    assert_eq!(missing.result().matched_dn, "ou=Staff,dc=example,dc=com");
    assert_eq!(missing.count(), 0);
    for elsewhere in ["dc=com", "", "dc=other"] {
        assert_eq!(answer(elsewhere).result().code, ResultCode::NO_SUCH_OBJECT);
        assert_eq!(answer(elsewhere).result().matched_dn, "");
    }
    assert_eq!(answer("nonsense").result().code, ResultCode::INVALID_DN_SYNTAX);
}

#[test]
fn the_size_limit_holds_and_says_so() {
    let book = staff();
    let mut asked = request("dc=example,dc=com", Scope::WholeSubtree, "(objectClass=*)", &["1.1"]);
    let mut limited = |base: &str, size_limit: u32, wanted: Option<u32>| {
        base.clone_into(&mut asked.base_object);
        asked.size_limit = size_limit;
        let answer = book.search(&asked, wanted);
        (answer.result().code, answer.count())
    };
    assert_eq!(limited("dc=example,dc=com", 2, None), (ResultCode::SIZE_LIMIT_EXCEEDED, 2));
    assert_eq!(limited("dc=example,dc=com", 0, Some(4)), (ResultCode::SIZE_LIMIT_EXCEEDED, 4));
    assert_eq!(limited("dc=example,dc=com", 3, Some(1)), (ResultCode::SIZE_LIMIT_EXCEEDED, 1));
    assert_eq!(limited("dc=example,dc=com", 5, Some(9)), (ResultCode::SUCCESS, 5));
    assert_eq!(limited("ou=staff,dc=example,dc=com", 4, None), (ResultCode::SUCCESS, 4));
    assert_eq!(limited("ou=staff,dc=example,dc=com", 3, None), (ResultCode::SIZE_LIMIT_EXCEEDED, 3));
}

#[test]
fn of_a_large_book_the_first_who_match_are_found_whatever_matches_beside_them() {
    let people = FIRST + 500;
    let person =
        |number: u32| Entry::new(format!("cn=Person {number:05},dc=a")).with("sn", if number.is_multiple_of(2) { "Even" } else { "Odd" });
    let entries: Vec<_> = std::iter::once(Entry::new("dc=a").with("dc", "a")).chain((0..people).map(person)).collect();
    let book = Book::from_entries(&name("dc=a"), &entries).unwrap();
    let found = |filter: &str, wanted| {
        let mut answer = book.search(&request("dc=a", Scope::WholeSubtree, filter, &["1.1"]), Some(wanted));
        let last = answer.by_ref().map(|entry| decode(&entry).0).collect::<Vec<_>>();
        (last.len(), last.last().cloned().unwrap_or_default(), answer.result().code)
    };
    assert_eq!(found("(sn=*ve*)", 50), (50, "cn=Person 00098,dc=a".to_owned(), ResultCode::SIZE_LIMIT_EXCEEDED));
    assert_eq!(found("(cn=*person 045*)", 50), (50, "cn=Person 04549,dc=a".to_owned(), ResultCode::SIZE_LIMIT_EXCEEDED));
    assert_eq!(found("(cn=*n 0450*)", 50), (10, "cn=Person 04509,dc=a".to_owned(), ResultCode::SUCCESS));
    assert_eq!(found("(sn=*d*)", people / 2), ((people / 2) as usize, format!("cn=Person {:05},dc=a", people - 1), ResultCode::SUCCESS));
}

#[test]
fn compare_says_yes_no_or_why_neither() {
    let book = staff();
    let compare =
        |attribute: &str, value: &str| book.compare("cn=anna schmidt,ou=staff,dc=example,dc=com", attribute, value.as_bytes()).code;
    assert_eq!(compare("SN", "SCHMIDT"), ResultCode::COMPARE_TRUE);
    assert_eq!(compare("cn", "анна шмидт"), ResultCode::COMPARE_TRUE);
    assert_eq!(compare("sn", "schmid"), ResultCode::COMPARE_FALSE);
    assert_eq!(compare("telephoneNumber", "1"), ResultCode::NO_SUCH_ATTRIBUTE);
    assert_eq!(compare("other", "1"), ResultCode::UNDEFINED_ATTRIBUTE_TYPE);
    assert_eq!(compare("jpegPhoto", "1"), ResultCode::INAPPROPRIATE_MATCHING);
    assert_eq!(book.compare("cn=x,dc=example,dc=com", "cn", b"x").code, ResultCode::NO_SUCH_OBJECT);
    assert_eq!(book.compare("x", "cn", b"x").code, ResultCode::INVALID_DN_SYNTAX);
}

#[test]
fn a_filter_that_asks_for_too_much_work_is_refused() {
    let filter = format!("(|{})", "(cn=*e*x*)".repeat(1000));
    let asked = request("dc=example,dc=com", Scope::WholeSubtree, &filter, &[]);
    let book = staff();
    assert!(book.search_within(&asked, None, 10_000).is_none());
    assert_eq!(book.search(&asked, None).result().code, ResultCode::SUCCESS);
}

#[test]
fn the_deepest_and_widest_filters_are_answered() {
    let depth = crate::ldap::filter::MAX_DEPTH - 2;
    let deep = format!("{}(cn=bot){}", "(!".repeat(depth), ")".repeat(depth));
    assert_eq!(found(&deep), ["Bot"]);
    assert_eq!(found(&format!("(|{}(cn=bot))", "(sn=x)".repeat(1000))), ["Bot"]);
}

#[test]
fn the_values_of_the_rdn_are_the_entrys_even_if_not_written() {
    let book = Book::from_ldif("dn: dc=a\nobjectClass: domain\n\ndn: cn=Bob+uid=b,dc=a\nsn: Bob\ncn: BOB\n", &name("dc=a")).unwrap();
    let entries: Vec<_> = book.search(&request("dc=a", Scope::WholeSubtree, "(uid=b)", &[]), None).map(|entry| decode(&entry).1).collect();
    assert_eq!(entries, [vec![("sn".into(), vec!["Bob".into()]), ("cn".into(), vec!["BOB".into()]), ("uid".into(), vec!["b".into()])]]);
}

#[test]
fn a_value_given_twice_is_there_once() {
    let book = Book::from_ldif("dn: dc=a\nmobile: 1\nmobile: 2\nMOBILE: 1\n", &name("dc=a")).unwrap();
    let entry = book.search(&request("dc=a", Scope::BaseObject, "(dc=a)", &["mobile"]), None).next().unwrap();
    assert_eq!(decode(&entry).1, [("mobile".to_owned(), vec!["1".to_owned(), "2".to_owned()])]);
}

fn problems(text: &str) -> Vec<(usize, String)> {
    Book::from_ldif(text, &name("dc=a")).unwrap_err().into_iter().map(|error| (error.line, error.problem.to_string())).collect()
}

#[test]
fn holes_in_the_tree_are_refused_with_the_line() {
    assert_eq!(problems(""), [(1, "the entry of the base itself is missing: `dc=a`".to_owned())]);
    assert_eq!(problems("dn: dc=a\ndc: a\n\ndn: cn=x,ou=y,dc=a\ncn: x\n"), [(4, "the entry above it is missing: `ou=y,dc=a`".to_owned())]);
    assert_eq!(problems("dn: dc=a\ndc: a\n\ndn: dc=b\ndc: b\n"), [(4, "the entry is not under the base `dc=a`".to_owned())]);
    assert_eq!(problems("dn: dc=a\ndc: a\n\ndn: DC=A\ndc: a\n"), [(4, "a second entry of this name".to_owned())]);
    assert!(problems("dn: dc=a\ndc: a\n\ndn: x\ndc: a\n")[0].1.starts_with("not a distinguished name"));
}

#[test]
fn parents_may_come_after_their_children() {
    let book = Book::from_ldif("dn: cn=x,ou=y,dc=a\ncn: x\n\ndn: ou=y,dc=a\nou: y\n\ndn: dc=a\ndc: a\n", &name("dc=a")).unwrap();
    assert_eq!(book.entries(), 3);
}

#[test]
fn in_the_root_every_attribute_is_a_user_attribute() {
    let entry = Entry::new("").with("supportedLDAPVersion", "3").with("subschemaSubentry", "cn=schema").with("namingContexts", "dc=a");
    let book = Book::from_entries(&Dn::ROOT, &[entry]).unwrap();
    let answer: Vec<_> = book.search(&request("", Scope::BaseObject, "(objectClass=*)", &[]), None).collect();
    let (dn, attributes) = decode(&answer[0]);
    assert_eq!((dn.as_str(), kinds(&attributes)), ("", vec!["supportedLDAPVersion", "subschemaSubentry", "namingContexts"]));
    let one = book.search(&request("", Scope::BaseObject, "(objectClass=*)", &["namingcontexts"]), None).next().unwrap();
    assert_eq!(kinds(&decode(&one).1), ["namingContexts"]);
}

#[test]
fn a_class_is_known_even_where_no_entry_names_its_own() {
    let book = Book::from_entries(&name("dc=a"), &[Entry::new("dc=a").with("dc", "a")]).unwrap();
    for filter in ["(objectClass=*)", "(!(objectClass=x))", "(!(objectClass:=x))"] {
        assert_eq!(book.search(&request("dc=a", Scope::BaseObject, filter, &[]), None).count(), 1, "{filter}");
    }
    assert_eq!(book.compare("dc=a", "objectClass", b"x").code, ResultCode::NO_SUCH_ATTRIBUTE);
}

/// The phonebook of `redial demo`.
const DEMO: &str = include_str!("../../config/demo.ldif");

#[test]
fn the_demos_phonebook_loads_and_every_name_in_it_can_be_read() {
    let book = Book::from_ldif(DEMO, &name("dc=example,dc=com")).unwrap();
    let people: Vec<_> =
        book.search(&request("dc=example,dc=com", Scope::WholeSubtree, "(objectClass=inetOrgPerson)", &["1.1"]), None).collect();
    assert_eq!(people.len(), 600);
    for person in people {
        let (dn, _) = decode(&person);
        assert_eq!(book.search(&request(&dn, Scope::BaseObject, "(objectClass=*)", &["1.1"]), None).count(), 1, "{dn}");
    }
}

#[test]
fn the_demos_phonebook_answers_what_phones_ask() {
    let book = Book::from_ldif(DEMO, &name("dc=example,dc=com")).unwrap();
    let count = |filter: &str| book.search(&request("dc=example,dc=com", Scope::WholeSubtree, filter, &[]), None).count();
    for filter in [
        "(|(cn=mül*)(sn=mül*))",
        "(|(cn=*ström*)(sn=*ström*))",
        "(sn=кузн*)",
        "(cn=ivan *)",
        "(sn=παπα*)",
        "(sn=田*)",
        "(sn=żak)",
        "(givenName=işıl)",
        "(telephoneNumber=+49 30 23125*)",
        "(telephoneNumber=*555-01*)",
        "(&(ipPhone=1*)(department=vertrieb))",
        "(&(telephoneNumber=*)(sn=s*))",
        "(department=recht, risiko)",
    ] {
        assert!(count(filter) > 0, "{filter}");
    }
    let sales = book.search(&request("ou=vertrieb,ou=people,dc=example,dc=com", Scope::SingleLevel, "(cn=*)", &[]), None).count();
    assert!(sales > 50, "{sales}");
}
