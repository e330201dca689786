//! Builds a [`Store`] from entries: checks their names, puts them in order, encodes them, fills the columns.
//!
//! Every entry's parent must be there, down to the base entry: a phonebook with holes in its tree is a mistake in the file, and
//! a guess would hide it. An RDN's values are values of the entry too (RFC 4512 section 2.3.1) and are added where they are missing.
//! Passwords and the like are dropped here, so nothing later can leak them.

use super::attribute::{self, Description, Matching};
use super::column::{self, ColumnBuilder};
use super::fold;
use super::names::Names;
use super::store::{Attribute, Entry, Store};
use super::tree::Tree;
use crate::ldap::ber::{self, tag};
use crate::ldap::dn::{Dn, DnError};
use std::collections::{HashMap, HashSet, hash_map};
use thiserror::Error;

/// What is wrong with one of the entries of a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryError {
    /// Its place among the entries given, from 0.
    pub entry: usize,
    /// What.
    pub problem: EntryProblem,
}

/// Why an entry cannot be in a book, or the book cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryProblem {
    /// Its name is none.
    #[error("{0}")]
    BadName(#[from] DnError),
    /// It belongs to another naming context.
    #[error("the entry is not under the base `{base}`")]
    NotUnderBase {
        /// The book's base.
        base: String,
    },
    /// The name is taken.
    #[error("a second entry of this name")]
    Duplicate,
    /// The entry above it is missing.
    #[error("the entry above it is missing: `{parent}`")]
    NoParent {
        /// Which one.
        parent: String,
    },
    /// The base entry is missing.
    #[error("the entry of the base itself is missing: `{base}`")]
    NoBase {
        /// Which one.
        base: String,
    },
    /// Not a name or OID with options (RFC 4512 section 2.5).
    #[error("`{0}` is no attribute description")]
    BadAttribute(String),
    /// Over four GiB in one place, or over 65,535 attribute descriptions.
    #[error("the book is too large")]
    TooLarge,
}

impl Store {
    /// Builds the store of the naming context `base`, with columns of their own for the first `first` entries where there are more.
    pub(super) fn build(base: Dn, entries: &[Entry], first: u32) -> Result<Self, Vec<EntryError>> {
        let named = Named::check(&base, entries)?;
        let order = display_order(entries);
        let size = u32::try_from(entries.len()).map_err(|_| too_large(entries.len()))?;
        let first = if size > first { first } else { 0 };
        let mut builder = Builder::new(base.is_root());
        for index in &order {
            let Some(entry) = entries.get(*index) else { continue };
            builder.add(entry).map_err(|problem| vec![EntryError { entry: *index, problem }])?;
        }
        // Ids by the entries' places in the input.
        let mut ids = vec![0; entries.len()];
        for (id, index) in (0..).zip(&order) {
            if let Some(place) = ids.get_mut(*index) {
                *place = id;
            }
        }
        let in_order = |numbers: &[usize]| -> Vec<usize> { order.iter().filter_map(|index| numbers.get(*index).copied()).collect() };
        let parents = in_order(&named.parents).into_iter().filter_map(|index| ids.get(index).copied()).collect();
        let depths: Vec<usize> = named.names.iter().map(Dn::depth).collect();
        Ok(Self {
            tree: Tree::new(parents, &in_order(&depths)),
            names: Names::new(order.iter().filter_map(|index| named.names.get(*index))),
            base,
            size,
            first,
            octets: builder.octets.into_boxed_slice(),
            starts: builder.starts.into_boxed_slice(),
            kinds: builder.kinds.into_boxed_slice(),
            first_kinds: builder.first_kinds.into_boxed_slice(),
            attributes: builder.attributes.into_iter().map(|attribute| attribute.finish(size, first)).collect(),
            by_type: builder.by_type,
        })
    }
}

/// The entries' names, checked.
struct Named {
    names: Vec<Dn>,
    /// The place of each entry's parent; the base entry's is its own.
    parents: Vec<usize>,
}

impl Named {
    fn check(base: &Dn, entries: &[Entry]) -> Result<Self, Vec<EntryError>> {
        let mut errors = Vec::new();
        let mut names = Vec::with_capacity(entries.len());
        for (entry, given) in entries.iter().enumerate() {
            match Dn::parse(&given.dn) {
                Ok(name) if name.is_under(base) => names.push(name),
                Ok(_) => errors.push(EntryError { entry, problem: EntryProblem::NotUnderBase { base: base.normalised() } }),
                Err(why) => errors.push(EntryError { entry, problem: why.into() }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut places = HashMap::with_capacity(names.len());
        for (entry, name) in names.iter().enumerate() {
            match places.entry(name) {
                hash_map::Entry::Vacant(free) => _ = free.insert(entry),
                hash_map::Entry::Occupied(_) => errors.push(EntryError { entry, problem: EntryProblem::Duplicate }),
            }
        }
        if !places.contains_key(base) {
            return Err(vec![EntryError { entry: 0, problem: EntryProblem::NoBase { base: base.normalised() } }]);
        }
        let mut parents = Vec::with_capacity(names.len());
        for (entry, name) in names.iter().enumerate() {
            let parent = if name == base { name.clone() } else { name.parent().unwrap_or(Dn::ROOT) };
            match places.get(&parent) {
                Some(place) => parents.push(*place),
                None => errors.push(EntryError { entry, problem: EntryProblem::NoParent { parent: parent.normalised() } }),
            }
        }
        if errors.is_empty() { Ok(Self { names, parents }) } else { Err(errors) }
    }
}

/// The entries' places in the order in which people read them.
fn display_order(entries: &[Entry]) -> Vec<usize> {
    let shown = |entry: &Entry| {
        let (_, name) = entry.attributes.iter().find(|(kind, _)| attribute::best_name(kind).eq_ignore_ascii_case("cn"))?;
        let mut folded = Vec::new();
        fold::text(name, &mut folded);
        Some(folded)
    };
    let mut order: Vec<(Option<Vec<u8>>, usize)> = entries.iter().enumerate().map(|(index, entry)| (shown(entry), index)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index).collect()
}

fn too_large(entries: usize) -> Vec<EntryError> {
    vec![EntryError { entry: entries.saturating_sub(1), problem: EntryProblem::TooLarge }]
}

/// Takes entries in display order.
struct Builder {
    /// In the rootDSE nothing hides behind `+`.
    is_root: bool,
    octets: Vec<u8>,
    starts: Vec<u32>,
    kinds: Vec<u16>,
    first_kinds: Vec<u32>,
    attributes: Vec<Gathered>,
    by_type: HashMap<String, Vec<u16>>,
    numbers: HashMap<Description, u16>,
    /// Descriptions as they are spelled; `None` for what is not kept.
    spellings: HashMap<String, Option<u16>>,
}

/// One attribute while its column is gathered.
struct Gathered {
    description: Description,
    matching: Matching,
    /// As it is returned: the first spelling, under the best-known name.
    name: String,
    is_operational: bool,
    column: ColumnBuilder,
}

impl Gathered {
    fn finish(self, size: u32, first: u32) -> Attribute {
        let mut types_only = Vec::new();
        write_attribute(&mut types_only, &self.name, &[]);
        let first = self.column.below(first).finish(first);
        let column = self.column.finish(size);
        Attribute {
            description: self.description,
            is_operational: self.is_operational,
            types_only: types_only.into_boxed_slice(),
            first: first.part_of(&column),
            column,
        }
    }
}

impl Builder {
    fn new(is_root: bool) -> Self {
        Self {
            is_root,
            octets: Vec::new(),
            starts: vec![0],
            kinds: Vec::new(),
            first_kinds: vec![0],
            attributes: Vec::new(),
            // Known even where no entry names its class.
            by_type: HashMap::from([("objectclass".to_owned(), Vec::new())]),
            numbers: HashMap::new(),
            spellings: HashMap::new(),
        }
    }

    fn add(&mut self, entry: &Entry) -> Result<(), EntryProblem> {
        let id = length(self.starts.len() - 1)?;
        let rdn = Dn::rdn_of(&entry.dn)?;
        let mut values: Vec<(u16, Vec<&[u8]>)> = Vec::new();
        for (name, value) in &entry.attributes {
            if let Some(kind) = self.kind(name)? {
                add_value(&mut values, kind, value);
            }
        }
        for (name, value) in &rdn {
            if let Some(kind) = self.kind(name)?
                && !self.has_value(&values, kind, value.as_bytes())
            {
                add_value(&mut values, kind, value.as_bytes());
            }
        }
        ber::write_element(&mut self.octets, tag::OCTET_STRING, entry.dn.as_bytes());
        for (kind, values) in &mut values {
            keep_distinct(values);
            let Some(attribute) = self.attributes.get_mut(*kind as usize) else { continue };
            write_attribute(&mut self.octets, &attribute.name, values);
            self.kinds.push(*kind);
            for value in values {
                attribute.column.push(id, value).map_err(|_| EntryProblem::TooLarge)?;
            }
        }
        self.starts.push(length(self.octets.len())?);
        self.first_kinds.push(length(self.kinds.len())?);
        Ok(())
    }

    /// The number of an attribute description; `None` for one that is not kept.
    fn kind(&mut self, written: &str) -> Result<Option<u16>, EntryProblem> {
        if let Some(kind) = self.spellings.get(written) {
            return Ok(*kind);
        }
        if !attribute::is_well_formed(written) {
            return Err(EntryProblem::BadAttribute(written.to_owned()));
        }
        let description = Description::fold(written);
        let kind = if description.is_secret() { None } else { Some(self.number(description, written)?) };
        self.spellings.insert(written.to_owned(), kind);
        Ok(kind)
    }

    fn number(&mut self, description: Description, written: &str) -> Result<u16, EntryProblem> {
        if let Some(kind) = self.numbers.get(&description) {
            return Ok(*kind);
        }
        let kind = u16::try_from(self.attributes.len()).map_err(|_| EntryProblem::TooLarge)?;
        self.numbers.insert(description.clone(), kind);
        self.by_type.entry(description.kind.clone()).or_default().push(kind);
        let (kind_written, options) = written.split_at(written.find(';').unwrap_or(written.len()));
        let matching = description.matching();
        self.attributes.push(Gathered {
            is_operational: !self.is_root && description.is_operational(),
            description,
            matching,
            name: format!("{}{options}", attribute::best_name(kind_written)),
            column: ColumnBuilder::new(matching),
        });
        Ok(kind)
    }

    fn has_value(&self, values: &[(u16, Vec<&[u8]>)], kind: u16, value: &[u8]) -> bool {
        let Some(matching) = self.attributes.get(kind as usize).map(|attribute| attribute.matching) else { return false };
        let key = column::key(value, matching);
        let given = values.iter().find(|(other, _)| *other == kind);
        given.is_some_and(|(_, given)| given.iter().any(|other| column::key(other, matching) == key))
    }
}

fn add_value<'a>(values: &mut Vec<(u16, Vec<&'a [u8]>)>, kind: u16, value: &'a [u8]) {
    match values.iter_mut().find(|(other, _)| *other == kind) {
        Some((_, given)) => given.push(value),
        None => values.push((kind, vec![value])),
    }
}

/// A value that is there already is not there twice (RFC 4512 section 2.2). A group may have 100,000 members.
fn keep_distinct(values: &mut Vec<&[u8]>) {
    if values.len() > 1 {
        let mut seen = HashSet::with_capacity(values.len());
        values.retain(|value| seen.insert(*value));
    }
}

fn write_attribute(out: &mut Vec<u8>, name: &str, values: &[&[u8]]) {
    ber::write_constructed(out, tag::SEQUENCE, |out| {
        ber::write_element(out, tag::OCTET_STRING, name.as_bytes());
        ber::write_constructed(out, tag::SET, |out| {
            for value in values {
                ber::write_element(out, tag::OCTET_STRING, value);
            }
        });
    });
}

fn length(length: usize) -> Result<u32, EntryProblem> {
    u32::try_from(length).map_err(|_| EntryProblem::TooLarge)
}
