//! A set of entries: one bit each.

/// Entries of one book, by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bitset {
    words: Box<[u64]>,
    /// Ids are below this.
    size: u32,
}

impl Bitset {
    /// Nobody, among `size` entries.
    pub(super) fn nobody(size: u32) -> Self {
        Self { words: vec![0; (size as usize).div_ceil(64)].into_boxed_slice(), size }
    }

    /// All `size` entries.
    pub(super) fn everybody(size: u32) -> Self {
        let mut set = Self::nobody(size);
        set.complement();
        set
    }

    /// The octets that an operation on the whole set touches.
    pub(super) const fn octets(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    pub(super) fn insert(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut(id as usize / 64) {
            *word |= 1 << (id % 64);
        }
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.words.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(super) fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (word, others) in self.words.iter_mut().zip(&other.words) {
            *word |= others;
        }
    }

    pub(super) fn keep_only(&mut self, other: &Self) {
        for (word, others) in self.words.iter_mut().zip(&other.words) {
            *word &= others;
        }
    }

    /// Everybody who was not in it.
    pub(super) fn complement(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        let used = self.size % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }

    /// The first id in the set that is not below `from`.
    pub(super) fn next_from(&self, from: u32) -> Option<u32> {
        let mut index = from / 64;
        let mut word = self.words.get(index as usize)? & (u64::MAX << (from % 64));
        while word == 0 {
            index += 1;
            word = *self.words.get(index as usize)?;
        }
        Some(index * 64 + word.trailing_zeros())
    }

    /// The ids in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let id = self.next_from(from)?;
            from = id + 1;
            Some(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Bitset;

    #[test]
    fn the_complement_ends_with_the_last_entry() {
        for size in [0, 1, 63, 64, 65, 200] {
            let everybody = Bitset::everybody(size);
            assert_eq!(everybody.len(), size);
            assert_eq!(everybody.iter().collect::<Vec<_>>(), (0..size).collect::<Vec<_>>());
            let mut nobody = everybody;
            nobody.complement();
            assert!(nobody.is_empty());
        }
    }

    #[test]
    fn the_next_id_is_found_across_words() {
        let mut set = Bitset::nobody(300);
        for id in [0, 63, 64, 299] {
            set.insert(id);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 299]);
        assert_eq!(set.next_from(65), Some(299));
        assert_eq!(set.next_from(300), None);
        assert!(set.contains(299) && !set.contains(298) && !set.contains(5000));
    }

    #[test]
    fn an_id_beyond_the_end_is_not_taken() {
        let mut set = Bitset::nobody(10);
        set.insert(64);
        assert!(set.is_empty());
    }
}
