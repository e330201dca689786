//! Extensible matches (RFC 4511 section 4.5.1.7.7): a named rule, the attributes of the DN, or all attributes that a rule fits.
//!
//! An unknown rule, or one that does not fit the attribute, is Undefined.

use super::attribute::{Description, Matching};
use super::bitset::Bitset;
use super::column::{self, Column, Found};
use super::evaluate::{Evaluation, Item, LOOKING_CLOSER, TooMuchWork};
use super::fold;
use super::store::{Attribute, Store};
use crate::ldap::dn::Dn;
use crate::ldap::filter::Extensible;
use crate::ldap::oid;

/// Adds the entries that match; none where the item is Undefined.
pub(super) fn add(evaluation: &mut Evaluation<'_>, asked: &Extensible, entries: &mut Bitset) -> Result<Item, TooMuchWork> {
    let Some(rule) = Rule::named(asked.rule.as_deref()) else { return Ok(Item::Undefined) };
    if rule.is_numeric() && fold::integer(asked.value.trim_ascii()).is_none() {
        return Ok(Item::Undefined);
    }
    let description = asked.attribute.as_deref().map(Description::fold);
    let store = evaluation.store;
    let candidates = candidates(store, description.as_ref());
    // A type that is known, but not with these options, is false for everybody.
    let mut item = if candidates.as_ref().is_some_and(Vec::is_empty) { Item::Defined } else { Item::Undefined };
    let mut found = evaluation.nobody()?;
    for (kind, attribute) in candidates.unwrap_or_default() {
        if rule.fits(&attribute.column) {
            item = Item::Defined;
            rule.add(evaluation, kind, &attribute.column, &asked.value, &mut found)?;
        }
    }
    if asked.dn_attributes && add_by_name(evaluation, rule, description.as_ref(), &asked.value, &mut found)? {
        item = Item::Defined;
    }
    entries.add_all(&found);
    Ok(item)
}

/// The attributes that are asked about; `None` for an unknown type.
fn candidates<'a>(store: &'a Store, asked: Option<&Description>) -> Option<Vec<(u16, &'a Attribute)>> {
    match asked {
        Some(asked) => Some(store.attributes_of(asked)?.collect()),
        None => Some((0..).zip(&store.attributes).collect()),
    }
}

/// The rules that the book knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The attribute's own equality.
    Equality,
    /// The equality of one kind of attributes.
    EqualityOf(Matching),
    Integer,
    CaseExact,
    AllBits,
    AnyBit,
}

impl Rule {
    fn named(name: Option<&str>) -> Option<Self> {
        let Some(name) = name else { return Some(Self::Equality) };
        RULES.iter().find(|(oid, short, _)| *oid == name || short.eq_ignore_ascii_case(name)).map(|(_, _, rule)| *rule)
    }

    const fn is_numeric(self) -> bool {
        matches!(self, Self::Integer | Self::AllBits | Self::AnyBit)
    }

    fn fits(self, column: &Column) -> bool {
        match self {
            Self::Equality => column.matching() != Matching::Opaque,
            Self::EqualityOf(matching) => column.matching() == matching,
            Self::CaseExact => column.matching() == Matching::Text,
            Self::Integer | Self::AllBits | Self::AnyBit => column.is_integers(),
        }
    }

    fn add(
        self,
        evaluation: &mut Evaluation<'_>,
        kind: u16,
        column: &Column,
        asserted: &[u8],
        entries: &mut Bitset,
    ) -> Result<(), TooMuchWork> {
        match self {
            Self::Equality | Self::EqualityOf(_) => evaluation.add_values(column, &Found::Range(column.equal(asserted)), entries),
            Self::Integer => add_integers(evaluation, column, asserted, |number, bound| number == bound, entries),
            Self::AllBits => add_integers(evaluation, column, asserted, |number, bits| number & bits == bits, entries),
            Self::AnyBit => add_integers(evaluation, column, asserted, |number, bits| number & bits != 0, entries),
            Self::CaseExact => {
                let mut same = evaluation.nobody()?;
                evaluation.add_values(column, &Found::Range(column.equal(asserted)), &mut same)?;
                let wanted = exact(asserted);
                for id in same.iter() {
                    evaluation.spend(evaluation.store.encoded(id).len() as u64)?;
                    if evaluation.store.values(id, kind).any(|value| exact(value) == wanted) {
                        entries.insert(id);
                    }
                }
                Ok(())
            }
        }
    }

    /// Does the value of an RDN match?
    fn matches(self, value: &[u8], asserted: &[u8], matching: Matching) -> bool {
        match self {
            Self::Equality => column::key(value, matching) == column::key(asserted, matching),
            Self::EqualityOf(only) => only == matching && column::key(value, matching) == column::key(asserted, matching),
            Self::CaseExact => matching == Matching::Text && exact(value) == exact(asserted),
            Self::Integer | Self::AllBits | Self::AnyBit => false,
        }
    }
}

fn add_integers(
    evaluation: &mut Evaluation<'_>,
    column: &Column,
    asserted: &[u8],
    pass: impl Fn(i64, i64) -> bool,
    entries: &mut Bitset,
) -> Result<(), TooMuchWork> {
    let Some(asserted) = fold::integer(asserted.trim_ascii()) else { return Ok(()) };
    evaluation.spend(column.octets() * LOOKING_CLOSER)?;
    let found = column.filter_integers(|number| pass(number, asserted));
    evaluation.add_values(column, &found, entries)
}

/// Adds the entries whose name holds the value, at any level. Says whether the item is defined by that.
///
/// An RDN's values are among its entry's, so `entries` holds all entries whose own RDN can match; what is below them matches too.
fn add_by_name(
    evaluation: &mut Evaluation<'_>,
    rule: Rule,
    asked: Option<&Description>,
    asserted: &[u8],
    entries: &mut Bitset,
) -> Result<bool, TooMuchWork> {
    let store = evaluation.store;
    let names = |name: &str| {
        let rdn = Dn::rdn_of(name).unwrap_or_default();
        rdn.iter().any(|(kind, value)| {
            let kind = Description::fold(kind);
            asked.is_none_or(|asked| *asked == kind) && rule.matches(value.as_bytes(), asserted, kind.matching())
        })
    };
    let mut above = store.base.parent();
    while let Some(name) = above {
        if names(&name.normalised()) {
            entries.add_all(&Bitset::everybody(evaluation.size()));
            return Ok(true);
        }
        above = name.parent();
    }
    let mut places = evaluation.nobody()?;
    for id in entries.iter() {
        evaluation.spend(READING_A_NAME)?;
        if store.name(id).is_some_and(names) {
            let below = store.tree.subtree(id);
            evaluation.spend(u64::from(below.end - below.start))?;
            below.for_each(|place| places.insert(place));
        }
    }
    if !places.is_empty() {
        evaluation.spend(u64::from(evaluation.size()) * 4)?;
        (0..evaluation.size()).filter(|id| places.contains(store.tree.place(*id))).for_each(|id| entries.insert(id));
    }
    Ok(false)
}

fn exact(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    fold::exact(value, &mut out);
    out
}

/// Parsing a name costs about as much as scanning this many octets.
const READING_A_NAME: u64 = 1024;

/// OID, name and meaning (RFC 4517 section 4.2; MS-ADTS 3.1.1.3.4.4 for the bits).
const RULES: [(&str, &str, Rule); 12] = [
    (oid::BIT_AND, "LDAP_MATCHING_RULE_BIT_AND", Rule::AllBits),
    (oid::BIT_OR, "LDAP_MATCHING_RULE_BIT_OR", Rule::AnyBit),
    ("2.5.13.0", "objectIdentifierMatch", Rule::EqualityOf(Matching::Text)),
    ("2.5.13.1", "distinguishedNameMatch", Rule::EqualityOf(Matching::Name)),
    ("2.5.13.2", "caseIgnoreMatch", Rule::EqualityOf(Matching::Text)),
    ("1.3.6.1.4.1.1466.109.114.2", "caseIgnoreIA5Match", Rule::EqualityOf(Matching::Text)),
    ("2.5.13.5", "caseExactMatch", Rule::CaseExact),
    ("1.3.6.1.4.1.1466.109.114.1", "caseExactIA5Match", Rule::CaseExact),
    ("2.5.13.13", "booleanMatch", Rule::EqualityOf(Matching::Text)),
    ("2.5.13.14", "integerMatch", Rule::Integer),
    ("2.5.13.17", "octetStringMatch", Rule::EqualityOf(Matching::Octets)),
    ("2.5.13.20", "telephoneNumberMatch", Rule::EqualityOf(Matching::Number)),
];
