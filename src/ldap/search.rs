//! The SearchRequest (RFC 4511 section 4.5.1): a view of the one that came, and an owned one that can be written again.

use super::ber::{self, MAX_INT, Reader, tag};
use super::envelope::op;
use super::filter::{Filter, FilterError};
use super::message::RequestError;

/// The most attributes in one search.
pub const MAX_ATTRIBUTES: usize = 256;

/// How much of the tree is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The base entry alone.
    BaseObject,
    /// Its children, without itself.
    SingleLevel,
    /// It and all below.
    WholeSubtree,
}

impl Scope {
    /// The scope with this number, which is at most [`MAX_SCOPE`].
    const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::BaseObject,
            1 => Self::SingleLevel,
            _ => Self::WholeSubtree,
        }
    }

    /// Its number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::BaseObject => 0,
            Self::SingleLevel => 1,
            Self::WholeSubtree => 2,
        }
    }
}

/// A SearchRequest, borrowed, with its filter checked and kept as octets.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The protocolOp with tag and length, as it came.
    pub op: &'a [u8],
    /// baseObject.
    pub base_object: &'a str,
    /// scope.
    pub scope: Scope,
    /// derefAliases, 0 to 3.
    pub deref_aliases: u8,
    /// sizeLimit in entries, 0 for none.
    pub size_limit: u32,
    /// timeLimit in seconds, 0 for none.
    pub time_limit: u32,
    /// typesOnly.
    pub types_only: bool,
    /// The filter element, tag and length included; [`Filter::check`] has passed.
    pub filter: &'a [u8],
    /// The contents of the attributes element: checked OCTET STRINGs of UTF-8.
    pub attributes: &'a [u8],
}

impl<'a> Search<'a> {
    pub(super) fn parse(op: &'a [u8], content: &'a [u8]) -> Result<Self, RequestError> {
        let mut fields = Reader::new(content);
        let base_object = fields.text(tag::OCTET_STRING)?;
        let scope = Scope::from_number(fields.integer(tag::ENUMERATED, MAX_SCOPE)?);
        let deref_aliases = u8::try_from(fields.integer(tag::ENUMERATED, MAX_DEREF_ALIASES)?).unwrap_or_default();
        let size_limit = fields.integer(tag::INTEGER, MAX_INT)?;
        let time_limit = fields.integer(tag::INTEGER, MAX_INT)?;
        let types_only = fields.boolean(tag::BOOLEAN)?;
        let filter = fields.element()?.raw;
        Filter::check(filter)?;
        let attributes = fields.contents(tag::SEQUENCE)?;
        fields.finish()?;
        let mut names = Reader::new(attributes);
        let mut count = 0;
        while !names.is_empty() {
            names.check_text(tag::OCTET_STRING)?;
            count += 1;
        }
        if count > MAX_ATTRIBUTES {
            return Err(RequestError::TooManyAttributes);
        }
        Ok(Self { op, base_object, scope, deref_aliases, size_limit, time_limit, types_only, filter, attributes })
    }

    /// The attribute selectors in their order.
    pub fn attribute_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut names = Reader::new(self.attributes);
        std::iter::from_fn(move || names.text(tag::OCTET_STRING).ok())
    }

    /// The same request, owned, with its filter as a tree.
    ///
    /// # Errors
    /// Never for a view that [`super::message::Request::parse`] made; the type says so because the filter is decoded here.
    pub fn to_owned(&self) -> Result<SearchRequest, FilterError> {
        Ok(SearchRequest {
            base_object: self.base_object.to_owned(),
            scope: self.scope,
            deref_aliases: self.deref_aliases,
            size_limit: self.size_limit,
            time_limit: self.time_limit,
            types_only: self.types_only,
            filter: Filter::decode(self.filter)?,
            attributes: self.attribute_names().map(str::to_owned).collect(),
        })
    }
}

/// A SearchRequest but for its filter: a phone asks in one form for whatever is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form<'a> {
    /// The elements in front of the filter.
    pub head: &'a [u8],
    /// The elements behind it.
    pub attributes: &'a [u8],
}

impl<'a> Form<'a> {
    /// Parts a SearchRequest from its filter, going by tags and lengths alone. About what is within nothing is said; but if some well-formed
    /// request has that form, then this one is well-formed exactly if [`Filter::check`] says so of the filter.
    pub fn split(op: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut outer = Reader::new(op);
        let content = outer.expect(op::SEARCH_REQUEST).ok()?.content;
        outer.finish().ok()?;
        let mut fields = Reader::new(content);
        for _ in 0..FIELDS_BEFORE_FILTER {
            fields.tagged().ok()?;
        }
        let filter_on = fields.rest();
        fields.tagged().ok()?;
        let attributes = fields.rest();
        let head = content.get(..content.len() - filter_on.len())?;
        let filter = filter_on.get(..filter_on.len() - attributes.len())?;
        Some((Self { head, attributes }, filter))
    }
}

/// A SearchRequest, owned: what a directory answers, and what an access narrows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRequest {
    /// baseObject.
    pub base_object: String,
    /// scope.
    pub scope: Scope,
    /// derefAliases, 0 to 3.
    pub deref_aliases: u8,
    /// sizeLimit in entries, 0 for none.
    pub size_limit: u32,
    /// timeLimit in seconds, 0 for none.
    pub time_limit: u32,
    /// typesOnly.
    pub types_only: bool,
    /// filter.
    pub filter: Filter,
    /// attributes, as they came.
    pub attributes: Vec<String>,
}

impl SearchRequest {
    /// A search without limits that follows no alias and wants values.
    pub fn new(base_object: &str, scope: Scope, filter: Filter, attributes: &[&str]) -> Self {
        Self {
            base_object: base_object.to_owned(),
            scope,
            deref_aliases: 0,
            size_limit: 0,
            time_limit: 0,
            types_only: false,
            filter,
            attributes: attributes.iter().map(|&attribute| attribute.to_owned()).collect(),
        }
    }

    /// The request of that protocolOp, tag and length included.
    ///
    /// # Errors
    /// As [`super::message::Request::parse`].
    pub fn decode(search: &[u8]) -> Result<Self, RequestError> {
        let mut outer = Reader::new(search);
        let content = outer.expect(op::SEARCH_REQUEST)?.content;
        outer.finish()?;
        Ok(Search::parse(search, content)?.to_owned()?)
    }

    /// The protocolOp, tag and length included.
    pub fn encode(&self) -> Vec<u8> {
        let mut op = Vec::new();
        ber::write_constructed(&mut op, op::SEARCH_REQUEST, |out| {
            ber::write_element(out, tag::OCTET_STRING, self.base_object.as_bytes());
            ber::write_integer(out, tag::ENUMERATED, self.scope.number());
            ber::write_integer(out, tag::ENUMERATED, u32::from(self.deref_aliases));
            ber::write_integer(out, tag::INTEGER, self.size_limit);
            ber::write_integer(out, tag::INTEGER, self.time_limit);
            ber::write_boolean(out, tag::BOOLEAN, self.types_only);
            self.filter.encode(out);
            ber::write_constructed(out, tag::SEQUENCE, |out| {
                for attribute in &self.attributes {
                    ber::write_element(out, tag::OCTET_STRING, attribute.as_bytes());
                }
            });
        });
        op
    }
}

/// baseObject, scope, derefAliases, sizeLimit, timeLimit, typesOnly.
const FIELDS_BEFORE_FILTER: usize = 6;
/// `wholeSubtree`. RFC 4511 lets further scopes be defined; nobody here sends one.
const MAX_SCOPE: u32 = 2;
/// `derefAlways`.
const MAX_DEREF_ALIASES: u32 = 3;
