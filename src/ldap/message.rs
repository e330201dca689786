//! Typed views of the protocolOps (RFC 4511 sections 4.2 to 4.13), strict: every element is accounted for, nothing trails.
//!
//! A view borrows from the frame. What outlives the frame is made owned with [`Search::to_owned`] and the like. Passwords never
//! appear in `Debug`.

use super::ber::{self, BerError, Element, MAX_INT, Reader, tag};
use super::envelope::{Envelope, MessageId, op};
use super::filter::{Filter, FilterError};
pub use super::result_code::ResultCode;
use thiserror::Error;

/// The most attributes in one search.
pub const MAX_ATTRIBUTES: usize = 256;

/// Why a request is refused before anybody looks at what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not a request, or one whose envelope cannot be trusted: Notice of Disconnection (RFC 4511 section 4.1.1).
    #[error("not a request: protocolOp {0:#04x}")]
    NotARequest(u8),
    /// The contents of a known request are malformed: protocolError(2) in its own response.
    #[error("malformed request: {0}")]
    Malformed(#[from] BerError),
    /// Its filter is malformed (2) or over a limit (11).
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// More than [`MAX_ATTRIBUTES`] attributes: adminLimitExceeded(11).
    #[error("more than {MAX_ATTRIBUTES} attributes")]
    TooManyAttributes,
}

impl RequestError {
    /// The result code that the client is told, where the request has a response.
    pub const fn result_code(self) -> ResultCode {
        match self {
            Self::Filter(FilterError::TooDeep | FilterError::TooManyNodes) | Self::TooManyAttributes => ResultCode::ADMIN_LIMIT_EXCEEDED,
            Self::NotARequest(_) | Self::Malformed(_) | Self::Filter(_) => ResultCode::PROTOCOL_ERROR,
        }
    }
}

/// What a client asks.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// Section 4.2.
    Bind(Bind<'a>),
    /// Section 4.3.
    Unbind,
    /// Section 4.5.
    Search(Search<'a>),
    /// Sections 4.6 to 4.9.
    Write(Write<'a>),
    /// Section 4.10.
    Compare(Compare<'a>),
    /// Section 4.11: stop that operation.
    Abandon(MessageId),
    /// Section 4.12.
    Extended(Extended<'a>),
}

impl<'a> Request<'a> {
    /// The request in an envelope.
    ///
    /// # Errors
    /// As [`RequestError`] says.
    pub fn parse(envelope: &Envelope<'a>) -> Result<Self, RequestError> {
        let op = envelope.op;
        let content = envelope.op_content;
        match envelope.op_tag {
            op::SEARCH_REQUEST => Search::parse(op, content).map(Self::Search),
            op::BIND_REQUEST => Ok(Self::Bind(Bind::parse(content)?)),
            op::UNBIND_REQUEST => {
                Reader::new(content).finish()?;
                Ok(Self::Unbind)
            }
            op::ABANDON_REQUEST => {
                let element = Element { tag: envelope.op_tag, content, raw: op };
                let message_id = MessageId::new(element.integer(MessageId::MAX)?).ok_or(BerError::IntegerRange)?;
                Ok(Self::Abandon(message_id))
            }
            op::MODIFY_REQUEST => Ok(Self::Write(Write::parse_modify(op, content)?)),
            op::ADD_REQUEST => Ok(Self::Write(Write::parse_add(op, content)?)),
            op::DELETE_REQUEST => Ok(Self::Write(Write::parse_delete(op, content)?)),
            op::MODIFY_DN_REQUEST => Ok(Self::Write(Write::parse_modify_dn(op, content)?)),
            op::COMPARE_REQUEST => Ok(Self::Compare(Compare::parse(op, content)?)),
            op::EXTENDED_REQUEST => Ok(Self::Extended(Extended::parse(op, content)?)),
            other => Err(RequestError::NotARequest(other)),
        }
    }
}

/// A BindRequest.
#[derive(Clone, Copy)]
pub struct Bind<'a> {
    /// 3, or what else the client believes to speak (1 to 127).
    pub version: u8,
    /// A DN, or what Active Directory takes instead of one; UTF-8.
    pub name: &'a str,
    /// How the client proves itself.
    pub authentication: Authentication<'a>,
}

impl<'a> Bind<'a> {
    fn parse(content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let version = fields.integer(tag::INTEGER, MAX_VERSION)?;
        let version = u8::try_from(version).ok().filter(|&version| version > 0).ok_or(BerError::IntegerRange)?;
        let name = fields.text(tag::OCTET_STRING)?;
        let authentication = Authentication::parse(fields.element()?)?;
        fields.finish()?;
        Ok(Self { version, name, authentication })
    }
}

/// AuthenticationChoice.
#[derive(Clone, Copy)]
pub enum Authentication<'a> {
    /// A password, any octets.
    Simple(&'a [u8]),
    /// A SASL mechanism and its credentials.
    Sasl {
        /// The mechanism's name.
        mechanism: &'a str,
        /// Its first octets, if any.
        credentials: Option<&'a [u8]>,
    },
    /// A choice that RFC 4511 does not have (Sicily's, for one): authMethodNotSupported(7).
    Unknown(u8),
}

impl<'a> Authentication<'a> {
    fn parse(choice: Element<'a>) -> Result<Self, BerError> {
        match choice.tag {
            SIMPLE => Ok(Self::Simple(choice.content)),
            SASL => {
                let mut fields = Reader::new(choice.content);
                let mechanism = fields.text(tag::OCTET_STRING)?;
                let credentials = fields.optional(tag::OCTET_STRING)?.map(|element| element.content);
                fields.finish()?;
                Ok(Self::Sasl { mechanism, credentials })
            }
            // A context tag of another number is a choice of somebody else's. The same number in the other form is a mistake.
            other if other & CLASS == CONTEXT && !matches!(other ^ ber::CONSTRUCTED, SIMPLE | SASL) => Ok(Self::Unknown(other)),
            found => Err(BerError::UnexpectedTag { expected: SIMPLE, found }),
        }
    }
}

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
    fn parse(op: &'a [u8], content: &'a [u8]) -> Result<Self, RequestError> {
        let mut fields = Reader::new(content);
        let base_object = fields.text(tag::OCTET_STRING)?;
        let scope = Scope::from_number(fields.integer(tag::ENUMERATED, MAX_SCOPE)?);
        let deref_aliases = u8::try_from(fields.integer(tag::ENUMERATED, MAX_DEREF_ALIASES)?).unwrap_or_default();
        let size_limit = fields.integer(tag::INTEGER, MAX_INT)?;
        let time_limit = fields.integer(tag::INTEGER, MAX_INT)?;
        let types_only = fields.boolean(tag::BOOLEAN)?;
        let filter = fields.element()?.raw;
        Filter::check(filter)?;
        let attributes = fields.expect(tag::SEQUENCE)?.content;
        fields.finish()?;
        let mut names = Reader::new(attributes);
        let mut count = 0;
        while !names.is_empty() {
            names.text(tag::OCTET_STRING)?;
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
    /// Never for a view that [`Request::parse`] made; the type says so because the filter is decoded here.
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

/// Which of the four writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteKind {
    /// Section 4.6.
    Modify,
    /// Section 4.7.
    Add,
    /// Section 4.8.
    Delete,
    /// Section 4.9.
    ModifyDn,
}

/// A write: its target is read, the rest is checked for shape and travels as it came.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// Which one.
    pub kind: WriteKind,
    /// The protocolOp with tag and length, as it came.
    pub op: &'a [u8],
    /// The entry that is written.
    pub target: &'a str,
    /// Where a ModifyDN moves it, if it moves.
    pub new_superior: Option<&'a str>,
}

impl<'a> Write<'a> {
    fn parse_modify(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        let mut changes = Reader::new(fields.expect(tag::SEQUENCE)?.content);
        fields.finish()?;
        while !changes.is_empty() {
            let mut change = Reader::new(changes.expect(tag::SEQUENCE)?.content);
            let operation = change.integer(tag::ENUMERATED, MAX_CHANGE)?;
            let values = if matches!(operation, CHANGE_DELETE | CHANGE_REPLACE) { Values::Any } else { Values::AtLeastOne };
            check_attribute(&mut change, values)?;
            change.finish()?;
        }
        Ok(Self { kind: WriteKind::Modify, op, target, new_superior: None })
    }

    fn parse_add(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        let mut attributes = Reader::new(fields.expect(tag::SEQUENCE)?.content);
        fields.finish()?;
        while !attributes.is_empty() {
            check_attribute(&mut attributes, Values::AtLeastOne)?;
        }
        Ok(Self { kind: WriteKind::Add, op, target, new_superior: None })
    }

    fn parse_delete(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let target = std::str::from_utf8(content).map_err(|_| BerError::NotUtf8)?;
        Ok(Self { kind: WriteKind::Delete, op, target, new_superior: None })
    }

    fn parse_modify_dn(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let target = fields.text(tag::OCTET_STRING)?;
        fields.text(tag::OCTET_STRING)?;
        fields.boolean(tag::BOOLEAN)?;
        let new_superior = fields.optional(NEW_SUPERIOR)?.map(|element| element.text()).transpose()?;
        fields.finish()?;
        Ok(Self { kind: WriteKind::ModifyDn, op, target, new_superior })
    }
}

/// How many values a PartialAttribute must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Any,
    AtLeastOne,
}

/// Reads one PartialAttribute (RFC 4511 section 4.1.7).
fn check_attribute(attributes: &mut Reader<'_>, wanted: Values) -> Result<(), BerError> {
    let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE)?.content);
    attribute.text(tag::OCTET_STRING)?;
    let mut values = Reader::new(attribute.expect(tag::SET)?.content);
    attribute.finish()?;
    if wanted == Values::AtLeastOne && values.is_empty() {
        return Err(BerError::Truncated);
    }
    while !values.is_empty() {
        values.expect(tag::OCTET_STRING)?;
    }
    Ok(())
}

/// A CompareRequest.
#[derive(Debug, Clone, Copy)]
pub struct Compare<'a> {
    /// The protocolOp with tag and length, as it came.
    pub op: &'a [u8],
    /// The entry.
    pub entry: &'a str,
    /// The attribute description.
    pub attribute: &'a str,
    /// The assertion value.
    pub value: &'a [u8],
}

impl<'a> Compare<'a> {
    fn parse(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let entry = fields.text(tag::OCTET_STRING)?;
        let mut assertion = Reader::new(fields.expect(tag::SEQUENCE)?.content);
        fields.finish()?;
        let attribute = assertion.text(tag::OCTET_STRING)?;
        let value = assertion.expect(tag::OCTET_STRING)?.content;
        assertion.finish()?;
        Ok(Self { op, entry, attribute, value })
    }
}

/// An ExtendedRequest. Its value may hold a password, so it is not printed.
#[derive(Clone, Copy)]
pub struct Extended<'a> {
    /// The protocolOp with tag and length, as it came.
    pub op: &'a [u8],
    /// requestName.
    pub name: &'a str,
    /// requestValue.
    pub value: Option<&'a [u8]>,
}

impl<'a> Extended<'a> {
    fn parse(op: &'a [u8], content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let name = fields.text(REQUEST_NAME)?;
        let value = fields.optional(REQUEST_VALUE)?.map(|element| element.content);
        fields.finish()?;
        Ok(Self { op, name, value })
    }
}

impl std::fmt::Debug for Bind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bind").field("version", &self.version).field("authentication", &self.authentication).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Authentication<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simple(_) => f.write_str("Simple(***)"),
            Self::Sasl { mechanism, .. } => write!(f, "Sasl({mechanism}, ***)"),
            Self::Unknown(tag) => write!(f, "Unknown({tag:#04x})"),
        }
    }
}

impl std::fmt::Debug for Extended<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extended").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The parts that every result has (RFC 4511 section 4.1.9), borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LdapResult<'a> {
    /// resultCode.
    pub code: ResultCode,
    /// matchedDN, as it came: octets, since servers send Latin-1 too.
    pub matched_dn: &'a [u8],
    /// diagnosticMessage, as it came.
    pub diagnostic: &'a [u8],
    /// The contents of the referral element, if there is one.
    pub referral: Option<&'a [u8]>,
}

impl<'a> LdapResult<'a> {
    /// Reads the front of a response's contents; what follows (serverSaslCreds, responseName ...) is left alone.
    ///
    /// # Errors
    /// When the contents do not begin with an LDAPResult.
    pub fn parse(op_content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(op_content);
        let code = ResultCode(fields.integer(tag::ENUMERATED, MAX_INT)?);
        let matched_dn = fields.expect(tag::OCTET_STRING)?.content;
        let diagnostic = fields.expect(tag::OCTET_STRING)?.content;
        let referral = fields.optional(REFERRAL)?.map(|element| element.content);
        Ok(Self { code, matched_dn, diagnostic, referral })
    }
}

/// The largest version of a Bind.
const MAX_VERSION: u32 = 127;
/// `simple` of AuthenticationChoice.
const SIMPLE: u8 = 0x80;
/// `sasl` of AuthenticationChoice.
const SASL: u8 = 0xa3;
/// The bits of an identifier octet that hold the class.
const CLASS: u8 = 0xc0;
/// The context-specific class.
const CONTEXT: u8 = 0x80;
/// `wholeSubtree`. RFC 4511 lets further scopes be defined; nobody here sends one.
const MAX_SCOPE: u32 = 2;
/// `derefAlways`.
const MAX_DEREF_ALIASES: u32 = 3;
/// `delete` of a Modify.
const CHANGE_DELETE: u32 = 1;
/// `replace` of a Modify.
const CHANGE_REPLACE: u32 = 2;
/// `increment` of a Modify (RFC 4525).
const MAX_CHANGE: u32 = 3;
/// `newSuperior` of a ModifyDN.
const NEW_SUPERIOR: u8 = 0x80;
/// `requestName` of an ExtendedRequest.
const REQUEST_NAME: u8 = 0x80;
/// `requestValue` of an ExtendedRequest.
const REQUEST_VALUE: u8 = 0x81;
/// `referral` of an LDAPResult.
const REFERRAL: u8 = 0xa3;
