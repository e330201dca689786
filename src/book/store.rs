//! The phonebook itself: entries encoded as they are sent, and a [`Column`] for each attribute. Built once, never changed.
//!
//! An entry's id is its place in display order (folded `cn`; what has none, organizational units for one, comes first), so the first
//! fifty of an answer are the first fifty of the alphabet, and an answer copies forward through memory. Where the entries come
//! from is not known here: an LDIF file today, a directory's change feed later. See `build.rs` for how it comes to be.

use super::attribute::Description;
use super::bitset::Bitset;
use super::column::Column;
use super::names::Names;
use super::tree::Tree;
use crate::ldap::ber::Reader;
use crate::ldap::dn::Dn;
use crate::ldap::message::Scope;
use std::collections::HashMap;
use std::ops::Range;

/// One entry as it is put into a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its distinguished name, as it is to be returned.
    pub dn: String,
    /// Attribute descriptions and values, in order; an attribute of several values occurs several times.
    pub attributes: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// An entry without attributes.
    pub fn new(dn: impl Into<String>) -> Self {
        Self { dn: dn.into(), attributes: Vec::new() }
    }

    /// The same entry with one more value.
    #[must_use]
    pub fn with(mut self, attribute: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.attributes.push((attribute.into(), value.into()));
        self
    }
}

/// All entries of one naming context.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) base: Dn,
    pub(super) size: u32,
    /// How many entries [`Part::First`] has; none in a small book.
    pub(super) first: u32,
    /// For each entry its objectName and its PartialAttributes, all as they are sent.
    pub(super) octets: Box<[u8]>,
    /// Where each entry begins in `octets`; one more for the end.
    pub(super) starts: Box<[u32]>,
    /// The attribute of each PartialAttribute, entry after entry.
    pub(super) kinds: Box<[u16]>,
    /// Where each entry begins in `kinds`; one more for the end.
    pub(super) first_kinds: Box<[u32]>,
    pub(super) attributes: Vec<Attribute>,
    /// The attributes of each type, whatever their options.
    pub(super) by_type: HashMap<String, Vec<u16>>,
    pub(super) tree: Tree,
    pub(super) names: Names,
}

/// One attribute description that occurs in the book.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) description: Description,
    /// Returned only if asked for.
    pub(super) is_operational: bool,
    /// The PartialAttribute without values that typesOnly asks for.
    pub(super) types_only: Box<[u8]>,
    pub(super) column: Column,
    /// The same of the first entries alone.
    pub(super) first: Column,
}

/// Which entries are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All.
    Whole,
    /// The first ones in display order. Where more of them match than are wanted, the others need not be looked at.
    First,
}

impl Attribute {
    /// Its values.
    pub(super) const fn column(&self, part: Part) -> &Column {
        match part {
            Part::Whole => &self.column,
            Part::First => &self.first,
        }
    }
}

impl Store {
    /// How many entries.
    pub(super) const fn size(&self, part: Part) -> u32 {
        match part {
            Part::Whole => self.size,
            Part::First => self.first,
        }
    }

    /// The octets that the book takes, for the bench.
    pub(super) fn footprint(&self) -> u64 {
        let columns: u64 = self.attributes.iter().map(|attribute| attribute.column.footprint() + attribute.first.footprint()).sum();
        let offsets = (self.starts.len() + self.first_kinds.len()) * 4 + self.kinds.len() * 2;
        self.octets.len() as u64 + offsets as u64 + columns + self.tree.footprint() + self.names.footprint()
    }

    /// The octets of all columns: what one scan of everything reads.
    pub(super) fn column_octets(&self) -> u64 {
        self.attributes.iter().map(|attribute| attribute.column.octets()).sum()
    }

    /// The attributes that answer to a description. `None`: no entry has that type.
    pub(super) fn attributes_of(&self, asked: &Description) -> Option<impl Iterator<Item = (u16, &Attribute)>> {
        let same_type = self.by_type.get(&asked.kind)?;
        let known = same_type.iter().filter_map(|kind| Some((*kind, self.attributes.get(*kind as usize)?)));
        Some(known.filter(|(_, attribute)| asked.covers(&attribute.description)))
    }

    /// The entry of that name.
    pub(super) fn find(&self, name: &Dn) -> Option<u32> {
        self.names.candidates(name).find(|id| self.name(*id).and_then(|text| Dn::parse(text).ok()).as_ref() == Some(name))
    }

    /// The entry's name as it is returned.
    pub(super) fn name(&self, id: u32) -> Option<&str> {
        let object_name = Reader::new(self.encoded(id)).element().ok()?;
        std::str::from_utf8(object_name.content).ok()
    }

    /// The entry's objectName and PartialAttributes.
    pub(super) fn encoded(&self, id: u32) -> &[u8] {
        slice(&self.octets, &self.starts, id)
    }

    /// Which attributes the entry has, in the order of its PartialAttributes.
    pub(super) fn kinds(&self, id: u32) -> &[u16] {
        slice(&self.kinds, &self.first_kinds, id)
    }

    /// The values of one attribute of an entry, as they were given.
    pub(super) fn values(&self, id: u32, kind: u16) -> impl Iterator<Item = &[u8]> {
        let mut attributes = Reader::new(self.encoded(id));
        let _object_name = attributes.element();
        let mut found = Reader::new(&[]);
        for other in self.kinds(id) {
            let Ok(attribute) = attributes.element() else { break };
            if *other == kind {
                let mut parts = Reader::new(attribute.content);
                let _type = parts.element();
                found = parts.element().map_or(found, |values| Reader::new(values.content));
                break;
            }
        }
        std::iter::from_fn(move || found.element().ok().map(|value| value.content))
    }

    /// The entries within a scope.
    pub(super) fn within(&self, base: u32, scope: Scope) -> Within {
        match scope {
            Scope::BaseObject => Within::Entry(base),
            Scope::SingleLevel => Within::ChildrenOf(base),
            Scope::WholeSubtree => {
                let places = self.tree.subtree(base);
                if places.len() == self.size as usize { Within::Everything } else { Within::Places(places) }
            }
        }
    }

    /// The first entry of the set within a scope that is not before `from`.
    pub(super) fn next_within(&self, entries: &Bitset, within: &Within, from: u32) -> Option<u32> {
        let mut id = from;
        if let Within::Entry(only) = within {
            return Some(*only).filter(|only| *only >= from && entries.contains(*only));
        }
        loop {
            id = entries.next_from(id)?;
            if self.is_within(id, within) {
                return Some(id);
            }
            id += 1;
        }
    }

    fn is_within(&self, id: u32, within: &Within) -> bool {
        match within {
            Within::Everything => true,
            Within::Entry(only) => id == *only,
            Within::ChildrenOf(parent) => self.tree.is_child(id, *parent),
            Within::Places(places) => places.contains(&self.tree.place(id)),
        }
    }
}

/// A base and a scope, resolved.
#[derive(Debug, Clone)]
pub(super) enum Within {
    Everything,
    Entry(u32),
    ChildrenOf(u32),
    Places(Range<u32>),
}

fn slice<'a, T>(all: &'a [T], starts: &[u32], id: u32) -> &'a [T] {
    let id = id as usize;
    let (Some(&start), Some(&end)) = (starts.get(id), starts.get(id + 1)) else { return &[] };
    all.get(start as usize..end as usize).unwrap_or_default()
}
