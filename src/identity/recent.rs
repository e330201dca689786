//! A map that never holds more than a number of entries: those that nobody touched for longest go, and no call ever walks through all of them.
//!
//! Two generations: what is touched is young; when the young half is full, it becomes the old half, and what was old and untouched is dropped.

use super::mac::Mac;
use std::collections::HashMap;

/// See the module.
#[derive(Debug)]
pub(super) struct Recent<V> {
    young: HashMap<Mac, V>,
    old: HashMap<Mac, V>,
    most: usize,
}

impl<V: Default> Recent<V> {
    /// For at most `most` entries.
    pub(super) fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most }
    }

    /// The entry, if there is one; it counts as touched.
    pub(super) fn touch(&mut self, key: &Mac) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let old = self.old.remove(key)?;
            self.make_room();
            self.young.insert(*key, old);
        }
        self.young.get_mut(key)
    }

    /// The entry, or a new one.
    pub(super) fn entry(&mut self, key: &Mac) -> &mut V {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key).unwrap_or_default();
            self.make_room();
            self.young.insert(*key, value);
        }
        self.young.entry(*key).or_default()
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &Mac) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Takes all out.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// All entries, in no order, untouched.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.young.values().chain(self.old.values())
    }

    fn make_room(&mut self) {
        if self.young.len() >= self.most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u16) -> Mac {
        Mac::for_tests(number)
    }

    #[test]
    fn what_is_touched_stays_and_the_number_is_bounded() {
        let mut recent = Recent::new(100);
        *recent.entry(&key(0)) = 7;
        for number in 1..10_000 {
            *recent.entry(&key(number)) = 1;
            assert_eq!(recent.touch(&key(0)), Some(&mut 7), "after {number}");
            assert!(recent.len() <= 100);
        }
        assert_eq!(recent.touch(&key(1)), None);
        assert_eq!(recent.touch(&key(9_999)), Some(&mut 1));
    }

    #[test]
    fn an_old_entry_is_found_taken_out_and_not_made_anew() {
        let mut recent = Recent::new(4);
        for number in 0..3 {
            *recent.entry(&key(number)) = number;
        }
        *recent.entry(&key(1)) += 10;
        assert_eq!(recent.touch(&key(1)), Some(&mut 11));
        assert_eq!((recent.remove(&key(1)), recent.remove(&key(1))), (Some(11), None));
        recent.clear();
        assert_eq!(recent.len(), 0);
    }
}
