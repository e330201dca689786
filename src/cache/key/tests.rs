//! What the key unifies and what it does not.

use super::*;
use crate::ldap::MessageId;
use crate::ldap::ber::write_element;
use crate::ldap::control::write_control;
use crate::ldap::dn::Dn;
use crate::ldap::envelope::{Envelope, write_envelope};
use crate::ldap::filter::{Filter, MAX_DEPTH};
use crate::ldap::message::{Request, SearchRequest};
use proptest::prelude::*;
use std::collections::HashSet;

const PHONES: Owner<'_> = Owner { access: 0, principal: None };
// Choices of a Filter.
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;

fn request() -> SearchRequest {
    SearchRequest {
        base_object: "OU=Staff,DC=corp,DC=example".to_owned(),
        scope: Scope::WholeSubtree,
        deref_aliases: 0,
        size_limit: 50,
        time_limit: 0,
        types_only: false,
        filter: filter("(&(objectClass=person)(|(cn=smi*)(sn=*smi*th)(!(carLicense=A1))))"),
        attributes: ["cn", "sn", "telephoneNumber"].map(str::to_owned).to_vec(),
    }
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

fn with_filter(text: &str) -> SearchRequest {
    SearchRequest { filter: filter(text), ..request() }
}

fn keyed(owner: Owner<'_>, directory: Option<usize>, op: &[u8], controls: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    write_envelope(&mut frame, MessageId::new(1).unwrap(), op, controls);
    let envelope = Envelope::parse(&frame).unwrap();
    let Request::Search(search) = Request::parse(&envelope).unwrap() else { panic!("it is a search") };
    let mut out = Vec::new();
    (write_key(&mut out, owner, directory, &search, envelope.controls) == Keyed::Cacheable).then_some(out)
}

fn key(request: &SearchRequest) -> Vec<u8> {
    keyed(PHONES, Some(0), &request.encode(), None).unwrap()
}

fn control(oid: &str, critical: bool, value: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    write_control(&mut out, oid, critical, value);
    out
}

#[test]
fn every_field_that_can_change_the_answer_changes_the_key() {
    let mut keys = vec![key(&request())];
    let changed = [
        SearchRequest { base_object: "OU=Staffs,DC=corp,DC=example".to_owned(), ..request() },
        SearchRequest { base_object: String::new(), ..request() },
        SearchRequest { scope: Scope::SingleLevel, ..request() },
        SearchRequest { scope: Scope::BaseObject, ..request() },
        SearchRequest { deref_aliases: 3, ..request() },
        SearchRequest { size_limit: 0, ..request() },
        SearchRequest { size_limit: 51, ..request() },
        SearchRequest { types_only: true, ..request() },
        SearchRequest { attributes: Vec::new(), ..request() },
        SearchRequest { attributes: vec!["cn".to_owned(), "sn".to_owned()], ..request() },
        SearchRequest { attributes: vec!["*".to_owned()], ..request() },
        SearchRequest { attributes: vec!["1.1".to_owned()], ..request() },
        with_filter("(cn=smith)"),
        with_filter("(sn=smith)"),
        with_filter("(cn;lang-de=smith)"),
        with_filter("(cn;Lang-de=smith)"),
        with_filter("(cn;lang-de=*)"),
        with_filter("(cn;Lang-de=*)"),
        SearchRequest { attributes: vec!["member;range=0-9".to_owned()], ..request() },
        SearchRequest { attributes: vec!["member;Range=0-9".to_owned()], ..request() },
        SearchRequest { attributes: vec!["member;range=0-9".to_owned(), "member;range=0-9".to_owned()], ..request() },
        with_filter("(cn=smit)"),
        with_filter("(cn=smith*)"),
        with_filter("(cn=*smith)"),
        with_filter("(cn=*smith*)"),
        with_filter("(cn=smi*th)"),
        with_filter("(cn=*smi*th*)"),
        with_filter("(cn>=smith)"),
        with_filter("(cn<=smith)"),
        with_filter("(cn~=smith)"),
        with_filter("(cn=*)"),
        with_filter("(cn:=smith)"),
        with_filter("(cn:dn:=smith)"),
        with_filter("(cn:caseExactMatch:=smith)"),
        with_filter("(:caseExactMatch:=smith)"),
        with_filter("(cn:caseExactMatch:=Smith)"),
        with_filter("(!(cn=smith))"),
        with_filter("(&(cn=smith))"),
        with_filter("(|(cn=smith))"),
        with_filter("(&)"),
        with_filter("(|)"),
        with_filter("(&(cn=a)(|(cn=b)(cn=c)))"),
        with_filter("(&(cn=a)(|(cn=b))(cn=c))"),
        with_filter("(&(|(cn=b)(cn=c))(cn=a))"),
    ];
    keys.extend(changed.iter().map(key));
    let op = request().encode();
    let others = [
        keyed(Owner { access: 1, ..PHONES }, Some(0), &op, None),
        keyed(Owner { principal: Some(""), ..PHONES }, Some(0), &op, None),
        keyed(Owner { principal: Some("CN=a"), ..PHONES }, Some(0), &op, None),
        keyed(Owner { principal: Some("cn=a"), ..PHONES }, Some(0), &op, None),
        keyed(PHONES, Some(1), &op, None),
        keyed(PHONES, None, &op, None),
        keyed(PHONES, Some(0), &op, Some(&control(oid::MANAGE_DSA_IT, true, None))),
        keyed(PHONES, Some(0), &op, Some(&control(oid::MANAGE_DSA_IT, true, Some(b"x")))),
    ];
    keys.extend(others.into_iter().map(Option::unwrap));
    let count = keys.len();
    assert_eq!(keys.into_iter().collect::<HashSet<_>>().len(), count);
}

#[test]
fn what_changes_no_answer_changes_no_key() {
    let same = [
        SearchRequest { time_limit: 7, ..request() },
        SearchRequest { base_object: "ou = staff , dc=CORP,  dc=Example ".to_owned(), ..request() },
        SearchRequest { attributes: ["SN", "telephonenumber", "cn"].map(str::to_owned).to_vec(), ..request() },
        SearchRequest { attributes: ["cn", "sn", "CN", "telephoneNumber", "sn"].map(str::to_owned).to_vec(), ..request() },
        with_filter("(&(objectclass=Person)(|(CN=SMI*)(Sn=*sMi*tH)(!(carlicense=A1))))"),
    ];
    for request_ in same {
        assert_eq!(key(&request_), key(&request()), "{request_:?}");
    }
    let paged = control(oid::PAGED_RESULTS, true, Some(&[0x30, 0x05, 0x02, 0x01, 0x0a, 0x04, 0x00]));
    assert_eq!(keyed(PHONES, Some(0), &request().encode(), Some(&paged)).unwrap(), key(&request()));
}

#[test]
fn values_are_folded_only_where_case_is_known_not_to_matter() {
    for (one, other) in [
        ("(carLicense=a)", "(carLicense=A)"),
        ("(cn;lang-de=a)", "(cn;lang-de=A)"),
        ("(2.5.4.3=a)", "(2.5.4.3=A)"),
        ("(ipPhone=a*)", "(ipPhone=A*)"),
        ("(cn:=a)", "(cn:=A)"),
        ("(cn=\u{e4})", "(cn=\u{c4})"),
        ("(cn=a b)", "(cn=a  b)"),
        ("(telephoneNumber=4930 1)", "(telephoneNumber=49301)"),
    ] {
        assert_ne!(key(&with_filter(one)), key(&with_filter(other)), "{one} and {other}");
    }
}

#[test]
fn an_octet_in_hex_is_not_text_to_be_folded() {
    let at = |base: &str| key(&SearchRequest { base_object: base.to_owned(), ..request() });
    assert_ne!(at("cn=b\\bb,dc=a"), at("cn=B\\bb,dc=a"), "the value is no UTF-8, so case may matter");
    assert_eq!(at("cn=Smith\\, John,dc=a"), at("CN=smith\\, john, DC=A"));
}

#[test]
fn a_control_that_is_not_understood_is_not_cached() {
    for oid in [oid::SORT_REQUEST, oid::VIRTUAL_LIST_VIEW, oid::ASSERTION, oid::PROXIED_AUTHORIZATION, "1.2.3"] {
        assert_eq!(keyed(PHONES, Some(0), &request().encode(), Some(&control(oid, false, None))), None, "{oid}");
    }
}

#[test]
fn the_many_forms_of_a_boolean_and_a_length_are_one() {
    let on = SearchRequest { types_only: true, ..with_filter("(cn=a)") };
    let mut loose = on.encode();
    let at = loose.windows(3).position(|octets| octets == [0x01, 0x01, 0xff]).unwrap();
    loose[at + 2] = 0x01;
    assert_eq!(keyed(PHONES, Some(0), &loose, None).unwrap(), key(&on));
    // The operation's own length in the four-octet form.
    let strict = on.encode();
    let long = [&[strict[0], 0x84, 0, 0, 0, strict[1]], &strict[2..]].concat();
    assert_eq!(keyed(PHONES, Some(0), &long, None).unwrap(), key(&on));
}

#[test]
fn a_length_is_no_letter() {
    // Two well-formed filters that differ in two lengths, which as letters would be G and g, A and a.
    let long_value = [b"\xa3\x67\x04\x02cn\x04\x61".as_slice(), &[b'v'; 65], b"\x87\x1e", &[b'y'; 30]].concat();
    let short_value = [b"\xa3\x47\x04\x02cn\x04\x41".as_slice(), &[b'v'; 65], b"\x87\x1e", &[b'y'; 30]].concat();
    assert_eq!(long_value.to_ascii_lowercase(), short_value.to_ascii_lowercase());
    let op = request().encode();
    let mut frame = Vec::new();
    write_envelope(&mut frame, MessageId::new(1).unwrap(), &op, None);
    let envelope = Envelope::parse(&frame).unwrap();
    let Request::Search(search) = Request::parse(&envelope).unwrap() else { panic!("it is a search") };
    let keys = [long_value, short_value].map(|branches| {
        let mut filter = Vec::new();
        write_element(&mut filter, OR, &branches);
        Filter::check(&filter).unwrap();
        let mut key = Vec::new();
        assert_eq!(write_key(&mut key, PHONES, Some(0), &Search { filter: &filter, ..search }, None), Keyed::Cacheable);
        key
    });
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn more_attributes_than_are_sorted_still_have_a_key() {
    let attributes: Vec<String> = (0..100).map(|number| format!("attribute{number}")).collect();
    let reversed = attributes.iter().rev().cloned().collect();
    let one = SearchRequest { attributes, ..request() };
    assert_eq!(key(&one), key(&one.clone()));
    assert_ne!(key(&one), key(&SearchRequest { attributes: reversed, ..request() }), "under-unified, which is safe");
}

#[test]
fn hostile_octets_in_a_filter_are_not_cached() {
    let op = request().encode();
    let mut frame = Vec::new();
    write_envelope(&mut frame, MessageId::new(1).unwrap(), &op, None);
    let envelope = Envelope::parse(&frame).unwrap();
    let Request::Search(search) = Request::parse(&envelope).unwrap() else { panic!("it is a search") };
    let mut deep = vec![0x87, 0x02, b'c', b'n'];
    for _ in 0..=MAX_DEPTH {
        let inner = std::mem::take(&mut deep);
        write_element(&mut deep, NOT, &inner);
    }
    for filter in [&[][..], &[0xa3, 0x05, 0x04], &[0x99, 0x00], &[0xa3, 0x00], &deep] {
        let broken = Search { filter, ..search };
        assert_eq!(write_key(&mut Vec::new(), PHONES, None, &broken, None), Keyed::NotCacheable);
    }
    assert_eq!(write_key(&mut Vec::new(), PHONES, None, &search, Some(&[0x30, 0x05, 0x04])), Keyed::NotCacheable);
}

fn attribute() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["cn", "CN", "sn", "Sn", "carLicense", "carlicense", "cn;x", "CN;X"]).prop_map(str::to_owned)
}

fn filters() -> impl Strategy<Value = Filter> {
    let leaf = (attribute(), prop::sample::select(vec!["=a", "=A", "=ab", "=a*", "=*A", "=*a*b", "=*", ">=a", "<=A", "~=a", ":=a", ":=A"]))
        .prop_map(|(attribute, rest)| filter(&format!("({attribute}{rest})")));
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

/// A name without an option compares without case.
fn spelling_that_counts(attribute: &str) -> String {
    if attribute.contains(';') { attribute.to_owned() } else { attribute.to_lowercase() }
}

/// What a filter means for the key, told by its text: an independent and slow way.
fn meaning(filter: &Filter) -> String {
    match filter {
        Filter::And(branches) => format!("(&{})", branches.iter().map(meaning).collect::<String>()),
        Filter::Or(branches) => format!("(|{})", branches.iter().map(meaning).collect::<String>()),
        Filter::Not(inner) => format!("(!{})", meaning(inner)),
        leaf => {
            let text = leaf.to_string();
            let end = text.find(['=', '>', '<', '~', ':']).unwrap();
            let (attribute, rest) = text.split_at(end);
            let attribute = spelling_that_counts(attribute);
            let folds = ["(cn", "(sn"].contains(&attribute.as_str()) && !rest.starts_with(':');
            attribute + &if folds { rest.to_lowercase() } else { rest.to_owned() }
        }
    }
}

/// The text with a blank put in or taken out, or with a letter in the other case.
fn edited(text: &str, at: usize, edit: u8) -> String {
    let mut octets = text.as_bytes().to_vec();
    match (edit, octets[at]) {
        (0, _) => octets.insert(at, b' '),
        (1, b' ') => drop(octets.remove(at)),
        (_, octet) if octet.is_ascii_lowercase() => octets[at] = octet.to_ascii_uppercase(),
        (_, octet) => octets[at] = octet.to_ascii_lowercase(),
    }
    String::from_utf8(octets).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn two_filters_have_one_key_exactly_if_they_mean_the_same(one in filters(), other in filters()) {
        let (one, other) = (SearchRequest { filter: one, ..request() }, SearchRequest { filter: other, ..request() });
        prop_assert_eq!(key(&one) == key(&other), meaning(&one.filter) == meaning(&other.filter));
    }

    #[test]
    fn a_filter_that_is_read_back_from_a_key_means_the_same(asked in filters()) {
        let read = Question::read(&key(&SearchRequest { filter: asked.clone(), ..request() })).unwrap();
        prop_assert_eq!(meaning(&read.filter), meaning(&asked));
    }

    #[test]
    fn two_bases_have_one_key_only_if_they_name_the_same(
        one in "([aA](=| = )[bB \\\\,+#\"=]{0,5},){0,1}[aA](=| = )[bB \\\\,+#\"=]{0,5}",
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3), 1..4),
    ) {
        let other = edits.iter().fold(one.clone(), |text, (index, edit)| edited(&text, index.index(text.len()), *edit));
        let at = |base: &str| key(&SearchRequest { base_object: base.to_owned(), ..request() });
        if let (Ok(name), Ok(other_name)) = (Dn::parse(&one), Dn::parse(&other)) && at(&one) == at(&other) {
            prop_assert_eq!(name, other_name);
        }
    }

    #[test]
    fn two_selections_have_one_key_exactly_if_they_are_one_set_or_with_options_one_list(one in prop::collection::vec(attribute(), 0..6), other in prop::collection::vec(attribute(), 0..6)) {
        let at = |attributes: &[String]| key(&SearchRequest { attributes: attributes.to_vec(), ..request() });
        let list = |attributes: &[String]| attributes.iter().map(|name| spelling_that_counts(name)).collect::<Vec<_>>();
        let set = |attributes: &[String]| list(attributes).into_iter().collect::<HashSet<_>>();
        let has_options = one.iter().chain(&other).any(|name| name.contains(';'));
        prop_assert_eq!(at(&one) == at(&other), if has_options { list(&one) == list(&other) } else { set(&one) == set(&other) });
    }
}

#[test]
fn a_key_goes_over_to_other_numbers_and_back_but_not_a_principals_own() {
    for (access, directory) in [(0, Some(0)), (63, Some(64)), (4_000, None), (usize::MAX - 1, Some(70_000))] {
        let own = |principal| keyed(Owner { access, principal }, directory, &request().encode(), None).unwrap();
        let there = renumbered(&own(None), |_| Some(7), |_| Some(500)).unwrap();
        assert_eq!(
            Some(&*there),
            keyed(Owner { access: 7, principal: None }, directory.map(|_| 500), &request().encode(), None).as_deref()
        );
        let back = renumbered(&there, |seven| (seven == 7).then_some(access), |_| directory).unwrap();
        assert_eq!(*back, *own(None));
        assert_eq!(renumbered(&own(Some("ada")), Some, Some), None);
        assert_eq!(renumbered(&there, |_| None, Some), None);
    }
}

proptest! {
    #[test]
    fn octets_that_are_no_key_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..40)) {
        // Whatever it says, it does not panic, and what it says is read back alike.
        if let Some(key) = renumbered(&octets, Some, Some) {
            prop_assert_eq!(renumbered(&key, Some, Some), Some(key));
        }
        let _ = Question::read(&octets);
    }
}
