//! The cache key: which searches mean the same.
//!
//! Every field of a request that can change its answer is in the key, and so is whose answer it is; timeLimit and paging are not. Each part
//! says its own length, so two searches have one key only if they are the same but for this:
//! - attribute names, and the base with the blanks around its separators, compare without ASCII case;
//! - the order of the attributes, and naming one twice, do not matter, unless one has an option: Samba knows `member;range=0-9` in that
//!   spelling only;
//! - assertion values compare without ASCII case where the attribute's matching rule is known to ignore case;
//! - any TRUE is TRUE, and any form of a length is that length.
//!
//! Two requests that a directory would answer alike may well have two keys; never the other way round.

use crate::ldap::ber::{BerError, Element, Reader, tag};
use crate::ldap::filter::MAX_DEPTH;
use crate::ldap::message::{Scope, Search};
use crate::ldap::oid;

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
    write_owner(out, owner, directory);
    out.push(match search.scope {
        Scope::BaseObject => 0,
        Scope::SingleLevel => 1,
        Scope::WholeSubtree => 2,
    });
    out.push(search.deref_aliases);
    out.push(u8::from(search.types_only));
    out.extend_from_slice(&search.size_limit.to_be_bytes());
    write_base(out, search.base_object);
    write_attributes(out, search);
    match write_controls(out, controls).and_then(|keyed| write_filter(out, search.filter).map(|()| keyed)) {
        Ok(keyed) => keyed,
        Err(_) => Keyed::NotCacheable,
    }
}

fn write_owner(out: &mut Vec<u8>, owner: Owner<'_>, directory: Option<usize>) {
    out.extend_from_slice(&owner.access.to_be_bytes());
    // No directory has this index: it would be the last octet of memory.
    out.extend_from_slice(&directory.unwrap_or(usize::MAX).to_be_bytes());
    match owner.principal {
        None => out.push(0),
        Some(principal) => {
            out.push(1);
            write_exact(out, principal.as_bytes());
        }
    }
}

/// The base without ASCII case, and without the blanks that mean nothing: those around a comma, a plus sign, and the equals sign that ends an
/// attribute type. A quoted string (RFC 1779) has other rules, and an octet in hex may make a value something else than text; a base with
/// either is taken as it is.
fn write_base(out: &mut Vec<u8>, base: &str) {
    let length_at = out.len();
    write_length(out, 0);
    let start = out.len();
    if base.contains('"') || has_octet_in_hex(base.as_bytes()) {
        out.extend_from_slice(base.as_bytes());
    } else {
        fold_name(out, base.as_bytes());
    }
    let length = out.len() - start;
    if let Some(octets) = out.get_mut(length_at..start) {
        octets.copy_from_slice(&length_octets(length));
    }
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

/// The attributes in one order, each once. More than fit the stack stay in theirs, and so do all where one has an option.
fn write_attributes(out: &mut Vec<u8>, search: &Search<'_>) {
    if search.attributes.contains(&OPTION) {
        return write_attributes_as_they_came(out, search);
    }
    let mut sorted = [""; SORTED_ATTRIBUTES];
    let mut count = 0;
    for name in search.attribute_names() {
        let Some(taken) = sorted.get(..count) else { return write_attributes_as_they_came(out, search) };
        let Err(place) = taken.binary_search_by(|other| compare_folded(other, name)) else { continue };
        let Some(moved) = sorted.get_mut(place..=count) else { return write_attributes_as_they_came(out, search) };
        moved.rotate_right(1);
        if let Some(first) = moved.first_mut() {
            *first = name;
        }
        count += 1;
    }
    write_length(out, count);
    for name in sorted.iter().take(count) {
        write_folded(out, name.as_bytes());
    }
}

fn write_attributes_as_they_came(out: &mut Vec<u8>, search: &Search<'_>) {
    write_length(out, search.attribute_names().count());
    for name in search.attribute_names() {
        write_description(out, name.as_bytes());
    }
}

fn compare_folded(one: &str, other: &str) -> std::cmp::Ordering {
    one.bytes().map(|octet| octet.to_ascii_lowercase()).cmp(other.bytes().map(|octet| octet.to_ascii_lowercase()))
}

/// The controls that change an answer, in their order.
fn write_controls(out: &mut Vec<u8>, controls: Option<&[u8]>) -> Result<Keyed, BerError> {
    let mut controls = Reader::new(controls.unwrap_or_default());
    while !controls.is_empty() {
        let control = controls.expect(tag::SEQUENCE)?;
        match Reader::new(control.content).text(tag::OCTET_STRING)? {
            oid::PAGED_RESULTS => {}
            oid::MANAGE_DSA_IT | oid::DOMAIN_SCOPE => {
                out.push(A_CONTROL);
                write_exact(out, control.content);
            }
            _ => return Ok(Keyed::NotCacheable),
        }
    }
    out.push(END);
    Ok(Keyed::Cacheable)
}

/// The filter in its own order: phones send one template, so there is nothing to gain from sorting its branches.
fn write_filter(out: &mut Vec<u8>, filter: &[u8]) -> Result<(), BerError> {
    let mut reader = Reader::new(filter);
    let root = reader.element()?;
    reader.finish()?;
    write_node(out, root, MAX_DEPTH)
}

/// One node: its choice, then its parts. The branches of AND, OR and NOT end in [`END`], which is no choice.
fn write_node(out: &mut Vec<u8>, node: Element<'_>, deeper: usize) -> Result<(), BerError> {
    out.push(node.tag);
    let mut parts = Reader::new(node.content);
    match node.tag {
        choice::AND | choice::OR | choice::NOT => {
            let deeper = deeper.checked_sub(1).ok_or(BerError::TooDeep)?;
            while !parts.is_empty() {
                write_node(out, parts.element()?, deeper)?;
            }
            out.push(END);
        }
        choice::PRESENT => write_description(out, node.content),
        choice::EXTENSIBLE => write_extensible(out, parts)?,
        choice::SUBSTRINGS => {
            let ignores_case = write_attribute(out, parts.expect(tag::OCTET_STRING)?.content);
            let mut pieces = Reader::new(parts.expect(tag::SEQUENCE)?.content);
            while !pieces.is_empty() {
                let piece = pieces.element()?;
                out.push(piece.tag);
                write_value(out, piece.content, ignores_case);
            }
            out.push(END);
            parts.finish()?;
        }
        choice::EQUALITY | choice::GREATER_OR_EQUAL | choice::LESS_OR_EQUAL | choice::APPROX => {
            let ignores_case = write_attribute(out, parts.expect(tag::OCTET_STRING)?.content);
            write_value(out, parts.expect(tag::OCTET_STRING)?.content, ignores_case);
            parts.finish()?;
        }
        found => return Err(BerError::UnexpectedTag { expected: choice::AND, found }),
    }
    Ok(())
}

/// The value octet for octet: what a rule makes of it is the rule's affair.
fn write_extensible(out: &mut Vec<u8>, mut parts: Reader<'_>) -> Result<(), BerError> {
    while !parts.is_empty() {
        let part = parts.element()?;
        match part.tag {
            choice::DN_ATTRIBUTES if part.content == [0] => {} // the default, spelled out
            choice::DN_ATTRIBUTES => out.push(part.tag),
            choice::MATCHING_RULE | choice::TYPE => {
                out.push(part.tag);
                write_description(out, part.content);
            }
            _ => {
                out.push(part.tag);
                write_exact(out, part.content);
            }
        }
    }
    out.push(END);
    Ok(())
}

/// Appends an attribute description and says whether its values compare without case.
fn write_attribute(out: &mut Vec<u8>, attribute: &[u8]) -> bool {
    let start = out.len() + LENGTH_OCTETS;
    write_description(out, attribute);
    out.get(start..).is_some_and(ignores_case)
}

/// An attribute description: without case, but with options as it is.
fn write_description(out: &mut Vec<u8>, description: &[u8]) {
    if description.contains(&OPTION) { write_exact(out, description) } else { write_folded(out, description) }
}

fn write_value(out: &mut Vec<u8>, value: &[u8], ignores_case: bool) {
    if ignores_case { write_folded(out, value) } else { write_exact(out, value) }
}

fn write_folded(out: &mut Vec<u8>, octets: &[u8]) {
    write_length(out, octets.len());
    out.extend(octets.iter().map(u8::to_ascii_lowercase));
}

fn write_exact(out: &mut Vec<u8>, octets: &[u8]) {
    write_length(out, octets.len());
    out.extend_from_slice(octets);
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&length_octets(length));
}

/// A message, and so all that is in it, is far below 4 GiB (the largest length that BER is read with has four octets).
fn length_octets(length: usize) -> [u8; LENGTH_OCTETS] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Does equality of this attribute (lower case) ignore case wherever it is known? By RFC 4519, RFC 4524 and RFC 2798, and, for the names that
/// only Active Directory has, by its schema, where all of them are of the case-ignoring Unicode syntax. A description with options is
/// not on the list.
fn ignores_case(attribute: &[u8]) -> bool {
    matches!(
        attribute,
        b"c" | b"cn"
            | b"co"
            | b"company"
            | b"department"
            | b"departmentnumber"
            | b"description"
            | b"displayname"
            | b"employeenumber"
            | b"employeetype"
            | b"facsimiletelephonenumber"
            | b"givenname"
            | b"homephone"
            | b"initials"
            | b"l"
            | b"mail"
            | b"mobile"
            | b"name"
            | b"o"
            | b"objectclass"
            | b"othermobile"
            | b"othertelephone"
            | b"ou"
            | b"pager"
            | b"physicaldeliveryofficename"
            | b"postalcode"
            | b"roomnumber"
            | b"samaccountname"
            | b"sn"
            | b"st"
            | b"street"
            | b"telephonenumber"
            | b"title"
            | b"uid"
            | b"userprincipalname"
    )
}

/// The choices of a Filter and the parts of its items (RFC 4511 section 4.5.1).
mod choice {
    pub(super) const AND: u8 = 0xa0;
    pub(super) const OR: u8 = 0xa1;
    pub(super) const NOT: u8 = 0xa2;
    pub(super) const EQUALITY: u8 = 0xa3;
    pub(super) const SUBSTRINGS: u8 = 0xa4;
    pub(super) const GREATER_OR_EQUAL: u8 = 0xa5;
    pub(super) const LESS_OR_EQUAL: u8 = 0xa6;
    pub(super) const PRESENT: u8 = 0x87;
    pub(super) const APPROX: u8 = 0xa8;
    pub(super) const EXTENSIBLE: u8 = 0xa9;
    pub(super) const MATCHING_RULE: u8 = 0x81;
    pub(super) const TYPE: u8 = 0x82;
    pub(super) const DN_ATTRIBUTES: u8 = 0x84;
}

/// Opens an option of an attribute description (RFC 4512 section 2.5).
const OPTION: u8 = b';';
/// Closes a list; no choice, piece or control begins with it.
const END: u8 = 0;
/// Opens a control.
const A_CONTROL: u8 = 1;
/// How many attributes are sorted: no phone asks for more.
const SORTED_ATTRIBUTES: usize = 32;
/// Octets of a length within a key.
const LENGTH_OCTETS: usize = size_of::<u32>();

#[cfg(test)]
mod tests;
