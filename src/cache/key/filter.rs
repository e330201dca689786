//! A filter as a key has it: as it came, folded as a whole, and with what must not be folded put back.
//!
//! In its own order: phones send one template, so there is nothing to gain from sorting its branches.

use super::OPTION;
use crate::ldap::filter::FilterError;
use crate::ldap::filter_walk::{Visitor, walk};
use std::ops::Range;

/// Appends `filter`, in as many octets.
///
/// # Errors
/// It is no filter, as [`walk`] says, and what was appended is of no use.
pub(crate) fn write_filter(out: &mut Vec<u8>, filter: &[u8]) -> Result<(), FilterError> {
    let start = out.len();
    out.extend_from_slice(filter);
    let has_options = fold(out, start);
    let folded = out.get_mut(start..).unwrap_or_default();
    walk(filter, &mut Folded { original: filter, folded, has_options })
}

/// Folds what stands behind `start`; says whether there is an [`OPTION`] among it.
fn fold(out: &mut Vec<u8>, start: usize) -> bool {
    let end = out.len();
    // Whole blocks only, each of which is folded at once.
    out.extend_from_slice(&[0; BLOCK]);
    let mut options = [0; BLOCK];
    for block in out.get_mut(start..).unwrap_or_default().as_chunks_mut::<BLOCK>().0 {
        for (octet, option) in block.iter_mut().zip(&mut options) {
            *option |= u8::from(*octet == OPTION);
            octet.make_ascii_lowercase();
        }
    }
    out.truncate(end);
    options != [0; BLOCK]
}

/// A filter that was folded as a whole.
struct Folded<'a> {
    original: &'a [u8],
    folded: &'a mut [u8],
    /// Somewhere in it is a semicolon.
    has_options: bool,
}

impl Visitor for Folded<'_> {
    /// The tag is no letter; the length must not be taken for one.
    #[inline]
    fn header(&mut self, header: &[u8]) {
        self.put_back(header);
    }

    /// Without case, but with options as it is.
    #[inline]
    fn description(&mut self, description: &[u8]) {
        if self.has_options && description.contains(&OPTION) {
            self.put_back(description);
        }
    }

    #[inline]
    fn value(&mut self, attribute: &[u8], value: &[u8]) {
        if !self.folded.get(self.place(attribute)).is_some_and(ignores_case) {
            self.put_back(value);
        }
    }

    /// What a rule makes of a value is the rule's affair.
    fn rules_own(&mut self, element: &[u8]) {
        self.put_back(element);
    }
}

impl Folded<'_> {
    #[inline(never)]
    fn put_back(&mut self, part: &[u8]) {
        let place = self.place(part);
        if let Some(place) = self.folded.get_mut(place) {
            place.copy_from_slice(part);
        }
    }

    /// Where a part of the original stands in it, told by its place in memory.
    #[inline]
    fn place(&self, part: &[u8]) -> Range<usize> {
        let start = part.as_ptr().addr().wrapping_sub(self.original.as_ptr().addr());
        start..start.wrapping_add(part.len())
    }
}

/// Does equality of this attribute, in small letters, ignore case wherever it is known? By RFC 4519, RFC 4524 and RFC 2798, and, for the
/// names that only Active Directory has, by its schema, where all of them are of the case-ignoring Unicode syntax. A description with options
/// is not on the list.
fn ignores_case(attribute: &[u8]) -> bool {
    match attribute.len() {
        1 => matches!(attribute, b"c" | b"l" | b"o"),
        2 => matches!(attribute, b"cn" | b"co" | b"sn" | b"ou" | b"st"),
        3 => matches!(attribute, b"uid"),
        4 => matches!(attribute, b"mail" | b"name"),
        5 => matches!(attribute, b"pager" | b"title"),
        6 => matches!(attribute, b"mobile" | b"street"),
        7 => matches!(attribute, b"company"),
        8 => matches!(attribute, b"initials"),
        9 => matches!(attribute, b"givenname" | b"homephone"),
        10 => matches!(attribute, b"department" | b"postalcode" | b"roomnumber"),
        11 => matches!(attribute, b"description" | b"displayname" | b"objectclass" | b"othermobile"),
        12 => matches!(attribute, b"employeetype"),
        14 => matches!(attribute, b"employeenumber" | b"othertelephone" | b"samaccountname"),
        15 => matches!(attribute, b"telephonenumber"),
        16 => matches!(attribute, b"departmentnumber"),
        17 => matches!(attribute, b"userprincipalname"),
        24 => matches!(attribute, b"facsimiletelephonenumber"),
        26 => matches!(attribute, b"physicaldeliveryofficename"),
        _ => false,
    }
}

/// Octets that a processor folds in a few instructions.
const BLOCK: usize = 16;
