//! Search filters: the tree (RFC 4511 section 4.5.1.7), its octets, and its text (RFC 4515), both ways.
//!
//! Order of branches and octets of values are kept as they came. Reading, from octets and from text, bounds the depth and the number of
//! nodes; so whatever recurses into a tree or its octets needs little stack.

use super::ber::{self, BerError, Element, Reader, tag};
use super::filter_text;
use super::filter_walk::{
    self, AND, ANY, APPROX, DN_ATTRIBUTES, EQUALITY, EXTENSIBLE, FINAL, GREATER_OR_EQUAL, INITIAL, LESS_OR_EQUAL, MATCH_TYPE, MATCH_VALUE,
    MATCHING_RULE, NOT, OR, PRESENT, SUBSTRINGS,
};
use thiserror::Error;

/// The deepest nesting of and, or and not.
pub const MAX_DEPTH: usize = 64;
/// The most nodes in one filter, leaves included.
pub const MAX_NODES: usize = 1024;

/// One node of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All are true; an empty one is absolutely true (RFC 4526).
    And(Vec<Self>),
    /// Any is true; an empty one is absolutely false (RFC 4526).
    Or(Vec<Self>),
    /// The opposite, where it is defined.
    Not(Box<Self>),
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
        filter_walk::walk(octets, &mut ())
    }

    /// Builds the tree from the octets of one filter element.
    ///
    /// # Errors
    /// As [`Filter::check`].
    pub fn decode(octets: &[u8]) -> Result<Self, FilterError> {
        Self::check(octets)?;
        let mut tree = Builder::default();
        let mut level = Reader::new(octets);
        let mut above = Vec::new();
        loop {
            let complete = if level.is_empty() {
                level = above.pop().ok_or(FilterError::BadItem)?;
                tree.close().ok_or(FilterError::BadItem)?
            } else {
                let element = level.element()?;
                match Operator::from_tag(element.tag) {
                    Some(operator) => {
                        tree.open(operator);
                        above.push(level);
                        level = Reader::new(element.content);
                        continue;
                    }
                    None => tree.add(Self::build_item(&element)?),
                }
            };
            if let Complete::Yes(filter) = complete {
                return Ok(filter);
            }
        }
    }

    fn build_item(element: &Element<'_>) -> Result<Self, FilterError> {
        match element.tag {
            EQUALITY => Ok(Self::Equality(Assertion::build(element)?)),
            SUBSTRINGS => Ok(Self::Substrings(Substrings::build(element)?)),
            GREATER_OR_EQUAL => Ok(Self::GreaterOrEqual(Assertion::build(element)?)),
            LESS_OR_EQUAL => Ok(Self::LessOrEqual(Assertion::build(element)?)),
            PRESENT => Ok(Self::Present(element.text()?.to_owned())),
            APPROX => Ok(Self::Approx(Assertion::build(element)?)),
            EXTENSIBLE => Ok(Self::Extensible(Extensible::build(element)?)),
            other => Err(FilterError::UnknownChoice(other)),
        }
    }

    /// Appends the filter's octets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::And(branches) => encode_branches(out, AND, branches),
            Self::Or(branches) => encode_branches(out, OR, branches),
            Self::Not(branch) => ber::write_constructed(out, NOT, |out| branch.encode(out)),
            Self::Equality(assertion) => assertion.encode(out, EQUALITY),
            Self::Substrings(substrings) => substrings.encode(out),
            Self::GreaterOrEqual(assertion) => assertion.encode(out, GREATER_OR_EQUAL),
            Self::LessOrEqual(assertion) => assertion.encode(out, LESS_OR_EQUAL),
            Self::Present(attribute) => ber::write_element(out, PRESENT, attribute.as_bytes()),
            Self::Approx(assertion) => assertion.encode(out, APPROX),
            Self::Extensible(extensible) => extensible.encode(out),
        }
    }

    /// Reads RFC 4515 text. Blanks around parentheses are let pass.
    ///
    /// # Errors
    /// When the text is no filter, or too deep or large for one.
    pub fn parse(text: &str) -> Result<Self, FilterTextError> {
        filter_text::parse(text)
    }
}

impl std::fmt::Display for Filter {
    /// RFC 4515 text; octets that are not printable UTF-8, and `* ( ) \`, are escaped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        filter_text::write(self, f)
    }
}

/// What joins branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    And,
    Or,
    Not,
}

impl Operator {
    const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            AND => Some(Self::And),
            OR => Some(Self::Or),
            NOT => Some(Self::Not),
            _ => None,
        }
    }
}

/// Puts a tree together front to back, from octets or from text, without recursion.
#[derive(Default)]
pub(super) struct Builder {
    /// The operators that are not closed yet, outermost first, with their branches so far.
    open: Vec<(Operator, Vec<Filter>)>,
}

/// Whether the outermost node is there.
pub(super) enum Complete {
    Yes(Filter),
    No,
}

impl Builder {
    /// How many operators are open.
    pub(super) const fn depth(&self) -> usize {
        self.open.len()
    }

    /// A not has its branch, and nothing but its end may come.
    pub(super) fn is_full(&self) -> bool {
        self.open.last().is_some_and(|(operator, branches)| *operator == Operator::Not && !branches.is_empty())
    }

    pub(super) fn open(&mut self, operator: Operator) {
        self.open.push((operator, Vec::new()));
    }

    /// Adds a finished node to the innermost operator.
    pub(super) fn add(&mut self, node: Filter) -> Complete {
        match self.open.last_mut() {
            Some((_, branches)) => {
                branches.push(node);
                Complete::No
            }
            None => Complete::Yes(node),
        }
    }

    /// Ends the innermost operator; `None` where nothing is open, or a not has no branch.
    pub(super) fn close(&mut self) -> Option<Complete> {
        let (operator, mut branches) = self.open.pop()?;
        let node = match operator {
            Operator::And => Filter::And(branches),
            Operator::Or => Filter::Or(branches),
            Operator::Not => Filter::Not(Box::new(branches.pop()?)),
        };
        Some(self.add(node))
    }
}

impl Assertion {
    fn build(element: &Element<'_>) -> Result<Self, FilterError> {
        let mut fields = Reader::new(element.content);
        let attribute = fields.text(tag::OCTET_STRING)?.to_owned();
        let value = fields.expect(tag::OCTET_STRING)?.content.to_vec();
        Ok(Self { attribute, value })
    }

    fn encode(&self, out: &mut Vec<u8>, tag: u8) {
        ber::write_constructed(out, tag, |out| {
            ber::write_element(out, tag::OCTET_STRING, self.attribute.as_bytes());
            ber::write_element(out, tag::OCTET_STRING, &self.value);
        });
    }
}

impl Substrings {
    fn build(element: &Element<'_>) -> Result<Self, FilterError> {
        let mut fields = Reader::new(element.content);
        let attribute = fields.text(tag::OCTET_STRING)?.to_owned();
        let mut pieces = Reader::new(fields.expect(tag::SEQUENCE)?.content);
        let mut built = Self { attribute, initial: None, any: Vec::new(), final_: None };
        while !pieces.is_empty() {
            let piece = pieces.element()?;
            match piece.tag {
                INITIAL => built.initial = Some(piece.content.to_vec()),
                ANY => built.any.push(piece.content.to_vec()),
                _ => built.final_ = Some(piece.content.to_vec()),
            }
        }
        Ok(built)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        ber::write_constructed(out, SUBSTRINGS, |out| {
            ber::write_element(out, tag::OCTET_STRING, self.attribute.as_bytes());
            ber::write_constructed(out, tag::SEQUENCE, |out| {
                if let Some(initial) = &self.initial {
                    ber::write_element(out, INITIAL, initial);
                }
                for any in &self.any {
                    ber::write_element(out, ANY, any);
                }
                if let Some(final_) = &self.final_ {
                    ber::write_element(out, FINAL, final_);
                }
            });
        });
    }
}

impl Extensible {
    fn build(element: &Element<'_>) -> Result<Self, FilterError> {
        let mut fields = Reader::new(element.content);
        let rule = optional_text(&mut fields, MATCHING_RULE)?.map(str::to_owned);
        let attribute = optional_text(&mut fields, MATCH_TYPE)?.map(str::to_owned);
        let value = fields.expect(MATCH_VALUE)?.content.to_vec();
        let dn_attributes = !fields.is_empty() && fields.boolean(DN_ATTRIBUTES)?;
        Ok(Self { rule, attribute, value, dn_attributes })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        ber::write_constructed(out, EXTENSIBLE, |out| {
            if let Some(rule) = &self.rule {
                ber::write_element(out, MATCHING_RULE, rule.as_bytes());
            }
            if let Some(attribute) = &self.attribute {
                ber::write_element(out, MATCH_TYPE, attribute.as_bytes());
            }
            ber::write_element(out, MATCH_VALUE, &self.value);
            if self.dn_attributes {
                ber::write_boolean(out, DN_ATTRIBUTES, true);
            }
        });
    }
}

fn encode_branches(out: &mut Vec<u8>, tag: u8, branches: &[Filter]) {
    ber::write_constructed(out, tag, |out| branches.iter().for_each(|branch| branch.encode(out)));
}

fn optional_text<'a>(fields: &mut Reader<'a>, tag: u8) -> Result<Option<&'a str>, BerError> {
    fields.optional(tag)?.map(|element| element.text()).transpose()
}
