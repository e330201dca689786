//! Two searches with one cache key are one search to a real directory: it answers both alike.
//!
//! Every phone search is spelled anew at random (letters' case, blanks in the base, order and repetition of attributes). Where the key calls both
//! spellings the same, so must Samba and slapd.

use crate::bed::{self, Server};
use crate::common::ldap_client::{Entry, Found};
use crate::corpus::phone_searches;
use redial::cache::key::{Keyed, Owner, write_key};
use redial::ldap::envelope::{Envelope, write_envelope};
use redial::ldap::filter::{Assertion, Filter, Substrings};
use redial::ldap::message::{Request, SearchRequest};
use redial::ldap::{MessageId, ResultCode};
use std::collections::BTreeSet;

/// Spellings tried for each search.
const SPELLINGS: u64 = 4;

#[test]
fn what_has_one_key_is_one_search_to_samba() {
    compare_spellings(bed::samba());
}

#[test]
fn what_has_one_key_is_one_search_to_slapd() {
    compare_spellings(bed::slapd());
}

fn compare_spellings(server: &Server) {
    let mut direct = server.direct();
    let (mut same, mut other) = (0, 0);
    for (number, search) in (1..).zip(phone_searches()) {
        // Which entries come under a limit is the server's whim.
        let asked = SearchRequest { size_limit: 0, ..search.request };
        let expected = Answer::of(direct.search(&asked));
        for spelling in 0..SPELLINGS {
            let respelled = Pen(number * SPELLINGS + spelling).respell(&asked);
            if key(&respelled) != key(&asked) {
                other += 1;
                continue;
            }
            same += 1;
            assert!(Answer::of(direct.search(&respelled)) == expected, "{}: {respelled:?}", search.name);
        }
    }
    assert!(same > 100, "only {same} spellings had the key of the search, {other} had another: that compares little");
}

/// What must be alike: the order of entries and of attributes is the server's.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: ResultCode,
    entries: BTreeSet<Entry>,
}

impl Answer {
    fn of(found: Found) -> Self {
        let in_one_order = |mut entry: Entry| {
            entry.attributes.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("last") && name != "uSNChanged");
            // Names compare without case (RFC 4512 section 2.5); some servers give them as they were asked.
            entry.attributes.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
            entry.attributes.sort();
            entry
        };
        Self { code: found.outcome.code, entries: found.entries.into_iter().map(in_one_order).collect() }
    }
}

fn key(request: &SearchRequest) -> Vec<u8> {
    let mut frame = Vec::new();
    write_envelope(&mut frame, MessageId::new(1).expect("a messageID"), &request.encode(), None);
    let envelope = Envelope::parse(&frame).expect("a message");
    let Ok(Request::Search(search)) = Request::parse(&envelope) else { panic!("it is a search") };
    let mut key = Vec::new();
    assert_eq!(write_key(&mut key, Owner { access: 0, principal: None }, Some(0), &search, None), Keyed::Cacheable);
    key
}

/// Spells at random, the same for the same seed (xorshift: the seed must not be zero).
struct Pen(u64);

impl Pen {
    fn respell(&mut self, request: &SearchRequest) -> SearchRequest {
        let mut attributes: Vec<String> = request.attributes.iter().map(|name| self.recase(name)).collect();
        if let Some(first) = attributes.first().cloned() {
            attributes.push(first);
        }
        for place in (1..attributes.len()).rev() {
            attributes.swap(place, self.below(place + 1));
        }
        let base_object = self.recase(&request.base_object);
        let base_object = if self.flip() && !base_object.contains('\\') { base_object.replace(',', " , ") } else { base_object };
        SearchRequest { base_object, attributes, filter: self.refilter(&request.filter), ..request.clone() }
    }

    fn refilter(&mut self, filter: &Filter) -> Filter {
        match filter {
            Filter::And(branches) => Filter::And(branches.iter().map(|branch| self.refilter(branch)).collect()),
            Filter::Or(branches) => Filter::Or(branches.iter().map(|branch| self.refilter(branch)).collect()),
            Filter::Not(inner) => Filter::Not(Box::new(self.refilter(inner))),
            Filter::Equality(item) => Filter::Equality(self.reassert(item)),
            Filter::GreaterOrEqual(item) => Filter::GreaterOrEqual(self.reassert(item)),
            Filter::LessOrEqual(item) => Filter::LessOrEqual(self.reassert(item)),
            Filter::Approx(item) => Filter::Approx(self.reassert(item)),
            Filter::Present(attribute) => Filter::Present(self.recase(attribute)),
            Filter::Substrings(item) => Filter::Substrings(Substrings {
                attribute: self.recase(&item.attribute),
                initial: item.initial.as_deref().map(|piece| self.recase_octets(piece)),
                any: item.any.iter().map(|piece| self.recase_octets(piece)).collect(),
                final_: item.final_.as_deref().map(|piece| self.recase_octets(piece)),
            }),
            Filter::Extensible(item) => Filter::Extensible(item.clone()),
        }
    }

    fn reassert(&mut self, item: &Assertion) -> Assertion {
        Assertion { attribute: self.recase(&item.attribute), value: self.recase_octets(&item.value) }
    }

    fn recase(&mut self, text: &str) -> String {
        text.chars().map(|letter| if self.flip() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }).collect()
    }

    fn recase_octets(&mut self, octets: &[u8]) -> Vec<u8> {
        octets.iter().map(|octet| if self.flip() { octet.to_ascii_uppercase() } else { octet.to_ascii_lowercase() }).collect()
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}
