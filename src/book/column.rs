//! One attribute of the whole book: its distinct folded values, in order, in one run of text, each with the entries that have it.
//!
//! ```text
//! text      .anna.bernd meier.hans.        a dot is a blank: one before and one behind every value
//! starts     ^    ^           ^    ^
//! postings  [3 17][5]         dense        entry ids, or a bitset where more than one entry in 32 has the value
//! ```
//! The order makes equality and prefix a binary search; contains is one scan of the text. The layout is the index.

use super::attribute::Matching;
use super::bitset::Bitset;
use super::fold;
use super::pattern::Pattern;
use crate::ldap::dn::Dn;
use memchr::memmem;
use std::cmp::Ordering;
use std::ops::Range;

/// The values of one attribute description.
#[derive(Debug)]
pub(super) struct Column {
    matching: Matching,
    text: Box<[u8]>,
    /// Where each value begins; one more for the end.
    starts: Box<[u32]>,
    /// Which value holds each octet whose place is a multiple of [`LANDMARK`]: a scan has its hit's value a few steps from there.
    landmarks: Box<[u32]>,
    /// Where the ids of each value begin in `ids`; one more for the end.
    postings: Box<[u32]>,
    ids: Box<[u32]>,
    /// Values that many entries have, in order; they have no ids.
    dense: Vec<(u32, Bitset)>,
    present: Bitset,
    integers: bool,
}

impl Column {
    /// The entries that have the attribute.
    pub(super) const fn present(&self) -> &Bitset {
        &self.present
    }

    /// How its values compare.
    pub(super) const fn matching(&self) -> Matching {
        self.matching
    }

    /// All values are integers, so they are in numerical order too.
    pub(super) const fn is_integers(&self) -> bool {
        self.integers
    }

    /// A column of some of the entries, whose values compare as all of the attribute's do.
    pub(super) fn part_of(self, whole: &Self) -> Self {
        Self { integers: whole.integers, ..self }
    }

    /// The octets that a scan reads.
    pub(super) const fn octets(&self) -> u64 {
        self.text.len() as u64
    }

    /// All octets that the column takes, for the bench.
    pub(super) fn footprint(&self) -> u64 {
        let words = self.starts.len() + self.landmarks.len() + self.postings.len() + self.ids.len();
        let dense = self.dense.iter().map(|(_, entries)| entries.octets()).sum::<u64>();
        self.octets() + words as u64 * 4 + dense + self.present.octets()
    }

    /// The values equal to `asserted`: one or none.
    pub(super) fn equal(&self, asserted: &[u8]) -> Range<usize> {
        let key = key(asserted, self.matching);
        let at = self.first(|value| value < key.as_slice());
        if self.matching != Matching::Opaque && at < self.len() && self.value(at) == key { at..at + 1 } else { at..at }
    }

    /// The values in `order` to `asserted`, or equal to it. `None`: they have no order, or `asserted` is none of them.
    pub(super) fn ordered(&self, order: Ordering, asserted: &[u8]) -> Option<Found> {
        match self.matching {
            Matching::Text if self.integers => {
                let bound = fold::integer(asserted.trim_ascii())?;
                Some(self.filter_integers(|number| number == bound || number.cmp(&bound) == order))
            }
            Matching::Text | Matching::Number => {
                let key = key(asserted, self.matching);
                let range = match order {
                    Ordering::Less => 0..self.first(|value| value <= key.as_slice()),
                    Ordering::Equal => self.equal(asserted),
                    Ordering::Greater => self.first(|value| value < key.as_slice())..self.len(),
                };
                Some(Found::Range(range))
            }
            Matching::Name | Matching::Octets | Matching::Opaque => None,
        }
    }

    /// The integers that pass; none where not all values are integers.
    pub(super) fn filter_integers(&self, pass: impl Fn(i64) -> bool) -> Found {
        let number = |index: &usize| fold::integer(self.value(*index).trim_ascii_end()).is_some_and(&pass);
        Found::Each(if self.integers { (0..self.len()).filter(number).collect() } else { Vec::new() })
    }

    /// The values that match a pattern. A prefix narrows by order, all else is one scan for the longest piece.
    pub(super) fn matches(&self, pattern: &Pattern) -> Found {
        if let Some(initial) = &pattern.initial {
            let from = self.first(|value| value < initial.as_slice());
            let end = self.first(|value| value < initial.as_slice() || value.starts_with(initial));
            if pattern.any.is_empty() && pattern.last.is_none() {
                return Found::Range(from..end);
            }
            return Found::Each((from..end).filter(|index| pattern.matches(self.window(*index))).collect());
        }
        let Some(longest) = pattern.any.iter().chain(&pattern.last).max_by_key(|piece| piece.len()) else {
            return Found::Range(0..self.len());
        };
        let mut found = self.scan(longest);
        if !pattern.is_contains() {
            found.retain(|index| pattern.matches(self.window(*index)));
        }
        Found::Each(found)
    }

    /// Adds the entries that have one of the values, and says how many octets that touched.
    pub(super) fn add_entries(&self, found: &Found, entries: &mut Bitset) -> u64 {
        let mut touched = 0;
        match found {
            Found::Range(range) => touched += self.add_listed(range.clone(), entries),
            Found::Each(values) => values.iter().for_each(|value| touched += self.add_listed(*value..value + 1, entries)),
        }
        for (_, others) in self.dense.iter().filter(|(value, _)| found.contains(*value as usize)) {
            entries.add_all(others);
            touched += others.octets();
        }
        touched
    }

    /// The entries of those values that have a list of ids.
    fn add_listed(&self, values: Range<usize>, entries: &mut Bitset) -> u64 {
        let (Some(&from), Some(&end)) = (self.postings.get(values.start), self.postings.get(values.end)) else { return 0 };
        let ids = self.ids.get(from as usize..end as usize).unwrap_or_default();
        for id in ids {
            entries.insert(*id);
        }
        ids.len() as u64 * 8
    }

    /// The values in which `piece` occurs, each once, in order.
    fn scan(&self, piece: &[u8]) -> Vec<usize> {
        let finder = memmem::Finder::new(piece);
        let mut values = Vec::new();
        let mut at = 0;
        while let Some(found) = self.text.get(at..).and_then(|rest| finder.find(rest)) {
            let begins = at + found;
            // The value whose window holds the beginning. A leading blank belongs to the value behind it: a window that holds the piece's
            // end as well is the right one, and no piece is a blank alone.
            let inside = begins + usize::from(piece.starts_with(b" "));
            let value = self.value_at(inside);
            let Some(&end) = self.starts.get(value + 1) else { break };
            if begins + piece.len() <= end as usize {
                values.push(value);
                // The blank behind this value is the one before the next.
                at = end as usize - 1;
            } else {
                at = begins + 1;
            }
        }
        values
    }

    /// The value that holds the octet at `position`.
    fn value_at(&self, position: usize) -> usize {
        let near = self.landmarks.get(position / LANDMARK).map_or(0, |value| *value as usize);
        let behind = self.starts.get(near + 1..).unwrap_or_default();
        near + behind.iter().take_while(|start| **start as usize <= position).count()
    }

    const fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// A value with the blank behind it.
    fn value(&self, index: usize) -> &[u8] {
        self.slice(index, 0)
    }

    /// A value with the blanks around it.
    fn window(&self, index: usize) -> &[u8] {
        self.slice(index, 1)
    }

    fn slice(&self, index: usize, before: u32) -> &[u8] {
        let (Some(&start), Some(&end)) = (self.starts.get(index), self.starts.get(index + 1)) else { return &[] };
        self.text.get((start - before) as usize..end as usize).unwrap_or_default()
    }

    /// The first value that is not `before`; all that are come first.
    fn first(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.value(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Values of a column, by their places.
#[derive(Debug)]
pub(super) enum Found {
    /// Neighbours.
    Range(Range<usize>),
    /// One by one, in order.
    Each(Vec<usize>),
}

impl Found {
    fn contains(&self, value: usize) -> bool {
        match self {
            Self::Range(range) => range.contains(&value),
            Self::Each(values) => values.binary_search(&value).is_ok(),
        }
    }

    /// How many.
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.end - range.start,
            Self::Each(values) => values.len(),
        }
    }
}

/// A value as it is kept and looked for: folded, with one blank behind it, so that order and prefix agree with the text.
pub(super) fn key(value: &[u8], matching: Matching) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 1);
    append_key(value, matching, &mut out);
    out
}

fn append_key(value: &[u8], matching: Matching, out: &mut Vec<u8>) {
    match matching {
        Matching::Text => fold::text(value, out),
        Matching::Number => fold::number(value, out),
        Matching::Octets => out.extend_from_slice(value),
        Matching::Name => match std::str::from_utf8(value).ok().and_then(|text| Dn::parse(text).ok()) {
            Some(dn) => out.extend_from_slice(dn.normalised().as_bytes()),
            None => fold::text(value, out),
        },
        Matching::Opaque => {}
    }
    out.push(b' ');
}

/// Gathers the values of one attribute.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    matching: Matching,
    text: Vec<u8>,
    items: Vec<Item>,
}

/// One value of one entry, while the column is gathered.
#[derive(Debug, Clone, Copy)]
struct Item {
    /// The first octets as a number, so that most comparisons stay out of the text.
    front: u64,
    start: u32,
    end: u32,
    id: u32,
}

/// More text than an offset of 32 bits reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ColumnFull;

impl ColumnBuilder {
    pub(super) const fn new(matching: Matching) -> Self {
        Self { matching, text: Vec::new(), items: Vec::new() }
    }

    /// Adds one value of the entry `id`.
    pub(super) fn push(&mut self, id: u32, value: &[u8]) -> Result<(), ColumnFull> {
        let start = self.text.len();
        append_key(value, self.matching, &mut self.text);
        let key = self.text.get(start..).unwrap_or_default();
        let mut front = [0; 8];
        for (to, from) in front.iter_mut().zip(key) {
            *to = *from;
        }
        // One octet is left for the blank before the first value.
        let end = u32::try_from(self.text.len() + 1).map_err(|_| ColumnFull)? - 1;
        let start = u32::try_from(start).map_err(|_| ColumnFull)?;
        self.items.push(Item { front: u64::from_be_bytes(front), start, end, id });
        Ok(())
    }

    /// What was gathered of the entries with ids below `end`.
    pub(super) fn below(&self, end: u32) -> Self {
        let items: Vec<_> = self.items.iter().take_while(|item| item.id < end).copied().collect();
        let length = items.last().map_or(0, |item| item.end as usize);
        Self { matching: self.matching, text: self.text.get(..length).unwrap_or_default().to_vec(), items }
    }

    /// Orders what was gathered, in a book of `size` entries.
    pub(super) fn finish(self, size: u32) -> Column {
        let Self { matching, text: gathered, mut items } = self;
        let key = |item: &Item| gathered.get(item.start as usize..item.end as usize).unwrap_or_default();
        items.sort_unstable_by(|a, b| {
            let by_key = a.front.cmp(&b.front).then_with(|| key(a).cmp(key(b)));
            by_key.then(a.id.cmp(&b.id))
        });
        let mut present = Bitset::nobody(size);
        let mut column = Laid { text: vec![b' '], ..Laid::default() };
        for same in items.chunk_by(|a, b| key(a) == key(b)) {
            let value = same.first().map(key).unwrap_or_default();
            column.add_value(value, same.iter().map(|item| item.id), size);
            same.iter().for_each(|item| present.insert(item.id));
        }
        column.finish(matching, present)
    }
}

/// A column while its values are laid out in order.
#[derive(Debug, Default)]
struct Laid {
    text: Vec<u8>,
    starts: Vec<u32>,
    postings: Vec<u32>,
    ids: Vec<u32>,
    dense: Vec<(u32, Bitset)>,
}

impl Laid {
    fn add_value(&mut self, value: &[u8], ids: impl Iterator<Item = u32>, size: u32) {
        self.starts.push(offset(self.text.len()));
        self.postings.push(offset(self.ids.len()));
        self.text.extend_from_slice(value);
        let first = self.ids.len();
        self.ids.extend(ids);
        let many = self.ids.len() - first;
        if many > DENSE_FROM && many > size as usize / 32 {
            let mut entries = Bitset::nobody(size);
            self.ids.drain(first..).for_each(|id| entries.insert(id));
            self.dense.push((offset(self.starts.len()) - 1, entries));
        }
    }

    fn finish(mut self, matching: Matching, present: Bitset) -> Column {
        self.starts.push(offset(self.text.len()));
        self.postings.push(offset(self.ids.len()));
        let mut column = Column {
            matching,
            landmarks: landmarks(&self.starts, self.text.len()),
            text: self.text.into_boxed_slice(),
            starts: self.starts.into_boxed_slice(),
            postings: self.postings.into_boxed_slice(),
            ids: self.ids.into_boxed_slice(),
            dense: self.dense,
            present,
            integers: false,
        };
        column.integers = matching == Matching::Text
            && column.len() > 0
            && (0..column.len()).all(|index| fold::integer(column.value(index).trim_ascii_end()).is_some());
        column
    }
}

/// For each place in a text of that length that is a multiple of [`LANDMARK`], the value that holds it.
fn landmarks(starts: &[u32], length: usize) -> Box<[u32]> {
    let mut ends = starts.iter().skip(1).peekable();
    let mut value = 0;
    let mut landmark = |place: usize| {
        while ends.next_if(|end| **end as usize <= place).is_some() {
            value += 1;
        }
        value
    };
    (0..length).step_by(LANDMARK).map(&mut landmark).collect()
}

/// Offsets fit: the builder has counted the text, and there is at most one value and one id for each of its octets.
fn offset(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Octets of text between two landmarks: about four values.
const LANDMARK: usize = 64;
/// A list of fewer ids than this is never worth a bitset.
const DENSE_FROM: usize = 64;
