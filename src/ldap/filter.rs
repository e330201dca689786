//! Search filters: the tree (RFC 4511 section 4.5.1.7), its octets, and its text (RFC 4515), both ways.
//!
//! Order of branches and octets of values are kept as they came. Depth and number of nodes are bounded before anything
//! recurses, so dropping, printing and comparing a tree is safe as well.

use super::ber::BerError;
use thiserror::Error;

/// The deepest nesting of and, or and not.
pub const MAX_DEPTH: usize = 64;
/// The most nodes in one filter, leaves included.
pub const MAX_NODES: usize = 1024;

/// One node of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All are true; an empty one is absolutely true (RFC 4526).
    And(Vec<Filter>),
    /// Any is true; an empty one is absolutely false (RFC 4526).
    Or(Vec<Filter>),
    /// The opposite, where it is defined.
    Not(Box<Filter>),
    /// `(attribute=value)`.
    Equality(Assertion),
    /// `(attribute=initial*any*final)`.
    Substrings(Substrings),
    /// `(attribute>=value)`.
    GreaterOrEqual(Assertion),
    /// `(attribute<=value)`.
    LessOrEqual(Assertion),
    /// `(attribute=*)`.
    Present(String),
    /// `(attribute~=value)`.
    Approx(Assertion),
    /// `(attribute:dn:rule:=value)`.
    Extensible(Extensible),
}

/// An attribute description and a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Assertion {
    /// The attribute description as it came.
    pub attribute: String,
    /// The assertion value: text in most attributes, any octets in some.
    pub value: Vec<u8>,
}

/// At least one piece is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Substrings {
    /// The attribute description as it came.
    pub attribute: String,
    /// What the value begins with.
    pub initial: Option<Vec<u8>>,
    /// What follows somewhere, in this order.
    pub any: Vec<Vec<u8>>,
    /// What the value ends in.
    pub final_: Option<Vec<u8>>,
}

/// A match by a named rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Extensible {
    /// The matching rule, an OID or a name.
    pub rule: Option<String>,
    /// The attribute description; absent means all that the rule fits.
    pub attribute: Option<String>,
    /// The assertion value.
    pub value: Vec<u8>,
    /// The attributes of the entry's DN count too.
    pub dn_attributes: bool,
}

/// Octets that are no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FilterError {
    /// The octets do not follow the grammar.
    #[error("malformed filter: {0}")]
    Malformed(#[from] BerError),
    /// A choice that RFC 4511 does not have.
    #[error("unknown filter choice {0:#04x}")]
    UnknownChoice(u8),
    /// An empty substrings list, pieces out of order, an empty piece, or an extensible match with neither rule nor attribute.
    #[error("a filter item that says nothing, or says it in the wrong order")]
    BadItem,
    /// Nested deeper than [`MAX_DEPTH`]: adminLimitExceeded(11).
    #[error("a filter nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More than [`MAX_NODES`] nodes: adminLimitExceeded(11).
    #[error("a filter of more than {MAX_NODES} nodes")]
    TooManyNodes,
}

/// Text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a filter at octet {at}: {why}")]
pub struct FilterTextError {
    /// Where reading stopped, in octets from the start.
    pub at: usize,
    /// What was expected there.
    pub why: &'static str,
}

impl Filter {
    /// Proves that `octets` begins with one well-formed filter within the bounds and ends with it, without building a tree:
    /// what the hot path calls.
    ///
    /// # Errors
    /// The first violation met.
    pub fn check(octets: &[u8]) -> Result<(), FilterError> {
        todo!()
    }

    /// Builds the tree from the octets of one filter element.
    ///
    /// # Errors
    /// As [`Filter::check`].
    pub fn decode(octets: &[u8]) -> Result<Self, FilterError> {
        todo!()
    }

    /// Appends the filter's octets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        todo!()
    }

    /// Reads RFC 4515 text.
    ///
    /// # Errors
    /// When the text is no filter, or too deep or large for one.
    pub fn parse(text: &str) -> Result<Self, FilterTextError> {
        todo!()
    }
}

impl std::fmt::Display for Filter {
    /// RFC 4515 text; octets that are not printable UTF-8, and `* ( ) \`, are escaped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
