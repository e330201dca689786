//! What operations came to: how many of which kind, from where they were answered, with which code and after what time.
//!
//! A hit is counted in four additions. What follows from these counts, as what the cache is said to have answered, is not counted
//! again but read from them when the page is written.

use super::count::Count;
use super::histogram::Histogram;
use super::names::{self, Metric};
use crate::ldap::ResultCode;
use crate::outcome::{OperationKind, Outcome, Served};
use std::fmt::Write;
use thread_local::ThreadLocal;

/// The tallies of all operations.
#[derive(Debug, Default)]
pub(super) struct Operations(ThreadLocal<Tallies>);

/// Those that one thread has finished, by kind and by where they were answered.
#[derive(Debug)]
struct Tallies(Box<[Tally]>);

#[derive(Debug)]
struct Tally {
    /// By [`code_slot`].
    codes: [Count; CODE_SLOTS],
    took: Histogram,
    /// Of searches.
    entries: Count,
}

impl Operations {
    /// So many operations have finished in the same way and after the same time; the entries are those of all together.
    pub(super) fn count(&self, outcome: &Outcome, count: u64) {
        let tallies = self.0.get_or_default();
        let Some(tally) = tallies.0.get(place(outcome.kind, outcome.served)) else { return };
        if let Some(of_code) = tally.codes.get(code_slot(outcome.code)) {
            of_code.add(count);
        }
        tally.took.record(outcome.took, count);
        if outcome.kind == OperationKind::Search {
            tally.entries.add(u64::from(outcome.entries));
        }
    }

    /// Appends all families to the page.
    pub(super) fn render(&self, page: &mut String) {
        names::OPERATIONS.begin("counter", page);
        for (kind, served) in pairs() {
            for &code in ResultCode::NAMED {
                let count = self.of_code(kind, served, code);
                if count > 0 {
                    let Metric { name, .. } = names::OPERATIONS;
                    let (kind, served, code) = (kind.name(), served.name(), code.name());
                    let _ = writeln!(page, "{name}{{operation=\"{kind}\",served=\"{served}\",code=\"{code}\"}} {count}");
                }
            }
        }
        names::OPERATION_DURATION.begin("histogram", page);
        for (kind, served) in pairs() {
            let took: Vec<_> = self.tallies(kind, served).map(|tally| &tally.took).collect();
            Histogram::render(&took, names::OPERATION_DURATION, &[("operation", kind.name()), ("served", served.name())], page);
        }
        self.render_searches(page);
    }

    fn render_searches(&self, page: &mut String) {
        names::ENTRIES.begin("counter", page);
        for served in Served::ALL {
            let entries: u64 = self.tallies(OperationKind::Search, served).map(|tally| tally.entries.read()).sum();
            let _ = writeln!(page, "{}{{served=\"{}\"}} {entries}", names::ENTRIES.name, served.name());
        }
        for (metric, served) in BY_THE_CACHE {
            let searches = self.total(OperationKind::Search, served);
            metric.begin("counter", page);
            let _ = writeln!(page, "{} {searches}", metric.name);
        }
    }

    /// Whatever has no name of its own is counted as other(80).
    fn of_code(&self, kind: OperationKind, served: Served, code: ResultCode) -> u64 {
        let in_slot = |&code: &ResultCode| self.tallies(kind, served).map(|tally| tally.of_slot(code)).sum();
        if code != ResultCode::OTHER {
            return in_slot(&code);
        }
        let named: u64 = ResultCode::NAMED.iter().filter(|&&named| named != code).map(in_slot).sum();
        self.total(kind, served).saturating_sub(named)
    }

    fn total(&self, kind: OperationKind, served: Served) -> u64 {
        self.tallies(kind, served).map(Tally::total).sum()
    }

    /// One of each thread.
    fn tallies(&self, kind: OperationKind, served: Served) -> impl Iterator<Item = &Tally> {
        self.0.iter().filter_map(move |tallies| tallies.0.get(place(kind, served)))
    }
}

impl Tally {
    fn of_slot(&self, code: ResultCode) -> u64 {
        self.codes.get(code_slot(code)).map_or(0, Count::read)
    }

    fn total(&self) -> u64 {
        self.codes.iter().map(Count::read).sum()
    }
}

impl Default for Tallies {
    fn default() -> Self {
        Self(pairs().map(|_| Tally::default()).collect())
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self { codes: std::array::from_fn(|_| Count::default()), took: Histogram::default(), entries: Count::default() }
    }
}

/// In the order of [`place`].
fn pairs() -> impl Iterator<Item = (OperationKind, Served)> {
    OperationKind::ALL.into_iter().flat_map(|kind| Served::ALL.map(|served| (kind, served)))
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
