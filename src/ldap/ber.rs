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

/// What is wrong with a run of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BerError {
    /// An element ends after the octets do.
    #[error("an element is cut short")]
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
    pub fn element(&mut self) -> Result<Element<'a>, BerError> {
        todo!()
    }

    /// The next element, which must carry `tag`.
    ///
    /// # Errors
    /// As [`Reader::element`], and when the tag differs.
    pub fn expect(&mut self, tag: u8) -> Result<Element<'a>, BerError> {
        todo!()
    }

    /// The next element if it carries `tag`, else nothing is read.
    ///
    /// # Errors
    /// As [`Reader::element`].
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, BerError> {
        todo!()
    }

    /// The next element as a non-negative INTEGER (or ENUMERATED: pass the tag) of at most `max`.
    ///
    /// # Errors
    /// As [`Reader::expect`], and [`BerError::IntegerRange`].
    pub fn integer(&mut self, tag: u8, max: u32) -> Result<u32, BerError> {
        todo!()
    }

    /// The next element as a BOOLEAN under `tag`; any non-zero octet is TRUE on input.
    ///
    /// # Errors
    /// As [`Reader::expect`], and [`BerError::BooleanLength`].
    pub fn boolean(&mut self, tag: u8) -> Result<bool, BerError> {
        todo!()
    }

    /// The next element as UTF-8 text under `tag` (LDAPString, LDAPDN, AttributeDescription).
    ///
    /// # Errors
    /// As [`Reader::expect`], and [`BerError::NotUtf8`].
    pub fn text(&mut self, tag: u8) -> Result<&'a str, BerError> {
        todo!()
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// [`BerError::TrailingOctets`].
    pub const fn finish(&self) -> Result<(), BerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(BerError::TrailingOctets) }
    }
}

/// Proves that `octets` is a run of whole elements, and so are the contents of each constructed one, down to the leaves.
/// Iterative: the stack does not grow with the input.
///
/// # Errors
/// The first violation met, or [`BerError::TooDeep`].
pub fn check_tree(octets: &[u8]) -> Result<(), BerError> {
    todo!()
}

/// Appends an element with `content` under `tag`.
pub fn write_element(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    todo!()
}

/// Appends an element whose contents `fill` appends; the length is written in its minimal form afterwards.
pub fn write_constructed(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    todo!()
}

/// Appends a minimal INTEGER or ENUMERATED under `tag`.
pub fn write_integer(out: &mut Vec<u8>, tag: u8, value: u32) {
    todo!()
}

/// Appends a BOOLEAN under `tag`; TRUE is `FF` (RFC 4511 section 5.1).
pub fn write_boolean(out: &mut Vec<u8>, tag: u8, value: bool) {
    todo!()
}

/// How many octets the length `length` takes in its minimal form.
pub const fn length_of_length(length: usize) -> usize {
    match length {
        0..=0x7f => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xff_ffff => 4,
        _ => 5,
    }
}
