//! A second evaluator, naive and slow, written from the RFCs alone: one entry, one value at a time, with three values. On random
//! books and filters it must agree with the book.

use super::tests::{decode, request};
use super::*;
use crate::ldap::filter::{Assertion, Extensible, Filter, Substrings};
use crate::ldap::message::Scope;
use crate::ldap::oid;
use proptest::prelude::*;
use std::cmp::Ordering;

/// True, false or Undefined.
type Truth = Option<bool>;

struct Naive<'a> {
    entries: &'a [Entry],
}

impl Naive<'_> {
    fn truth(&self, filter: &Filter, entry: &Entry) -> Truth {
        match filter {
            Filter::And(branches) => self.all(branches, entry, true),
            Filter::Or(branches) => self.all(branches, entry, false),
            Filter::Not(inner) => self.truth(inner, entry).map(|truth| !truth),
            Filter::Present(attribute) if attribute.eq_ignore_ascii_case("objectClass") => Some(true),
            Filter::Present(attribute) => self.any_value(attribute, entry, |_, _| Some(true)),
            Filter::Equality(asked) | Filter::Approx(asked) => {
                self.any_value(&asked.attribute, entry, |kind, value| Some(fold(kind, value) == fold(kind, &text(&asked.value))))
            }
            Filter::GreaterOrEqual(asked) => self.ordered(asked, entry, Ordering::is_ge),
            Filter::LessOrEqual(asked) => self.ordered(asked, entry, Ordering::is_le),
            Filter::Substrings(asked) => self.any_value(&asked.attribute, entry, |kind, value| Some(has_pieces(kind, value, asked))),
            Filter::Extensible(asked) => self.extensible(asked, entry),
        }
    }

    /// AND, or with `unit` false OR: `unit` if all are, the opposite if one is, else Undefined.
    fn all(&self, branches: &[Filter], entry: &Entry, unit: bool) -> Truth {
        let truths: Vec<_> = branches.iter().map(|branch| self.truth(branch, entry)).collect();
        if truths.contains(&Some(!unit)) {
            return Some(!unit);
        }
        if truths.contains(&None) { None } else { Some(unit) }
    }

    /// True if a value passes; Undefined if the type is unknown, or if no attribute that answers to the name has such a match.
    fn any_value(&self, attribute: &str, entry: &Entry, pass: impl Fn(&str, &str) -> Truth) -> Truth {
        let asked = attribute.to_lowercase();
        let kind = asked.split(';').next().unwrap();
        let all = || self.entries.iter().flat_map(|entry| &entry.attributes);
        if kind != "objectclass" && !all().any(|(name, _)| name.to_lowercase().split(';').next() == Some(kind)) {
            return None;
        }
        let covered = |name: &str| {
            let name = name.to_lowercase();
            let options: Vec<_> = name.split(';').collect();
            options[0] == kind && asked.split(';').skip(1).all(|option| options[1..].contains(&option))
        };
        let judged: Vec<_> = all().filter(|(name, _)| covered(name)).map(|(name, value)| pass(name, &text(value))).collect();
        if !judged.is_empty() && judged.iter().all(Option::is_none) {
            return None;
        }
        Some(entry.attributes.iter().any(|(name, value)| covered(name) && pass(name, &text(value)) == Some(true)))
    }

    fn ordered(&self, asked: &Assertion, entry: &Entry, pass: fn(Ordering) -> bool) -> Truth {
        let asserted = text(&asked.value);
        self.any_value(&asked.attribute, entry, |name, value| {
            if self.is_integers(name) {
                let bound: i64 = asserted.trim().parse().ok().filter(|_| !asserted.trim().starts_with('+'))?;
                return Some(pass(value.trim().parse::<i64>().unwrap().cmp(&bound)));
            }
            Some(pass(fold(name, value).as_bytes().cmp(fold(name, &asserted).as_bytes())))
        })
    }

    fn is_integers(&self, name: &str) -> bool {
        let same = |other: &str| other.eq_ignore_ascii_case(name);
        let number = |value: &str| value.trim().parse::<i64>().is_ok() && !value.trim().starts_with('+');
        !is_number(name)
            && self
                .entries
                .iter()
                .flat_map(|entry| &entry.attributes)
                .filter(|(other, _)| same(other))
                .all(|(_, value)| number(&text(value)))
    }

    fn extensible(&self, asked: &Extensible, entry: &Entry) -> Truth {
        let asserted = text(&asked.value);
        let attribute = asked.attribute.as_deref().unwrap();
        let bits: Option<i64> = asserted.trim().parse().ok().filter(|_| !asserted.trim().starts_with('+'));
        let exact = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
        let in_dn = |same: &dyn Fn(&str, &str) -> bool| {
            asked.dn_attributes
                && entry.dn.split(',').any(|rdn| {
                    let (name, value) = rdn.split_once('=').unwrap();
                    name.eq_ignore_ascii_case(attribute) && same(name, value)
                })
        };
        let (truth, by_name) = match asked.rule.as_deref() {
            None => {
                let same = |name: &str, value: &str| fold(name, value) == fold(name, &asserted);
                (self.any_value(attribute, entry, |name, value| Some(same(name, value))), in_dn(&same))
            }
            Some("caseExactMatch") => {
                let same = |name: &str, value: &str| !is_number(name) && exact(value) == exact(&asserted);
                (self.any_value(attribute, entry, |name, value| (!is_number(name)).then(|| same(name, value))), in_dn(&same))
            }
            Some(rule) => {
                let pass = |name: &str, value: &str| {
                    let bits = bits.filter(|_| self.is_integers(name))?;
                    let value: i64 = value.trim().parse().unwrap();
                    Some(if rule == oid::BIT_AND { value & bits == bits } else { value & bits != 0 })
                };
                (if bits.is_none() { None } else { self.any_value(attribute, entry, pass) }, false)
            }
        };
        if by_name { Some(true) } else { truth }
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}

fn is_number(name: &str) -> bool {
    name.eq_ignore_ascii_case("telephoneNumber")
}

fn lower(value: &str) -> String {
    // `to_lowercase` on a string knows where a word ends, so characters one by one.
    value.chars().flat_map(char::to_lowercase).map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

fn fold(name: &str, value: &str) -> String {
    let words: Vec<_> = value.split_whitespace().collect();
    if is_number(name) { lower(&words.concat().replace('-', "")) } else { lower(&words.join(" ")) }
}

/// RFC 4518 section 2.6.1 to the letter: inner runs of blanks become two, edges one. Pieces of blanks alone are passed over.
fn has_pieces(name: &str, value: &str, asked: &Substrings) -> bool {
    if is_number(name) {
        let piece = |piece: &Vec<u8>| fold(name, &text(piece));
        let pieces: Vec<_> = asked.initial.iter().chain(&asked.any).chain(&asked.final_).map(piece).collect();
        if pieces.contains(&String::new()) {
            return false;
        }
        return in_order(
            &fold(name, value),
            asked.initial.as_ref().map(piece),
            asked.any.iter().map(piece),
            asked.final_.as_ref().map(piece),
        );
    }
    let words = |value: &str| lower(&value.split_whitespace().collect::<Vec<_>>().join("  "));
    let piece = |piece: &Vec<u8>| {
        let piece = text(piece);
        let edge = |is: bool| if is { " " } else { "" };
        let words = words(&piece);
        (!words.is_empty())
            .then(|| format!("{}{words}{}", edge(piece.starts_with(char::is_whitespace)), edge(piece.ends_with(char::is_whitespace))))
    };
    in_order(
        &format!(" {} ", words(value)),
        asked.initial.as_ref().and_then(piece).map(|piece| format!(" {}", piece.trim_start())),
        asked.any.iter().filter_map(piece),
        asked.final_.as_ref().and_then(piece).map(|piece| format!("{} ", piece.trim_end())),
    )
}

fn in_order(value: &str, initial: Option<String>, any: impl Iterator<Item = String>, last: Option<String>) -> bool {
    let Some(mut rest) = value.strip_prefix(initial.as_deref().unwrap_or_default()) else { return false };
    for piece in any {
        let Some(at) = rest.find(&piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last.as_deref().unwrap_or_default())
}

const ATTRIBUTES: [&str; 7] = ["cn", "CN;lang-de", "sn", "telephoneNumber", "employeeNumber", "uid", "dc"];

fn words() -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec!["a", "b", "A", "ab", "ü", "Ü", "ς", "Σ", "ß", " ", " ", "-", "1", "2", "x"]);
    prop::collection::vec(letters, 1..7).prop_map(|letters| letters.concat())
}

fn value(attribute: &str) -> BoxedStrategy<String> {
    match attribute {
        "employeeNumber" => prop_oneof![20 => (-9..40_i32).prop_map(|number| number.to_string()), 1 => words()].boxed(),
        _ => words().boxed(),
    }
}

/// A base, and people below it or below each other.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let attribute = prop::sample::select(ATTRIBUTES[..5].to_vec()).prop_flat_map(|name| (Just(name), value(name)));
    let person = (any::<prop::sample::Index>(), prop::collection::vec(attribute, 0..6));
    prop::collection::vec(person, 1..12).prop_map(|people| {
        let mut entries = vec![Entry::new("dc=a").with("dc", "a")];
        for (number, (parent, attributes)) in people.into_iter().enumerate() {
            let parent = entries[parent.index(entries.len())].dn.clone();
            let entry = Entry::new(format!("uid=U{number},{parent}")).with("uid", format!("U{number}"));
            entries.push(attributes.into_iter().fold(entry, |entry, (name, value)| entry.with(name, value)));
        }
        entries
    })
}

fn filters() -> impl Strategy<Value = Filter> {
    let attribute = || {
        prop::sample::select(vec![
            "CN",
            "cn;lang-de",
            "cn;lang-fr",
            "SN",
            "telephonenumber",
            "employeeNumber",
            "uid",
            "dc",
            "nope",
            "objectClass",
        ])
    };
    let name = || attribute().prop_map(str::to_owned);
    let octets = || {
        prop_oneof![4 => words(), 2 => (-9..40_i32).prop_map(|number| number.to_string()), 1 => Just("u1".to_owned()), 1 => Just("A".to_owned())].prop_map(String::into_bytes)
    };
    let assertion = || (name(), octets()).prop_map(|(attribute, value)| Assertion { attribute, value });
    let piece = || {
        prop::sample::select(vec!["a", "b", "ab", "A ", " b", "Ü", "σ", " ", "-", "1", "2-", "a b"])
            .prop_map(|piece| piece.as_bytes().to_vec())
    };
    let substrings = (name(), prop::option::of(piece()), prop::collection::vec(piece(), 0..3), prop::option::of(piece()))
        .prop_filter("a piece is there", |(_, initial, any, last)| initial.is_some() || !any.is_empty() || last.is_some())
        .prop_map(|(attribute, initial, any, final_)| Filter::Substrings(Substrings { attribute, initial, any, final_ }));
    let rule = prop::sample::select(vec![None, Some("caseExactMatch"), Some(oid::BIT_AND), Some(oid::BIT_OR)]);
    let extensible = (rule, name(), octets(), any::<bool>()).prop_map(|(rule, attribute, value, dn_attributes)| {
        Filter::Extensible(Extensible { rule: rule.map(str::to_owned), attribute: Some(attribute), value, dn_attributes })
    });
    let item = prop_oneof![
        1 => name().prop_map(Filter::Present),
        1 => assertion().prop_map(Filter::Equality),
        1 => assertion().prop_map(Filter::Approx),
        1 => assertion().prop_map(Filter::GreaterOrEqual),
        1 => assertion().prop_map(Filter::LessOrEqual),
        3 => substrings,
        1 => extensible,
    ];
    item.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_book_finds_whom_the_naive_evaluator_finds(entries in entries(), filter in filters()) {
        let book = Book::from_entries(&Dn::parse("dc=a").unwrap(), &entries).unwrap();
        let asked = SearchRequest { filter: filter.clone(), ..request("dc=a", Scope::WholeSubtree, "(cn=*)", &["1.1"]) };
        let mut found: Vec<_> = book.search(&asked, None).map(|entry| decode(&entry).0).collect();
        let naive = Naive { entries: &entries };
        let mut expected: Vec<_> = entries.iter().filter(|entry| naive.truth(&filter, entry) == Some(true)).map(|entry| entry.dn.clone()).collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected, "{}", filter);
    }

    #[test]
    fn the_first_entries_match_as_they_do_among_all(entries in entries(), filter in filters(), first in 1..4_u32) {
        let store = Store::build(Dn::parse("dc=a").unwrap(), &entries, first).unwrap();
        let found = |part| evaluate::evaluate(&store, part, &filter, u64::MAX);
        if let Ok(found_first) = found(Part::First) {
            let expected: Vec<_> = found(Part::Whole).unwrap().iter().filter(|id| *id < store.size(Part::First)).collect();
            prop_assert_eq!(found_first.iter().collect::<Vec<_>>(), expected, "{}", filter);
        }
    }

    #[test]
    fn no_text_breaks_the_reader_of_ldif(text in "(dn|cn|#| |:|:: |version: 1|\n|\r\n|=|,|a|Zg==|<|-|ü){0,40}") {
        if let Ok(entries) = ldif::parse(text.as_bytes()) {
            let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
            let _ = Book::from_entries(&Dn::ROOT, &entries);
        }
    }
}
