//! The cache key: which searches mean the same.
//!
//! Every field of a request that can change its answer is in the key, and so is whose answer it is; timeLimit and paging are not. Each part
//! says its own length, so two searches have one key only if they are the same but for this:
//! - attribute names, and the base with the blanks around its separators, compare without ASCII case;
//! - the order of the attributes, and naming one twice, do not matter, unless one has an option: Samba knows `member;range=0-9` in that
//!   spelling only;
//! - assertion values compare without ASCII case where the attribute's matching rule is known to ignore case;
//! - any TRUE is TRUE, and any form of a length is that length, but within the filter.
//!
//! Two requests that a directory would answer alike may well have two keys; never the other way round.

mod filter;
mod read;

pub(crate) use filter::write_filter;
pub use read::Question;

use crate::ldap::ber::{BerError, Reader, tag};
use crate::ldap::message::{Scope, Search};
use crate::ldap::oid;
use std::cmp::Ordering;

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The access that allowed the search (index in the configuration).
    pub access: usize,
    /// The principal under whose name it runs, where it does not run under the service account: [`crate::identity::Identity::owner`].
    pub principal: Option<&'a str>,
}

/// Can the search be answered from the cache?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyed {
    /// The key was appended.
    Cacheable,
    /// A control that the key does not understand: what was appended is of no use.
    NotCacheable,
}

/// Appends the key of `search`: equal keys only for searches that mean the same to the same owner. No allocation beyond `out`'s growth.
///
/// `directory` is as [`crate::access::Grant::directory`]. `controls` are the contents of the client's controls element; paged results is
/// left out, since the whole answer is kept and paged downstream.
pub fn write_key(out: &mut Vec<u8>, owner: Owner<'_>, directory: Option<usize>, search: &Search<'_>, controls: Option<&[u8]>) -> Keyed {
    // A key is hardly longer than its request.
    out.reserve(search.op.len() + ROOM_FOR_OWNER);
    let mut writer = Writer { unfolded: out.len(), out };
    writer.owner(owner, directory);
    let scope = match search.scope {
        Scope::BaseObject => 0,
        Scope::SingleLevel => 1,
        Scope::WholeSubtree => 2,
    };
    writer.out.extend_from_slice(&[scope, search.deref_aliases, u8::from(search.types_only)]);
    writer.number(search.size_limit as usize);
    writer.base(search.base_object);
    let written = writer.attributes(search.attributes).and_then(|()| writer.controls(controls));
    writer.fold();
    match (written, write_filter(out, search.filter)) {
        (Ok(keyed), Ok(())) => keyed,
        _ => Keyed::NotCacheable,
    }
}

/// The same key where accesses and directories have other numbers, as the two say; `None` for one of them that has none, and where the answer is
/// a principal's own.
pub fn renumbered(key: &[u8], access: impl Fn(usize) -> Option<usize>, directory: impl Fn(usize) -> Option<usize>) -> Option<Box<[u8]>> {
    let (owner, rest) = read_number(key)?;
    let (place, rest) = read_number(rest)?;
    if rest.first() != Some(&NOBODYS_OWN) {
        return None;
    }
    let place = if place == usize::MAX { place } else { directory(place)? };
    let mut out = Vec::with_capacity(key.len() + ROOM_FOR_OWNER);
    let mut writer = Writer { unfolded: 0, out: &mut out };
    writer.number(access(owner)?);
    writer.number(place);
    out.extend_from_slice(rest);
    Some(out.into())
}

/// A number as [`Writer::number`] writes it, and what follows.
fn read_number(octets: &[u8]) -> Option<(usize, &[u8])> {
    let (mut number, mut shift) = (0, 0);
    for (index, octet) in octets.iter().enumerate() {
        let six = usize::from(octet & 0x3f);
        number |= six.checked_shl(shift).filter(|shifted| shifted >> shift == six)?;
        match octet & 0xc0 {
            0xc0 => shift += 6,
            0x80 => return Some((number, octets.get(index + 1..)?)),
            _ => return None,
        }
    }
    None
}

/// Writes the parts. What compares without case is written as it came and folded later, many parts at once; so everything else that is written
/// is no letter, or stands apart as [`Writer::exact`].
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// From here on nothing is folded yet.
    unfolded: usize,
}

impl Writer<'_> {
    fn owner(&mut self, owner: Owner<'_>, directory: Option<usize>) {
        self.number(owner.access);
        // No directory has this index: it would be the last octet of memory.
        self.number(directory.unwrap_or(usize::MAX));
        match owner.principal {
            None => self.out.push(NOBODYS_OWN),
            Some(principal) => {
                self.out.push(A_PRINCIPALS_OWN);
                self.exact(principal.as_bytes());
            }
        }
    }

    /// The base without ASCII case, and without the blanks that mean nothing: those around a comma, a plus sign, and the equals sign that ends an
    /// attribute type. A quoted string (RFC 1779) has other rules, and an octet in hex may make a value something else than text; a base with
    /// either is taken as it is.
    fn base(&mut self, base: &str) {
        // Without a short cut, so that it is done many octets at once.
        let is_plain = base.bytes().fold(true, |plain, octet| plain & !matches!(octet, b' ' | b'\\' | b'"'));
        if is_plain {
            self.out.extend_from_slice(base.as_bytes());
        } else if base.contains('"') || has_octet_in_hex(base.as_bytes()) {
            self.fold();
            self.out.extend_from_slice(base.as_bytes());
            self.unfolded = self.out.len();
        } else {
            fold_name(self.out, base.as_bytes());
        }
        self.out.push(NO_TEXT);
    }

    /// The attributes in one order, each once. More than fit the stack stay in theirs, and so do all where one has an option or is longer than
    /// any name.
    fn attributes(&mut self, attributes: &[u8]) -> Result<(), BerError> {
        if contains(attributes, OPTION) {
            return self.attributes_as_they_came(attributes);
        }
        let mut sorted = [const { Selected::NONE }; SORTED_ATTRIBUTES];
        let mut count = 0;
        let mut names = Reader::new(attributes);
        while !names.is_empty() {
            let before = names.rest();
            let name = names.contents(tag::OCTET_STRING)?;
            let element = before.get(..before.len() - names.rest().len()).unwrap_or_default();
            let is_short = name.len() <= LONGEST_NAME && element.len() == SHORT_HEADER + name.len();
            let Some(place) = sorted.get_mut(count).filter(|_| is_short) else { return self.attributes_as_they_came(attributes) };
            *place = Selected::new(name, element);
            count += 1;
        }
        let sorted = sorted.get_mut(..count).unwrap_or_default();
        sorted.sort_unstable_by(Selected::compare);
        let mut before: Option<&Selected<'_>> = None;
        for selected in &*sorted {
            if before.is_none_or(|before| before.compare(selected).is_ne()) {
                self.out.extend_from_slice(selected.element);
            }
            before = Some(selected);
        }
        self.out.push(END);
        Ok(())
    }

    fn attributes_as_they_came(&mut self, attributes: &[u8]) -> Result<(), BerError> {
        let mut names = Reader::new(attributes);
        while !names.is_empty() {
            let name = names.expect(tag::OCTET_STRING)?.content;
            self.out.push(A_SELECTED);
            if name.contains(&OPTION) { self.exact(name) } else { self.folded(name) }
        }
        self.out.push(END);
        Ok(())
    }

    /// The controls that change an answer, in their order.
    fn controls(&mut self, controls: Option<&[u8]>) -> Result<Keyed, BerError> {
        let mut controls = Reader::new(controls.unwrap_or_default());
        while !controls.is_empty() {
            let control = controls.expect(tag::SEQUENCE)?;
            match Reader::new(control.content).text(tag::OCTET_STRING)? {
                oid::PAGED_RESULTS => {}
                oid::MANAGE_DSA_IT | oid::DOMAIN_SCOPE => {
                    self.out.push(A_CONTROL);
                    self.exact(control.content);
                }
                _ => return Ok(Keyed::NotCacheable),
            }
        }
        self.out.push(END);
        Ok(Keyed::Cacheable)
    }

    fn folded(&mut self, octets: &[u8]) {
        self.number(octets.len());
        self.out.extend_from_slice(octets);
    }

    fn exact(&mut self, octets: &[u8]) {
        self.number(octets.len());
        self.fold();
        self.out.extend_from_slice(octets);
        self.unfolded = self.out.len();
    }

    /// A number in octets that are no letters: six bits each, lowest first, and whether more follow.
    fn number(&mut self, mut number: usize) {
        while number >= 0x40 {
            self.out.push(0xc0 | low_six(number));
            number >>= 6;
        }
        self.out.push(0x80 | low_six(number));
    }

    /// Folds what was not folded yet.
    fn fold(&mut self) {
        self.out.get_mut(self.unfolded..).unwrap_or_default().make_ascii_lowercase();
        self.unfolded = self.out.len();
    }
}

const fn low_six(number: usize) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low & 0x3f
}

fn has_octet_in_hex(name: &[u8]) -> bool {
    name.windows(2).any(|pair| matches!(pair, [b'\\', digit] if digit.is_ascii_hexdigit()))
}

fn fold_name(out: &mut Vec<u8>, name: &[u8]) {
    let mut in_type = true; // before the equals sign of an RDN
    let mut after_separator = true;
    let mut escaped = false;
    let mut blanks = 0; // held back until it is known what follows them
    for octet in name {
        let separates = !escaped && (matches!(octet, b',' | b'+') || (*octet == b'=' && in_type));
        if separates {
            in_type = *octet != b'=';
            after_separator = true;
            blanks = 0;
            out.push(*octet);
        } else if *octet == b' ' && !escaped {
            blanks += usize::from(!after_separator);
        } else {
            out.resize(out.len() + blanks, b' ');
            blanks = 0;
            after_separator = false;
            escaped = *octet == b'\\' && !escaped;
            out.push(octet.to_ascii_lowercase());
        }
    }
}

/// A selected attribute, with eight of its octets as a number that nearly always tells it from the others.
#[derive(Clone, Copy)]
struct Selected<'a> {
    front: u64,
    element: &'a [u8],
}

impl<'a> Selected<'a> {
    const NONE: Self = Self { front: 0, element: &[] };

    fn new(name: &'a [u8], element: &'a [u8]) -> Self {
        let front = match (name.first_chunk(), name.first_chunk(), name.last_chunk()) {
            (Some(front), ..) => u64::from_be_bytes(*front),
            (None, Some(front), Some(back)) => u64::from(u32::from_be_bytes(*front)) << 32 | u64::from(u32::from_be_bytes(*back)),
            _ => name.iter().fold(0, |front, &octet| front << 8 | u64::from(octet)),
        };
        // This bit is the case of a letter. What else it makes equal, the whole names tell apart.
        Self { front: front | 0x2020_2020_2020_2020, element }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let folded = |element: &'a [u8]| element.iter().map(u8::to_ascii_lowercase);
        self.front.cmp(&other.front).then_with(|| folded(self.element).cmp(other.element.iter().map(u8::to_ascii_lowercase)))
    }
}

/// Without a short cut, so that it is done many octets at once.
fn contains(octets: &[u8], wanted: u8) -> bool {
    octets.iter().fold(false, |any, &octet| any | (octet == wanted))
}

/// Opens an option of an attribute description (RFC 4512 section 2.5).
const OPTION: u8 = b';';
/// Closes a list; no choice, piece, attribute or control begins with it.
const END: u8 = 0;
/// Whose name a search runs under: the service account's, or that of the principal that follows.
const NOBODYS_OWN: u8 = 0;
const A_PRINCIPALS_OWN: u8 = 1;
/// Opens a control.
const A_CONTROL: u8 = 1;
/// Opens a selected attribute, where it is not sorted: then it stands there with the tag that it came with.
const A_SELECTED: u8 = 2;
/// Closes a text: UTF-8 never has this octet.
const NO_TEXT: u8 = 0xff;
/// How many attributes are sorted: no phone asks for more.
const SORTED_ATTRIBUTES: usize = 32;
/// Of an attribute that is sorted: its length is no letter.
const LONGEST_NAME: usize = 0x40;
/// Tag and length of a short element.
const SHORT_HEADER: usize = 2;
/// Octets of an owner without a principal, and of what stands around the request's parts.
const ROOM_FOR_OWNER: usize = 64;

#[cfg(test)]
mod tests;
