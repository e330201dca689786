//! What a session decides about a Bind by itself (RFC 4511 section 4.2, RFC 4513 sections 5.1 and 6.3.3).
//!
//! Only a simple bind of version 3 with a name and a password, on a connection where passwords may be shown, is worth asking a directory.

use super::SessionRules;
use crate::ldap::ResultCode;
use crate::ldap::message::{Authentication, Bind};

/// What becomes of a Bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BindVerdict {
    /// An anonymous bind: done.
    Anonymous,
    /// Not with these words: the code, and the diagnostic message.
    Refused(ResultCode, &'static str),
    /// A name and a password: somebody must verify them.
    Verify,
}

/// Judges a well-formed Bind on a session that has TLS or not.
pub(super) fn judge(bind: &Bind<'_>, rules: &SessionRules, tls: bool) -> BindVerdict {
    if bind.version != VERSION {
        return BindVerdict::Refused(ResultCode::PROTOCOL_ERROR, "only LDAP version 3 is spoken here");
    }
    let password = match bind.authentication {
        Authentication::Simple(password) => password,
        // SASL cannot be carried through a proxy that ends TLS: the channel binding would be the wrong one, and without it this is a relay.
        Authentication::Sasl { .. } => {
            return BindVerdict::Refused(ResultCode::AUTH_METHOD_NOT_SUPPORTED, "no SASL mechanism is offered: use a simple bind");
        }
        Authentication::Unknown(_) => {
            return BindVerdict::Refused(ResultCode::AUTH_METHOD_NOT_SUPPORTED, "unknown authentication choice: use a simple bind");
        }
    };
    if !password.is_empty() && !tls && !rules.plain_passwords {
        return BindVerdict::Refused(ResultCode::CONFIDENTIALITY_REQUIRED, "a password needs TLS: use LDAPS or StartTLS");
    }
    match (bind.name.is_empty(), is_no_password(password)) {
        (true, _) if password.is_empty() => BindVerdict::Anonymous,
        (true, _) => BindVerdict::Refused(ResultCode::INVALID_CREDENTIALS, "a password without a name"),
        (false, true) => BindVerdict::Refused(ResultCode::UNWILLING_TO_PERFORM, "a name without a password proves nothing"),
        (false, false) => BindVerdict::Verify,
    }
}

/// Empty, or nothing but NULs, which a directory written in C may take for empty: an unauthenticated bind (RFC 4513 section 5.1.2).
fn is_no_password(password: &[u8]) -> bool {
    password.iter().all(|&octet| octet == 0)
}

/// The version of RFC 4511.
const VERSION: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: SessionRules = SessionRules { max_pending: 4, start_tls: true, tls_required: false, plain_passwords: true };

    fn simple<'a>(name: &'a str, password: &'a [u8]) -> Bind<'a> {
        Bind { version: 3, name, authentication: Authentication::Simple(password) }
    }

    fn code(verdict: BindVerdict) -> Option<u32> {
        match verdict {
            BindVerdict::Refused(code, _) => Some(code.0),
            BindVerdict::Anonymous | BindVerdict::Verify => None,
        }
    }

    #[test]
    fn every_combination_of_emptiness_is_told_apart() {
        assert_eq!(judge(&simple("", b""), &RULES, false), BindVerdict::Anonymous);
        assert_eq!(judge(&simple("cn=a", b"secret"), &RULES, false), BindVerdict::Verify);
        assert_eq!(code(judge(&simple("cn=a", b""), &RULES, false)), Some(53));
        assert_eq!(code(judge(&simple("", b"secret"), &RULES, false)), Some(49));
    }

    #[test]
    fn a_password_of_nothing_but_nuls_is_no_password() {
        assert_eq!(code(judge(&simple("cn=a", b"\0"), &RULES, true)), Some(53));
        assert_eq!(code(judge(&simple("cn=a", b"\0\0\0"), &RULES, true)), Some(53));
        assert_eq!(code(judge(&simple("", b"\0"), &RULES, true)), Some(49));
        assert_eq!(judge(&simple("cn=a", b"\0x"), &RULES, true), BindVerdict::Verify);
    }

    #[test]
    fn a_version_other_than_3_is_a_protocol_error() {
        for version in [0, 1, 2, 4, 127] {
            assert_eq!(code(judge(&Bind { version, ..simple("", b"") }, &RULES, true)), Some(2), "version {version}");
        }
    }

    #[test]
    fn sasl_and_unknown_choices_are_not_supported() {
        for authentication in [
            Authentication::Sasl { mechanism: "GSSAPI", credentials: Some(b"token") },
            Authentication::Sasl { mechanism: "EXTERNAL", credentials: None },
            Authentication::Sasl { mechanism: "", credentials: None },
            Authentication::Unknown(0x8a),
        ] {
            assert_eq!(code(judge(&Bind { version: 3, name: "", authentication }, &RULES, true)), Some(7));
        }
    }

    #[test]
    fn a_password_in_the_clear_is_refused_where_the_listener_says_so() {
        let rules = SessionRules { plain_passwords: false, ..RULES };
        assert_eq!(code(judge(&simple("cn=a", b"secret"), &rules, false)), Some(13));
        assert_eq!(code(judge(&simple("", b"secret"), &rules, false)), Some(13));
        assert_eq!(judge(&simple("cn=a", b"secret"), &rules, true), BindVerdict::Verify);
        assert_eq!(judge(&simple("", b""), &rules, false), BindVerdict::Anonymous);
    }
}
