//! The resultCode of a response (RFC 4511 section 4.1.9) and the numbers that Redial knows by name.
//!
//! Open, not an enum: servers send numbers that nobody foresaw, and an answer is not thrown away for that.

/// A resultCode (RFC 4511 section 4.1.9 and the registry): open, since servers send numbers that nobody foresaw.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResultCode(pub u32);

macro_rules! result_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl ResultCode {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Those that Redial knows by name.
            pub const NAMED: &[Self] = &[$(Self::$name,)*];

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
