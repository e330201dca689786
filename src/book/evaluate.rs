//! Which entries a filter is true for (RFC 4511 section 4.5.1.7), with its three values and a bound on the work.
//!
//! [`Evaluation::add`] gives those entries for which a filter is `want`. NOT asks for the opposite; what is Undefined is neither true
//! nor false, so it gives nobody for either, and no set of undecided entries is ever needed. An attribute that no entry of
//! the book has is unknown: Undefined. One that some entries have is false for the others.

use super::attribute::{Description, Matching};
use super::bitset::Bitset;
use super::column::{Column, Found};
use super::extensible;
use super::pattern::Pattern;
use super::store::{Part, Store};
use crate::ldap::filter::{Assertion, Filter};
use std::cmp::Ordering;
use thiserror::Error;

/// The filter asks for more work than one search may cause: adminLimitExceeded(11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the filter asks for too much work")]
pub(super) struct TooMuchWork;

/// The entries of `part` for which `filter` is true, if they are found within `work` octets read or written.
pub(super) fn evaluate(store: &Store, part: Part, filter: &Filter, work: u64) -> Result<Bitset, TooMuchWork> {
    let mut evaluation = Evaluation { store, part, left: work };
    let mut entries = evaluation.nobody()?;
    evaluation.add(filter, true, &mut entries)?;
    Ok(entries)
}

/// One evaluation under way.
#[derive(Debug)]
pub(super) struct Evaluation<'a> {
    pub(super) store: &'a Store,
    part: Part,
    left: u64,
}

/// Is an item defined for the book? If not it is neither true nor false for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Defined,
    Undefined,
}

impl Evaluation<'_> {
    /// Adds the entries for which `filter` is `want`. Recursion is as deep as the filter: at most
    /// [`crate::ldap::filter::MAX_DEPTH`] levels, and the one that an access adds.
    fn add(&mut self, filter: &Filter, want: bool, entries: &mut Bitset) -> Result<(), TooMuchWork> {
        match (filter, want) {
            (Filter::Not(inner), _) => self.add(inner, !want, entries),
            (Filter::Or(branches), true) | (Filter::And(branches), false) => {
                branches.iter().try_for_each(|branch| self.add(branch, want, entries))
            }
            (Filter::And(branches), true) | (Filter::Or(branches), false) => self.add_common(branches, want, entries),
            (item, true) => self.add_item(item, entries).map(drop),
            (item, false) => {
                let mut others = self.nobody()?;
                if self.add_item(item, &mut others)? == Item::Defined {
                    others.complement();
                    entries.add_all(&others);
                }
                Ok(())
            }
        }
    }

    /// Adds the entries for which all `branches` are `want`: the cheap ones are asked first, and nobody left ends it.
    fn add_common(&mut self, branches: &[Filter], want: bool, entries: &mut Bitset) -> Result<(), TooMuchWork> {
        self.spend(entries.octets())?;
        let mut common = Bitset::everybody(self.size());
        let (cheap, dear): (Vec<_>, Vec<_>) = branches.iter().partition(|branch| is_cheap(branch));
        for branch in cheap.into_iter().chain(dear) {
            let mut found = self.nobody()?;
            self.add(branch, want, &mut found)?;
            common.keep_only(&found);
            if common.is_empty() {
                return Ok(());
            }
        }
        entries.add_all(&common);
        Ok(())
    }

    /// Adds the entries for which one item is true; none where it is Undefined.
    fn add_item(&mut self, item: &Filter, entries: &mut Bitset) -> Result<Item, TooMuchWork> {
        match item {
            Filter::Present(attribute) => self.add_present(attribute, entries),
            Filter::Equality(asked) | Filter::Approx(asked) => self.add_found(&asked.attribute, entries, |column, _| {
                Ok((column.matching() != Matching::Opaque).then(|| Found::Range(column.equal(&asked.value))))
            }),
            Filter::GreaterOrEqual(asked) => self.add_ordered(asked, Ordering::Greater, entries),
            Filter::LessOrEqual(asked) => self.add_ordered(asked, Ordering::Less, entries),
            Filter::Substrings(asked) => self.add_found(&asked.attribute, entries, |column, left| {
                if !matches!(column.matching(), Matching::Text | Matching::Number) {
                    return Ok(None);
                }
                let Some(pattern) = Pattern::fold(asked, column.matching()) else { return Ok(Some(Found::Range(0..0))) };
                if pattern.is_scan() {
                    spend(left, column.octets() * if pattern.is_contains() { 1 } else { LOOKING_CLOSER })?;
                }
                Ok(Some(column.matches(&pattern)))
            }),
            // A name may hold a value of an entry above, which need not be among the first.
            Filter::Extensible(_) if self.part == Part::First => Err(TooMuchWork),
            Filter::Extensible(asked) => extensible::add(self, asked, entries),
            Filter::And(_) | Filter::Or(_) | Filter::Not(_) => Ok(Item::Undefined),
        }
    }

    fn add_present(&mut self, attribute: &str, entries: &mut Bitset) -> Result<Item, TooMuchWork> {
        let asked = Description::fold(attribute);
        // Every entry has a class, also one whose file forgot to name it.
        if asked.kind == "objectclass" && asked.options.is_empty() {
            self.spend(entries.octets())?;
            entries.add_all(&Bitset::everybody(self.size()));
            return Ok(Item::Defined);
        }
        let Some(attributes) = self.store.attributes_of(&asked) else { return Ok(Item::Undefined) };
        for (_, attribute) in attributes {
            self.spend(entries.octets())?;
            entries.add_all(attribute.column(self.part).present());
        }
        Ok(Item::Defined)
    }

    fn add_ordered(&mut self, asked: &Assertion, order: Ordering, entries: &mut Bitset) -> Result<Item, TooMuchWork> {
        self.add_found(&asked.attribute, entries, |column, left| {
            if column.is_integers() {
                spend(left, column.octets() * LOOKING_CLOSER)?;
            }
            Ok(column.ordered(order, &asked.value))
        })
    }

    /// Adds the entries with the values that `find` gives, column by column; `None` says that a column has no such match.
    fn add_found(
        &mut self,
        attribute: &str,
        entries: &mut Bitset,
        find: impl Fn(&Column, &mut u64) -> Result<Option<Found>, TooMuchWork>,
    ) -> Result<Item, TooMuchWork> {
        let asked = Description::fold(attribute);
        let Some(attributes) = self.store.attributes_of(&asked) else { return Ok(Item::Undefined) };
        // A type that is known, but not with these options, is false for everybody.
        let (mut columns, mut defined) = (0, 0);
        for (_, attribute) in attributes {
            columns += 1;
            let column = attribute.column(self.part);
            if let Some(found) = find(column, &mut self.left)? {
                defined += 1;
                self.add_values(column, &found, entries)?;
            }
        }
        Ok(if columns == 0 || defined > 0 { Item::Defined } else { Item::Undefined })
    }

    /// Adds the entries that have values of a column, and accounts for them.
    pub(super) fn add_values(&mut self, column: &Column, found: &Found, entries: &mut Bitset) -> Result<(), TooMuchWork> {
        self.spend(found.len() as u64 * 8)?;
        let touched = column.add_entries(found, entries);
        self.spend(touched)
    }

    /// An empty set, accounted for.
    pub(super) fn nobody(&mut self) -> Result<Bitset, TooMuchWork> {
        let nobody = Bitset::nobody(self.size());
        self.spend(nobody.octets())?;
        Ok(nobody)
    }

    /// How many entries are looked at.
    pub(super) const fn size(&self) -> u32 {
        self.store.size(self.part)
    }

    pub(super) fn spend(&mut self, octets: u64) -> Result<(), TooMuchWork> {
        spend(&mut self.left, octets)
    }
}

fn spend(left: &mut u64, octets: u64) -> Result<(), TooMuchWork> {
    *left = left.checked_sub(octets).ok_or(TooMuchWork)?;
    Ok(())
}

/// Taking the values of a column one by one costs about this much more than a scan of its text.
pub(super) const LOOKING_CLOSER: u64 = 8;

/// Answered without a scan, so worth asking first.
fn is_cheap(filter: &Filter) -> bool {
    match filter {
        Filter::Present(_) | Filter::Equality(_) | Filter::Approx(_) => true,
        Filter::Substrings(asked) => asked.initial.is_some(),
        _ => false,
    }
}
