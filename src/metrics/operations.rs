//! What operations came to: how many of which kind, from where they were answered, with which code and after what time.
//!
//! A hit is counted in four atomic additions. What follows from these counts, as what the cache is said to have answered, is not counted
//! again but read from them when the page is written.

use super::histogram::Histogram;
use super::names::{self, Metric};
use crate::ldap::ResultCode;
use crate::outcome::{OperationKind, Outcome, Served};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// The tallies of all operations, by kind and by where they were answered.
#[derive(Debug)]
pub(super) struct Operations(Box<[Tally]>);

#[derive(Debug)]
struct Tally {
    /// By [`code_slot`].
    codes: [AtomicU64; CODE_SLOTS],
    took: Histogram,
    /// Of searches.
    entries: AtomicU64,
}

impl Operations {
    pub(super) fn new() -> Self {
        Self((0..OperationKind::ALL.len() * Served::ALL.len()).map(|_| Tally::default()).collect())
    }

    /// So many operations have finished in the same way and after the same time; the entries are those of all together.
    pub(super) fn count(&self, outcome: &Outcome, count: u64) {
        let Some(tally) = self.0.get(place(outcome.kind, outcome.served)) else { return };
        if let Some(of_code) = tally.codes.get(code_slot(outcome.code)) {
            of_code.fetch_add(count, Ordering::Relaxed);
        }
        tally.took.record(outcome.took, count);
        if outcome.kind == OperationKind::Search {
            tally.entries.fetch_add(u64::from(outcome.entries), Ordering::Relaxed);
        }
    }

    /// Appends all families to the page.
    pub(super) fn render(&self, page: &mut String) {
        names::OPERATIONS.begin("counter", page);
        for (kind, served, tally) in self.tallies() {
            for &code in ResultCode::NAMED {
                let count = tally.of_code(code);
                if count > 0 {
                    let Metric { name, .. } = names::OPERATIONS;
                    let (kind, served, code) = (kind.name(), served.name(), code.name());
                    let _ = writeln!(page, "{name}{{operation=\"{kind}\",served=\"{served}\",code=\"{code}\"}} {count}");
                }
            }
        }
        names::OPERATION_DURATION.begin("histogram", page);
        for (kind, served, tally) in self.tallies() {
            tally.took.render(names::OPERATION_DURATION, &[("operation", kind.name()), ("served", served.name())], page);
        }
        self.render_searches(page);
    }

    fn render_searches(&self, page: &mut String) {
        names::ENTRIES.begin("counter", page);
        for (_, served, tally) in self.tallies().filter(|(kind, ..)| *kind == OperationKind::Search) {
            let entries = tally.entries.load(Ordering::Relaxed);
            let _ = writeln!(page, "{}{{served=\"{}\"}} {entries}", names::ENTRIES.name, served.name());
        }
        for (metric, served) in BY_THE_CACHE {
            let searches = self.0.get(place(OperationKind::Search, served)).map_or(0, Tally::total);
            metric.begin("counter", page);
            let _ = writeln!(page, "{} {searches}", metric.name);
        }
    }

    fn tallies(&self) -> impl Iterator<Item = (OperationKind, Served, &Tally)> {
        let pairs = OperationKind::ALL.into_iter().flat_map(|kind| Served::ALL.map(|served| (kind, served)));
        pairs.zip(&self.0).map(|((kind, served), tally)| (kind, served, tally))
    }
}

impl Tally {
    /// Whatever has no name of its own is counted as other(80).
    fn of_code(&self, code: ResultCode) -> u64 {
        let in_slot = |&code: &ResultCode| self.codes.get(code_slot(code)).map_or(0, |count| count.load(Ordering::Relaxed));
        if code != ResultCode::OTHER {
            return in_slot(&code);
        }
        let named = ResultCode::NAMED.iter().filter(|&&named| named != code).map(in_slot).sum();
        self.total().saturating_sub(named)
    }

    fn total(&self) -> u64 {
        self.codes.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self { codes: [const { AtomicU64::new(0) }; CODE_SLOTS], took: Histogram::default(), entries: AtomicU64::new(0) }
    }
}

const fn place(kind: OperationKind, served: Served) -> usize {
    kind as usize * Served::ALL.len() + served as usize
}

/// One slot for each code from 0 to 80 and from 118 to 123, among which are all that have a name; the others share that of other(80).
const fn code_slot(code: ResultCode) -> usize {
    match code.0 {
        low @ 0..=80 => low as usize,
        high @ 118..=123 => high as usize - 118 + 81,
        _ => ResultCode::OTHER.0 as usize,
    }
}

const CODE_SLOTS: usize = 87;

/// What of searches is also told of the cache.
const BY_THE_CACHE: [(Metric, Served); 4] = [
    (names::CACHE_HITS, Served::Hit),
    (names::CACHE_MISSES, Served::Miss),
    (names::CACHE_STALE, Served::Stale),
    (names::CACHE_COALESCED, Served::Coalesced),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_lists_of_kinds_and_sources_are_in_the_order_of_their_variants() {
        assert!(OperationKind::ALL.iter().enumerate().all(|(index, &kind)| kind as usize == index));
        assert!(Served::ALL.iter().enumerate().all(|(index, &served)| served as usize == index));
    }

    #[test]
    fn every_named_code_has_a_slot_of_its_own() {
        let slots: HashSet<_> = ResultCode::NAMED.iter().map(|&code| code_slot(code)).collect();
        assert_eq!(slots.len(), ResultCode::NAMED.len());
        assert!(slots.iter().all(|&slot| slot < CODE_SLOTS));
    }
}
