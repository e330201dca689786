//! Typed views of the protocolOps (RFC 4511 sections 4.2 to 4.13), strict: every element is accounted for, nothing trails.
//!
//! A view borrows from the frame. What outlives the frame is made owned with [`Search::to_owned`] and the like. Passwords never
//! appear in `Debug`.

use super::ber::BerError;
use super::envelope::{Envelope, MessageId};
use super::filter::{Filter, FilterError};
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
        todo!()
    }
}

/// A BindRequest.
#[derive(Clone, Copy)]
pub struct Bind<'a> {
    /// 3, or what else the client believes to speak (0 to 127).
    pub version: u8,
    /// A DN, or what Active Directory takes instead of one; UTF-8.
    pub name: &'a str,
    /// How the client proves itself.
    pub authentication: Authentication<'a>,
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
    /// The attribute selectors in their order.
    pub fn attribute_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        [].into_iter() // to be written
    }

    /// The same request, owned, with its filter as a tree.
    ///
    /// # Errors
    /// Never for a view that [`Request::parse`] made; the type says so because the filter is decoded here.
    pub fn to_owned(&self) -> Result<SearchRequest, FilterError> {
        todo!()
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
        todo!()
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

/// A resultCode (RFC 4511 section 4.1.9 and the registry): open, since servers send numbers that nobody foresaw.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResultCode(pub u32);

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
        todo!()
    }
}

macro_rules! result_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl ResultCode {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// The name in RFC 4511, or `other` for a number that Redial has no name for. Finite, so fit for a metric's label.
            pub const fn name(self) -> &'static str {
                match self.0 { $($number => $text,)* _ => "other" }
            }
        }
    };
}

result_codes! {
    /// Done.
    SUCCESS = 0, "success";
    /// Not properly sequenced, or an internal failure.
    OPERATIONS_ERROR = 1, "operationsError";
    /// Malformed, or not understood.
    PROTOCOL_ERROR = 2, "protocolError";
    /// The time limit of the client or server was reached.
    TIME_LIMIT_EXCEEDED = 3, "timeLimitExceeded";
    /// More entries match than the limit lets through.
    SIZE_LIMIT_EXCEEDED = 4, "sizeLimitExceeded";
    /// Compare: no.
    COMPARE_FALSE = 5, "compareFalse";
    /// Compare: yes.
    COMPARE_TRUE = 6, "compareTrue";
    /// A mechanism that is not offered.
    AUTH_METHOD_NOT_SUPPORTED = 7, "authMethodNotSupported";
    /// TLS or signing first.
    STRONGER_AUTH_REQUIRED = 8, "strongerAuthRequired";
    /// Ask elsewhere.
    REFERRAL = 10, "referral";
    /// A limit of the administrator's was exceeded.
    ADMIN_LIMIT_EXCEEDED = 11, "adminLimitExceeded";
    /// A critical control that is not carried out.
    UNAVAILABLE_CRITICAL_EXTENSION = 12, "unavailableCriticalExtension";
    /// TLS first.
    CONFIDENTIALITY_REQUIRED = 13, "confidentialityRequired";
    /// The next step of a SASL bind.
    SASL_BIND_IN_PROGRESS = 14, "saslBindInProgress";
    /// No such attribute on that entry.
    NO_SUCH_ATTRIBUTE = 16, "noSuchAttribute";
    /// An attribute that the schema does not know.
    UNDEFINED_ATTRIBUTE_TYPE = 17, "undefinedAttributeType";
    /// A match that the attribute does not have.
    INAPPROPRIATE_MATCHING = 18, "inappropriateMatching";
    /// A value that breaks a rule.
    CONSTRAINT_VIOLATION = 19, "constraintViolation";
    /// Already there.
    ATTRIBUTE_OR_VALUE_EXISTS = 20, "attributeOrValueExists";
    /// A value that is not of the attribute's syntax.
    INVALID_ATTRIBUTE_SYNTAX = 21, "invalidAttributeSyntax";
    /// No such entry.
    NO_SUCH_OBJECT = 32, "noSuchObject";
    /// An alias that leads nowhere.
    ALIAS_PROBLEM = 33, "aliasProblem";
    /// Not a distinguished name.
    INVALID_DN_SYNTAX = 34, "invalidDNSyntax";
    /// An alias that may not be followed.
    ALIAS_DEREFERENCING_PROBLEM = 36, "aliasDereferencingProblem";
    /// This way of proving oneself does not fit.
    INAPPROPRIATE_AUTHENTICATION = 48, "inappropriateAuthentication";
    /// Wrong name or password.
    INVALID_CREDENTIALS = 49, "invalidCredentials";
    /// Not allowed.
    INSUFFICIENT_ACCESS_RIGHTS = 50, "insufficientAccessRights";
    /// Later.
    BUSY = 51, "busy";
    /// No server can answer now.
    UNAVAILABLE = 52, "unavailable";
    /// Could, but will not.
    UNWILLING_TO_PERFORM = 53, "unwillingToPerform";
    /// A loop of aliases or servers.
    LOOP_DETECT = 54, "loopDetect";
    /// The entry's name breaks a rule.
    NAMING_VIOLATION = 64, "namingViolation";
    /// The entry breaks its class.
    OBJECT_CLASS_VIOLATION = 65, "objectClassViolation";
    /// Only a leaf may be.
    NOT_ALLOWED_ON_NON_LEAF = 66, "notAllowedOnNonLeaf";
    /// Not on the name.
    NOT_ALLOWED_ON_RDN = 67, "notAllowedOnRDN";
    /// Already there.
    ENTRY_ALREADY_EXISTS = 68, "entryAlreadyExists";
    /// Classes may not change.
    OBJECT_CLASS_MODS_PROHIBITED = 69, "objectClassModsProhibited";
    /// Several servers would be needed.
    AFFECTS_MULTIPLE_DSAS = 71, "affectsMultipleDSAs";
    /// Something else.
    OTHER = 80, "other";
    /// Cancel (RFC 3909): done.
    CANCELED = 118, "canceled";
    /// Cancel: no such operation.
    NO_SUCH_OPERATION = 119, "noSuchOperation";
    /// Cancel: it has finished already.
    TOO_LATE = 120, "tooLate";
    /// Cancel: that operation cannot be.
    CANNOT_CANCEL = 121, "cannotCancel";
    /// Assertion (RFC 4528): it did not hold.
    ASSERTION_FAILED = 122, "assertionFailed";
    /// Proxied authorization (RFC 4370): no.
    AUTHORIZATION_DENIED = 123, "authorizationDenied";
}

impl std::fmt::Debug for ResultCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl std::fmt::Display for ResultCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}
