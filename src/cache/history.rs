//! The history of writes, as the cache sees it: what was asked before a point in it is not served after.
//!
//! The generation of a directory moves when a write may have touched it. While a write is under way nobody knows whether a read has seen it
//! already, so then the generation moves at the end of every read too: else a later one could be answered from memory with what was there
//! before.
//!
//! Directories go by numbers that a reload does not give to another: the histories of all that there have been are kept.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A point in the history of writes of one directory, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    pub(super) directory: Option<usize>,
    number: u64,
}

/// The histories of all directories.
#[derive(Debug)]
pub(super) struct Histories {
    directories: RwLock<Vec<Arc<History>>>,
    /// Of all directories together: for answers that come from several.
    all: Arc<History>,
}

/// The history of one directory, or of all.
#[derive(Debug, Default)]
pub(super) struct History {
    generation: AtomicU64,
    writes_under_way: AtomicUsize,
}

impl Histories {
    pub(super) fn new(directories: usize) -> Self {
        let histories = Self { directories: RwLock::default(), all: Arc::default() };
        histories.make_room(directories);
        histories
    }

    /// There are directories up to that number.
    pub(super) fn make_room(&self, directories: usize) {
        let mut known = self.directories.write().unwrap_or_else(PoisonError::into_inner);
        let missing = directories.saturating_sub(known.len());
        known.extend(std::iter::repeat_with(Arc::default).take(missing));
    }

    /// The history of a directory (`None`: of all).
    pub(super) fn of(&self, directory: Option<usize>) -> Arc<History> {
        directory.and_then(|directory| self.known(directory)).unwrap_or_else(|| Arc::clone(&self.all))
    }

    /// Where the history of a directory (`None`: of all) stands.
    pub(super) fn generation(&self, directory: Option<usize>) -> Generation {
        Generation { directory, number: self.of(directory).stands_at() }
    }

    /// What was asked of that directory before is outdated.
    pub(super) fn moves_on(&self, directory: usize) {
        if let Some(history) = self.known(directory) {
            history.generation.fetch_add(1, Ordering::SeqCst);
        }
        self.all.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// A write is about to be sent.
    pub(super) fn write_begins(&self, directory: usize) {
        if let Some(history) = self.known(directory) {
            history.writes_under_way.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A write that began has ended. In this order, so that a read which ends meanwhile either moves the history or finds it moved.
    pub(super) fn write_ended(&self, directory: usize, may_have_changed: bool) {
        if may_have_changed {
            self.moves_on(directory);
        }
        if let Some(history) = self.known(directory) {
            history.writes_under_way.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A read of a directory (`None`: of several) has ended, and its answer has been given to nobody yet.
    pub(super) fn read_ended(&self, directory: Option<usize>) {
        let written = |(index, history): (usize, &Arc<History>)| {
            let is_meant = directory.is_none_or(|directory| directory == index);
            (is_meant && history.writes_under_way.load(Ordering::SeqCst) > 0).then_some(index)
        };
        let known = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        let moving: Vec<_> = known.iter().enumerate().filter_map(written).collect();
        drop(known);
        moving.into_iter().for_each(|index| self.moves_on(index));
    }

    fn known(&self, directory: usize) -> Option<Arc<History>> {
        self.directories.read().unwrap_or_else(PoisonError::into_inner).get(directory).cloned()
    }
}

impl History {
    /// The number of its generation.
    pub(super) fn stands_at(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

impl Generation {
    /// That history has not moved since.
    pub(super) fn is_of(self, history: &History) -> bool {
        self.number == history.stands_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(histories: &Histories, what: impl FnOnce()) -> [bool; 3] {
        let places = [Some(0), Some(1), None];
        let before = places.map(|directory| histories.generation(directory));
        what();
        std::array::from_fn(|index| histories.generation(places[index]) != before[index])
    }

    #[test]
    fn a_write_moves_its_directory_and_the_whole_when_it_ends_and_not_when_it_begins_or_is_refused() {
        let histories = Histories::new(2);
        assert_eq!(moved(&histories, || histories.write_begins(1)), [false, false, false]);
        assert_eq!(moved(&histories, || histories.write_ended(1, true)), [false, true, true]);
        histories.write_begins(1);
        assert_eq!(moved(&histories, || histories.write_ended(1, false)), [false, false, false]);
    }

    #[test]
    fn a_read_moves_the_history_only_while_a_write_is_under_way_there() {
        let histories = Histories::new(2);
        assert_eq!(moved(&histories, || histories.read_ended(Some(0))), [false, false, false]);
        histories.write_begins(0);
        assert_eq!(moved(&histories, || histories.read_ended(Some(1))), [false, false, false]);
        assert_eq!(moved(&histories, || histories.read_ended(Some(0))), [true, false, true]);
        assert_eq!(moved(&histories, || histories.read_ended(None)), [true, false, true]);
        histories.write_ended(0, true);
        assert_eq!(moved(&histories, || histories.read_ended(None)), [false, false, false]);
    }

    #[test]
    fn a_directory_that_does_not_exist_is_no_crash() {
        let histories = Histories::new(1);
        histories.write_begins(7);
        histories.read_ended(Some(7));
        histories.write_ended(7, true);
    }
}
