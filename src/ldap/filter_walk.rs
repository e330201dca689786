//! One walk over the octets of a filter: proves that they follow the grammar (RFC 4511 section 4.5.1.7) and the bounds, and shows a
//! [`Visitor`] what it comes by.
//!
//! There is no other reading of that grammar from octets that are not proved yet: what is accepted of a client, and what has a key in the
//! cache, is the same.

use super::ber::{self, BerError, Element, Reader, tag};
use super::filter::{FilterError, MAX_DEPTH, MAX_NODES};

/// Sees the parts of a filter in their order, each as it stands among the octets. What is shown before an error was met is of no use.
pub(crate) trait Visitor {
    /// The tag and the length of the element that comes next, unless the length is a single octet below the letters.
    fn header(&mut self, header: &[u8]);
    /// An attribute description, or the name of a matching rule.
    fn description(&mut self, description: &[u8]);
    /// A value that is asserted of that attribute, or a piece of one.
    fn value(&mut self, attribute: &[u8], value: &[u8]);
    /// An element for a matching rule, with its tag and length.
    fn rules_own(&mut self, element: &[u8]);
}

/// Wants nothing but the proof.
impl Visitor for () {
    fn header(&mut self, _: &[u8]) {}
    fn description(&mut self, _: &[u8]) {}
    fn value(&mut self, _: &[u8], _: &[u8]) {}
    fn rules_own(&mut self, _: &[u8]) {}
}

/// Walks over `octets`, which must be one filter and nothing behind it. Without allocation.
///
/// # Errors
/// The first violation met.
pub(crate) fn walk(octets: &[u8], visitor: &mut impl Visitor) -> Result<(), FilterError> {
    Walk { nodes_left: MAX_NODES, visitor }.one(octets, MAX_DEPTH)
}

struct Walk<'a, V> {
    nodes_left: usize,
    visitor: &'a mut V,
}

impl<V: Visitor> Walk<'_, V> {
    /// Exactly one node.
    fn one(&mut self, octets: &[u8], deeper: usize) -> Result<(), FilterError> {
        let mut reader = Reader::new(octets);
        self.node(&mut reader, deeper)?;
        Ok(reader.finish()?)
    }

    /// A run of nodes, as many as there are.
    fn run(&mut self, octets: &[u8], deeper: usize) -> Result<(), FilterError> {
        let mut reader = Reader::new(octets);
        while !reader.is_empty() {
            self.node(&mut reader, deeper)?;
        }
        Ok(())
    }

    /// The next node, and all that is in it: operators, `deeper` of them within each other.
    #[inline(always)]
    fn node(&mut self, reader: &mut Reader<'_>, deeper: usize) -> Result<(), FilterError> {
        let (choice, content) = element(reader, self.visitor)?;
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(FilterError::TooManyNodes)?;
        match choice {
            AND | OR => self.run(content, deeper.checked_sub(1).ok_or(FilterError::TooDeep)?),
            NOT => self.one(content, deeper.checked_sub(1).ok_or(FilterError::TooDeep)?),
            _ => item(choice, content, self.visitor),
        }
    }
}

/// A leaf.
#[inline]
fn item(choice: u8, content: &[u8], visitor: &mut impl Visitor) -> Result<(), FilterError> {
    let mut fields = Reader::new(content);
    match choice {
        PRESENT => description(content, visitor),
        SUBSTRINGS => {
            let attribute = attribute(&mut fields, visitor)?;
            let pieces_ = contents(&mut fields, tag::SEQUENCE, visitor)?;
            fields.finish()?;
            pieces(attribute, pieces_, visitor)
        }
        EQUALITY | GREATER_OR_EQUAL | LESS_OR_EQUAL | APPROX => {
            let attribute = attribute(&mut fields, visitor)?;
            let value = contents(&mut fields, tag::OCTET_STRING, visitor)?;
            visitor.value(attribute, value);
            Ok(fields.finish()?)
        }
        EXTENSIBLE => extensible(fields, visitor),
        other => Err(FilterError::UnknownChoice(other)),
    }
}

/// At least one piece, none empty, `initial` only as the first and `final` only as the last.
#[inline(always)]
fn pieces(attribute: &[u8], content: &[u8], visitor: &mut impl Visitor) -> Result<(), FilterError> {
    if content.is_empty() {
        return Err(FilterError::BadItem);
    }
    let mut pieces = Reader::new(content);
    let mut is_first = true;
    while !pieces.is_empty() {
        let (choice, piece) = element(&mut pieces, visitor)?;
        let in_order = match choice {
            INITIAL => is_first,
            ANY => true,
            FINAL => pieces.is_empty(),
            _ => false,
        };
        if !in_order || piece.is_empty() {
            return Err(FilterError::BadItem);
        }
        visitor.value(attribute, piece);
        is_first = false;
    }
    Ok(())
}

fn extensible(mut fields: Reader<'_>, visitor: &mut impl Visitor) -> Result<(), FilterError> {
    let mut names = 0;
    for tag in [MATCHING_RULE, MATCH_TYPE] {
        if fields.peek_tag() == Some(tag) {
            let (_, name) = element(&mut fields, visitor)?;
            description(name, visitor)?;
            names += 1;
        }
    }
    visitor.rules_own(fields.expect(MATCH_VALUE)?.raw);
    let dn_attributes = fields.rest();
    if !fields.is_empty() {
        fields.boolean(DN_ATTRIBUTES)?;
    }
    fields.finish()?;
    visitor.rules_own(dn_attributes);
    if names == 0 { Err(FilterError::BadItem) } else { Ok(()) }
}

/// The attribute at the front of an item.
#[inline(always)]
fn attribute<'a>(fields: &mut Reader<'a>, visitor: &mut impl Visitor) -> Result<&'a [u8], FilterError> {
    let attribute = contents(fields, tag::OCTET_STRING, visitor)?;
    description(attribute, visitor)?;
    Ok(attribute)
}

#[inline(always)]
fn description(octets: &[u8], visitor: &mut impl Visitor) -> Result<(), FilterError> {
    ber::check_text(octets)?;
    visitor.description(octets);
    Ok(())
}

/// [`Reader::tagged`], with its header shown where that is not a plain one.
#[inline]
fn element<'a>(reader: &mut Reader<'a>, visitor: &mut impl Visitor) -> Result<(u8, &'a [u8]), BerError> {
    match reader.short(LONGEST_PLAIN) {
        Some(plain) => Ok(plain),
        None => {
            let element;
            (element, *reader) = any_element(*reader, visitor)?;
            Ok((element.tag, element.content))
        }
    }
}

// Out of line, so that the plain one is small wherever it is read.
#[inline(never)]
fn any_element<'a>(mut reader: Reader<'a>, visitor: &mut impl Visitor) -> Result<(Element<'a>, Reader<'a>), BerError> {
    let element = reader.element()?;
    visitor.header(element.raw.get(..element.raw.len() - element.content.len()).unwrap_or_default());
    Ok((element, reader))
}

/// [`Reader::contents`], with its header shown.
#[inline]
fn contents<'a>(reader: &mut Reader<'a>, tag: u8, visitor: &mut impl Visitor) -> Result<&'a [u8], BerError> {
    if reader.peek_tag() == Some(tag) { Ok(element(reader, visitor)?.1) } else { reader.contents(tag) }
}

/// The longest length that is an octet below the letters.
const LONGEST_PLAIN: u8 = b'A' - 1;

// The choices of a Filter.
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

// The pieces of a substrings item.
pub(super) const INITIAL: u8 = 0x80;
pub(super) const ANY: u8 = 0x81;
pub(super) const FINAL: u8 = 0x82;

// The components of an extensible match.
pub(super) const MATCHING_RULE: u8 = 0x81;
pub(super) const MATCH_TYPE: u8 = 0x82;
pub(super) const MATCH_VALUE: u8 = 0x83;
pub(super) const DN_ATTRIBUTES: u8 = 0x84;
