//! Typed views of the protocolOps (RFC 4511 sections 4.2 to 4.13), strict: every element is accounted for, nothing trails.
//!
//! A view borrows from the frame. What outlives the frame is made owned with [`Search::to_owned`] and the like. Passwords never
//! appear in `Debug`.

use super::ber::{self, BerError, Element, MAX_INT, Reader, tag};
use super::envelope::{Envelope, MessageId, op};
use super::filter::FilterError;
use thiserror::Error;

pub use super::result_code::ResultCode;
pub use super::search::{Form, MAX_ATTRIBUTES, Scope, Search, SearchRequest};
pub use super::write::{Write, WriteKind};

/// Why a request is refused before anybody looks at what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not a request, or one whose envelope cannot be trusted: Notice of Disconnection (RFC 4511 section 4.1.1).
    #[error("not a request, or one of broken lengths: protocolOp {0:#04x}")]
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
            op::SEARCH_REQUEST => Search::parse(op, content).map(Self::Search).map_err(|error| match ber::check_tree(content) {
                Ok(()) => error,
                // The envelope has left these lengths to us, and any other request would not have come through it.
                Err(_) => RequestError::NotARequest(envelope.op_tag),
            }),
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
/// `requestName` of an ExtendedRequest.
const REQUEST_NAME: u8 = 0x80;
/// `requestValue` of an ExtendedRequest.
const REQUEST_VALUE: u8 = 0x81;
/// `referral` of an LDAPResult.
const REFERRAL: u8 = 0xa3;
