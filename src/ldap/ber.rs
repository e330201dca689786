//! Basic Encoding Rules as LDAP narrows them (RFC 4511 section 5.1): definite lengths, one tag octet, primitive strings.
//!
//! [`Reader`] walks the elements of a slice without copying; [`check_tree`] proves once that every length and tag of a whole
//! tree fits, within bounds, without recursion; the `write_*` functions append canonical elements. Lengths need not be
//! minimal on input, since Active Directory writes the four-octet form (`84 00 00 00 xx`); they always are on output.

use thiserror::Error;

/// Universal and context tags that this protocol uses.
pub mod tag {
    /// BOOLEAN.
    pub const BOOLEAN: u8 = 0x01;
    /// INTEGER.
    pub const INTEGER: u8 = 0x02;
    /// OCTET STRING.
    pub const OCTET_STRING: u8 = 0x04;
    /// ENUMERATED.
    pub const ENUMERATED: u8 = 0x0a;
    /// SEQUENCE and SEQUENCE OF.
    pub const SEQUENCE: u8 = 0x30;
    /// SET and SET OF.
    pub const SET: u8 = 0x31;
}

/// The deepest nesting of elements that [`check_tree`] lets pass.
pub const MAX_DEPTH: usize = 128;
/// maxInt of RFC 4511 section 4.1.1: the largest messageID, limit or result code.
pub const MAX_INT: u32 = i32::MAX as u32;

/// What is wrong with a run of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BerError {
    /// An element ends after the octets do, or is not there at all.
    #[error("an element is cut short or missing")]
    Truncated,
    /// Tag numbers above 30 do not occur in LDAP.
    #[error("a tag of more than one octet")]
    HighTag,
    /// The indefinite form is forbidden by RFC 4511 section 5.1.
    #[error("an indefinite length")]
    IndefiniteLength,
    /// More than four length octets.
    #[error("a length of more than four octets")]
    LengthTooLong,
    /// Another element was required here.
    #[error("expected tag {expected:#04x}, found {found:#04x}")]
    UnexpectedTag {
        /// The tag that the grammar asks for.
        expected: u8,
        /// The tag that came.
        found: u8,
    },
    /// Octets are left over where the grammar has ended.
    #[error("octets follow where none may")]
    TrailingOctets,
    /// An INTEGER or ENUMERATED is empty, too large or out of its range.
    #[error("an integer out of range")]
    IntegerRange,
    /// A BOOLEAN is not exactly one octet.
    #[error("a boolean that is not one octet")]
    BooleanLength,
    /// Text that is not UTF-8 where RFC 4511 asks for an LDAPString.
    #[error("text that is not UTF-8")]
    NotUtf8,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More elements in a list than its bound allows.
    #[error("more elements than allowed")]
    TooMany,
}

/// One element, borrowed from the octets it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// The identifier octet.
    pub tag: u8,
    /// The contents octets.
    pub content: &'a [u8],
    /// Identifier, length and contents as they came.
    pub raw: &'a [u8],
}

impl<'a> Element<'a> {
    /// The contents as a non-negative integer of at most `max`, in one to four octets.
    ///
    /// Leading zero octets are let pass within those four: some encoders write every integer in four.
    ///
    /// # Errors
    /// [`BerError::IntegerRange`].
    #[inline]
    pub fn integer(&self, max: u32) -> Result<u32, BerError> {
        integer(self.content, max)
    }

    /// The contents as UTF-8.
    ///
    /// # Errors
    /// [`BerError::NotUtf8`].
    #[inline]
    pub fn text(&self) -> Result<&'a str, BerError> {
        std::str::from_utf8(self.content).map_err(|_| BerError::NotUtf8)
    }

    /// The contents are UTF-8.
    ///
    /// # Errors
    /// [`BerError::NotUtf8`].
    #[inline]
    pub fn check_text(&self) -> Result<(), BerError> {
        check_text(self.content)
    }
}

/// Walks the elements of a slice from front to back.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// Nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The tag of the next element, if there is one.
    pub fn peek_tag(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element, whatever its tag.
    ///
    /// # Errors
    /// When it is malformed or ends after the slice.
    #[inline]
    pub fn element(&mut self) -> Result<Element<'a>, BerError> {
        let [tag, first, behind @ ..] = self.rest else { return Err(BerError::Truncated) };
        let (header, length) = read_header(*tag, *first, behind)?;
        let (raw, rest) = self.rest.split_at_checked(header.saturating_add(length)).ok_or(BerError::Truncated)?;
        self.rest = rest;
        Ok(Element { tag: *tag, content: raw.get(header..).unwrap_or_default(), raw })
    }

    /// The tag and the contents of the next element: [`Reader::element`] for whoever needs no more, several times faster for the short form of
    /// the length, in which nearly all elements of a request come.
    ///
    /// # Errors
    /// As [`Reader::element`].
    #[inline]
    pub fn tagged(&mut self) -> Result<(u8, &'a [u8]), BerError> {
        if let Some(short) = self.short(SHORT_FORM) {
            return Ok(short);
        }
        let (element, behind) = any_element(*self)?;
        *self = behind;
        Ok((element.tag, element.content))
    }

    /// The same where the element is well-formed and its length, in one octet, is at most `most`; else nothing is read.
    #[inline]
    pub(super) fn short(&mut self, most: u8) -> Option<(u8, &'a [u8])> {
        let [tag, length, behind @ ..] = self.rest else { return None };
        if *length > most.min(SHORT_FORM) || tag & HIGH_TAG == HIGH_TAG {
            return None;
        }
        let (contents, rest) = behind.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some((*tag, contents))
    }

    /// The contents of the next element, which must carry `tag`: as [`Reader::tagged`].
    ///
    /// # Errors
    /// As [`Reader::expect`].
    #[inline]
    pub fn contents(&mut self, tag: u8) -> Result<&'a [u8], BerError> {
        if self.peek_tag() == Some(tag) { Ok(self.tagged()?.1) } else { Err(self.unexpected(tag)) }
    }

    #[cold]
    fn unexpected(&self, expected: u8) -> BerError {
        self.peek_tag().map_or(BerError::Truncated, |found| BerError::UnexpectedTag { expected, found })
    }

    /// The next element, which must carry `tag`.
    ///
    /// # Errors
    /// As [`Reader::element`], and when the tag differs.
    #[inline]
    pub fn expect(&mut self, tag: u8) -> Result<Element<'a>, BerError> {
        if self.peek_tag() == Some(tag) { self.element() } else { Err(self.unexpected(tag)) }
    }

    /// The next element if it carries `tag`, else nothing is read.
    ///
    /// # Errors
    /// As [`Reader::element`].
    #[inline]
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, BerError> {
        if self.peek_tag() == Some(tag) { self.element().map(Some) } else { Ok(None) }
    }

    /// The next element as a non-negative INTEGER (or ENUMERATED: pass the tag) of at most `max`.
    ///
    /// # Errors
    /// As [`Reader::expect`], and [`BerError::IntegerRange`].
    #[inline]
    pub fn integer(&mut self, tag: u8, max: u32) -> Result<u32, BerError> {
        integer(self.contents(tag)?, max)
    }

    /// The next element as a BOOLEAN under `tag`; any non-zero octet is TRUE on input.
    ///
    /// # Errors
    /// As [`Reader::expect`], and [`BerError::BooleanLength`].
    #[inline]
    pub fn boolean(&mut self, tag: u8) -> Result<bool, BerError> {
        match self.contents(tag)? {
            [octet] => Ok(*octet != 0),
            _ => Err(BerError::BooleanLength),
        }
    }

    /// The next element as UTF-8 text under `tag` (LDAPString, LDAPDN, AttributeDescription).
    ///
    /// # Errors
    /// As [`Reader::expect`], and [`BerError::NotUtf8`].
    #[inline]
    pub fn text(&mut self, tag: u8) -> Result<&'a str, BerError> {
        self.expect(tag)?.text()
    }

    /// Passes over the next element, which must be UTF-8 under `tag`: [`Reader::text`] for whoever needs no `str`, several times
    /// faster for the short ASCII that names are.
    ///
    /// # Errors
    /// As [`Reader::text`].
    #[inline]
    pub fn check_text(&mut self, tag: u8) -> Result<(), BerError> {
        check_text(self.contents(tag)?)
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// [`BerError::TrailingOctets`].
    pub const fn finish(&self) -> Result<(), BerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(BerError::TrailingOctets) }
    }
}

/// [`Reader::element`], and the reader behind it. Out of line, so that the short form is small wherever it is read; and by value, so that a
/// reader stays in registers there.
#[inline(never)]
fn any_element(mut reader: Reader<'_>) -> Result<(Element<'_>, Reader<'_>), BerError> {
    Ok((reader.element()?, reader))
}

/// See [`Element::integer`].
#[inline]
fn integer(content: &[u8], max: u32) -> Result<u32, BerError> {
    let value = match *content {
        [a] => u32::from(a),
        [a, b] => u32::from_be_bytes([0, 0, a, b]),
        [a, b, c] => u32::from_be_bytes([0, a, b, c]),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]),
        _ => return Err(BerError::IntegerRange),
    };
    let negative = content.first().is_some_and(|first| first & 0x80 != 0);
    if negative || value > max { Err(BerError::IntegerRange) } else { Ok(value) }
}

/// See [`Element::check_text`].
#[inline]
pub(super) fn check_text(content: &[u8]) -> Result<(), BerError> {
    if is_ascii(content) || std::str::from_utf8(content).is_ok() { Ok(()) } else { Err(BerError::NotUtf8) }
}

/// Most names have 4 to 16 letters: two words, which may overlap, say it of all of them.
fn is_ascii(octets: &[u8]) -> bool {
    if octets.len() > 16 {
        is_long_ascii(octets)
    } else if let (Some(front), Some(back)) = (octets.first_chunk(), octets.last_chunk()) {
        (u64::from_ne_bytes(*front) | u64::from_ne_bytes(*back)) & 0x8080_8080_8080_8080 == 0
    } else if let (Some(front), Some(back)) = (octets.first_chunk(), octets.last_chunk()) {
        (u32::from_ne_bytes(*front) | u32::from_ne_bytes(*back)) & 0x8080_8080 == 0
    } else {
        octets.iter().fold(0, |all, octet| all | octet) & 0x80 == 0
    }
}

// Out of line, so that the short ones are quickly passed wherever they are.
#[inline(never)]
const fn is_long_ascii(octets: &[u8]) -> bool {
    octets.is_ascii()
}

/// Proves that `octets` is a run of whole elements, and so are the contents of each constructed one, down to the leaves.
/// Iterative: the stack does not grow with the input.
///
/// # Errors
/// The first violation met, or [`BerError::TooDeep`].
pub fn check_tree(octets: &[u8]) -> Result<(), BerError> {
    let mut around = Around { ends: [0; MAX_DEPTH], depth: 0 };
    // Where the next element begins, and where the one that it is part of ends.
    let (mut at, mut end) = (0, octets.len());
    loop {
        while at == end {
            let Some(outer) = around.leave() else { return Ok(()) };
            end = outer;
        }
        let Some([tag, first, behind @ ..]) = octets.get(at..) else { return Err(BerError::Truncated) };
        let (header, length) = read_header(*tag, *first, behind)?;
        let content = at + header;
        let after = content.saturating_add(length);
        if after > end {
            return Err(BerError::Truncated);
        }
        if tag & CONSTRUCTED == 0 {
            at = after;
        } else {
            around.enter(end).ok_or(BerError::TooDeep)?;
            (at, end) = (content, after);
        }
    }
}

/// Where the elements around the innermost end, outermost first, in a fixed amount of memory.
struct Around {
    ends: [u32; MAX_DEPTH],
    depth: usize,
}

impl Around {
    /// Goes into an element of one that has this end; `None` where that is too deep.
    #[inline]
    fn enter(&mut self, end: usize) -> Option<()> {
        *self.ends.get_mut(self.depth)? = u32::try_from(end).ok()?;
        self.depth += 1;
        Some(())
    }

    /// The end of the element around the innermost, which is left; `None` outside all.
    #[inline]
    fn leave(&mut self) -> Option<usize> {
        self.depth = self.depth.checked_sub(1)?;
        self.ends.get(self.depth).map(|&end| end as usize)
    }
}

/// Octets of a header and of the content that it declares, from its first two octets and what is behind them.
#[inline]
fn read_header(tag: u8, first: u8, behind: &[u8]) -> Result<(usize, usize), BerError> {
    if tag & HIGH_TAG == HIGH_TAG {
        return Err(BerError::HighTag);
    }
    match (first, behind) {
        (0..=0x7f, _) => Ok((2, usize::from(first))),
        (0x81, [length, ..]) => Ok((3, usize::from(*length))),
        _ => read_long_length(first, behind),
    }
}

// Out of line, so that the short form is small wherever it is read.
#[inline(never)]
fn read_long_length(first: u8, behind: &[u8]) -> Result<(usize, usize), BerError> {
    let count = usize::from(first & 0x7f);
    let length = match (count, behind) {
        (0, _) => return Err(BerError::IndefiniteLength),
        (1, [a, ..]) => u32::from(*a),
        (2, [a, b, ..]) => u32::from_be_bytes([0, 0, *a, *b]),
        (3, [a, b, c, ..]) => u32::from_be_bytes([0, *a, *b, *c]),
        (4, [a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
        (1..=4, _) => return Err(BerError::Truncated),
        _ => return Err(BerError::LengthTooLong),
    };
    Ok((2 + count, length as usize))
}

/// Appends an identifier octet and a minimal length.
#[inline]
pub fn write_header(out: &mut Vec<u8>, tag: u8, length: usize) {
    // Most lengths are short, and a few octets at once are quickly written when it is known how many.
    let [.., high, low] = length.to_be_bytes();
    match length {
        0..=0x7f => out.extend_from_slice(&[tag, low]),
        0x80..=0xff => out.extend_from_slice(&[tag, 0x81, low]),
        0x100..=0xffff => out.extend_from_slice(&[tag, 0x82, high, low]),
        _ => {
            out.push(tag);
            write_length(out, length);
        }
    }
}

/// Appends an element with `content` under `tag`.
pub fn write_element(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    write_header(out, tag, content.len());
    out.extend_from_slice(content);
}

/// Appends an element whose contents `fill` appends; the length is written in its minimal form afterwards.
pub fn write_constructed(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    fill(out);
    let end = out.len();
    // The length is known only now: it is written behind the contents and moved in front of them.
    write_length(out, end - start);
    let length_octets = out.len() - end;
    if let Some(written) = out.get_mut(start..) {
        written.rotate_right(length_octets);
    }
}

/// Appends a minimal INTEGER or ENUMERATED under `tag`.
#[inline]
pub fn write_integer(out: &mut Vec<u8>, tag: u8, value: u32) {
    match (length_of_integer(value), value.to_be_bytes()) {
        (1, [_, _, _, a]) => out.extend_from_slice(&[tag, 1, a]),
        (2, [_, _, b, a]) => out.extend_from_slice(&[tag, 2, b, a]),
        (3, [_, c, b, a]) => out.extend_from_slice(&[tag, 3, c, b, a]),
        (4, [d, c, b, a]) => out.extend_from_slice(&[tag, 4, d, c, b, a]),
        // The sign, which is never set, has an octet of its own.
        (_, [d, c, b, a]) => out.extend_from_slice(&[tag, 5, 0, d, c, b, a]),
    }
}

/// Appends a BOOLEAN under `tag`; TRUE is `FF` (RFC 4511 section 5.1).
pub fn write_boolean(out: &mut Vec<u8>, tag: u8, value: bool) {
    out.extend_from_slice(&[tag, 1, if value { 0xff } else { 0 }]);
}

/// Appends the length octets in their minimal form.
#[expect(clippy::cast_possible_truncation, reason = "the first octet is below 0x80, or counts the few octets of a usize")]
fn write_length(out: &mut Vec<u8>, length: usize) {
    if length < 0x80 {
        return out.push(length as u8);
    }
    let octets = length.to_be_bytes();
    let significant = octets.get(octets.len() + 1 - length_of_length(length)..).unwrap_or_default();
    out.push(0x80 | significant.len() as u8);
    out.extend_from_slice(significant);
}

/// How many content octets `value` takes as a minimal INTEGER: its bits and the sign.
pub const fn length_of_integer(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x7fff => 2,
        0x8000..=0x7f_ffff => 3,
        0x80_0000..=0x7fff_ffff => 4,
        _ => 5,
    }
}

/// How many octets the length `length` takes in its minimal form.
pub const fn length_of_length(length: usize) -> usize {
    match length {
        0..=0x7f => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xff_ffff => 4,
        0x100_0000..=0xffff_ffff => 5,
        _ => 1 + size_of::<usize>(),
    }
}

/// The bit of an identifier octet that says that the contents are elements.
pub const CONSTRUCTED: u8 = 0x20;
/// The longest length of one octet.
const SHORT_FORM: u8 = 0x7f;
/// All bits of the tag number set: further octets would follow.
const HIGH_TAG: u8 = 0x1f;
