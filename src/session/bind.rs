//! What a session decides about a Bind by itself (RFC 4511 section 4.2, RFC 4513 sections 5.1, 5.2 and 6.3.3).
//!
//! Only a bind of version 3 with a name and a password, on a connection where passwords may be shown, is worth asking a directory. SASL
//! PLAIN (RFC 4616) is a simple bind in other clothes, so over TLS it becomes one: there are phones that cannot send the other.

use super::SessionRules;
use crate::identity::Principal;
use crate::identity::accounts::normalised;
use crate::ldap::ResultCode;
use crate::ldap::message::{Authentication, Bind};
use std::sync::Arc;

/// What becomes of a Bind.
#[derive(Debug, Clone, Copy)]
pub(super) enum BindVerdict<'a> {
    /// An anonymous bind: done.
    Anonymous,
    /// Not with these words: the code, and the diagnostic message.
    Refused(ResultCode, &'static str),
    /// PLAIN is spoken, but its one message is still missing. The Bind that brings it stands for itself, so nothing is kept until then.
    AwaitsMessage,
    /// A name and a password, as a simple bind: somebody must verify them.
    Verify(Bind<'a>),
    /// SASL EXTERNAL with these credentials, if any: see [`judge_external`].
    External(Option<&'a [u8]>),
}

/// Judges a well-formed Bind on a session that has TLS or not.
pub(super) fn judge<'a>(bind: &Bind<'a>, rules: &SessionRules, tls: bool) -> BindVerdict<'a> {
    if bind.version != VERSION {
        return BindVerdict::Refused(ResultCode::PROTOCOL_ERROR, "only LDAP version 3 is spoken here");
    }
    let password = match bind.authentication {
        Authentication::Simple(password) => password,
        Authentication::Sasl { mechanism, credentials } if mechanism.eq_ignore_ascii_case(PLAIN) => return judge_plain(credentials, tls),
        Authentication::Sasl { mechanism, credentials } if rules.external && mechanism.eq_ignore_ascii_case(EXTERNAL) => {
            return BindVerdict::External(credentials);
        }
        // Others cannot be carried through a proxy that ends TLS: the channel binding would be the wrong one, and without it this is a relay.
        Authentication::Sasl { .. } => {
            return BindVerdict::Refused(ResultCode::AUTH_METHOD_NOT_SUPPORTED, "this SASL mechanism is not offered: use a simple bind");
        }
        Authentication::Unknown(_) => {
            return BindVerdict::Refused(ResultCode::AUTH_METHOD_NOT_SUPPORTED, "unknown authentication choice: use a simple bind");
        }
    };
    if !password.is_empty() && !tls && !rules.plain_passwords {
        return BindVerdict::Refused(ResultCode::CONFIDENTIALITY_REQUIRED, "a password needs TLS: use LDAPS or StartTLS");
    }
    if bind.name.is_empty() && password.is_empty() {
        BindVerdict::Anonymous
    } else if is_no_name(bind.name) && !password.is_empty() {
        BindVerdict::Refused(ResultCode::INVALID_CREDENTIALS, "a password without a name")
    } else if is_no_password(password) {
        BindVerdict::Refused(ResultCode::UNWILLING_TO_PERFORM, "a name without a password proves nothing")
    } else {
        BindVerdict::Verify(*bind)
    }
}

/// SASL PLAIN (RFC 4616), whose message is `[authzid] NUL authcid NUL passwd`. The name in the Bind itself means nothing.
fn judge_plain(message: Option<&[u8]>, tls: bool) -> BindVerdict<'_> {
    if !tls {
        return BindVerdict::Refused(ResultCode::CONFIDENTIALITY_REQUIRED, "PLAIN needs TLS: use LDAPS or StartTLS");
    }
    let Some(message) = message else { return BindVerdict::AwaitsMessage };
    let parts = std::str::from_utf8(message).map(|text| text.splitn(4, '\0').collect::<Vec<_>>());
    let Ok([authorization, name, password]) = parts.as_deref() else {
        return BindVerdict::Refused(ResultCode::PROTOCOL_ERROR, "not a message of PLAIN");
    };
    if is_no_name(name) || password.is_empty() {
        return BindVerdict::Refused(ResultCode::INVALID_CREDENTIALS, "PLAIN needs a name and a password");
    }
    // To act as somebody else is a right that nobody has here.
    let acts_as = ["u:", "dn:"].iter().find_map(|prefix| authorization.strip_prefix(prefix)).unwrap_or(authorization);
    if !authorization.is_empty() && acts_as != *name && authorization != name {
        return BindVerdict::Refused(ResultCode::INVALID_CREDENTIALS, "nobody acts as somebody else here");
    }
    BindVerdict::Verify(Bind { version: VERSION, name, authentication: Authentication::Simple(password.as_bytes()) })
}

/// SASL EXTERNAL (RFC 4422 appendix A, RFC 4513 section 5.2.3): the certificate has proved who the client is. `credentials` may say as whom it
/// wants to act, which can only be that principal. Gives the principal, or the code and the diagnostic message of the refusal.
pub(super) fn judge_external<'a>(
    credentials: Option<&[u8]>,
    certificate: Option<&'a Arc<Principal>>,
) -> Result<&'a Arc<Principal>, (ResultCode, &'static str)> {
    let Some(principal) = certificate else {
        return Err((ResultCode::INAPPROPRIATE_AUTHENTICATION, "EXTERNAL needs a client certificate with a name in it"));
    };
    let acts_as_itself = std::str::from_utf8(credentials.unwrap_or_default()).is_ok_and(|authorization| {
        let name = ["u:", "dn:"].iter().find_map(|prefix| authorization.strip_prefix(prefix));
        authorization.is_empty() || name.is_some_and(|name| normalised(name) == normalised(&principal.name))
    });
    if acts_as_itself { Ok(principal) } else { Err((ResultCode::INVALID_CREDENTIALS, "nobody acts as somebody else here")) }
}

/// Empty, or what a directory written in C may take for empty, since it begins with a NUL: an unauthenticated bind (RFC 4513 section 5.1.2).
fn is_no_password(password: &[u8]) -> bool {
    password.first().is_none_or(|&octet| octet == 0)
}

/// Empty, or what a directory may take for empty: it would answer as to an anonymous bind (RFC 4513 section 5.1.3).
fn is_no_name(name: &str) -> bool {
    name.chars().all(|character| character.is_whitespace() || character.is_control())
}

/// The version of RFC 4511.
const VERSION: u8 = 3;

/// The one SASL mechanism that becomes a simple bind.
const PLAIN: &str = "PLAIN";

/// The one SASL mechanism that needs nothing but the certificate.
const EXTERNAL: &str = "EXTERNAL";

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: SessionRules =
        SessionRules { max_pending: 4, start_tls: true, tls_required: false, plain_passwords: true, external: true };

    fn simple<'a>(name: &'a str, password: &'a [u8]) -> Bind<'a> {
        Bind { version: 3, name, authentication: Authentication::Simple(password) }
    }

    fn code(verdict: BindVerdict<'_>) -> Option<u32> {
        match verdict {
            BindVerdict::Refused(code, _) => Some(code.0),
            BindVerdict::AwaitsMessage => Some(ResultCode::SASL_BIND_IN_PROGRESS.0),
            BindVerdict::Anonymous | BindVerdict::Verify(_) | BindVerdict::External(_) => None,
        }
    }

    /// The name and the password that somebody must verify.
    fn verified<'a>(verdict: &BindVerdict<'a>) -> Option<(&'a str, &'a [u8])> {
        match verdict {
            BindVerdict::Verify(Bind { version: 3, name, authentication: Authentication::Simple(password) }) => Some((name, password)),
            _ => None,
        }
    }

    fn plain(message: &[u8]) -> Bind<'_> {
        Bind { version: 3, name: "cn=ignored", authentication: Authentication::Sasl { mechanism: "PLAIN", credentials: Some(message) } }
    }

    #[test]
    fn every_combination_of_emptiness_is_told_apart() {
        assert!(matches!(judge(&simple("", b""), &RULES, false), BindVerdict::Anonymous));
        assert_eq!(verified(&judge(&simple("cn=a", b"secret"), &RULES, false)), Some(("cn=a", &b"secret"[..])));
        assert_eq!(code(judge(&simple("cn=a", b""), &RULES, false)), Some(53));
        assert_eq!(code(judge(&simple("", b"secret"), &RULES, false)), Some(49));
    }

    #[test]
    fn a_password_that_begins_with_a_nul_is_no_password() {
        assert_eq!(code(judge(&simple("cn=a", b"\0"), &RULES, true)), Some(53));
        assert_eq!(code(judge(&simple("cn=a", b"\0\0\0"), &RULES, true)), Some(53));
        assert_eq!(code(judge(&simple("", b"\0"), &RULES, true)), Some(49));
        assert_eq!(code(judge(&simple("cn=a", b"\0x"), &RULES, true)), Some(53));
        assert_eq!(verified(&judge(&simple("cn=a", b"x\0"), &RULES, true)), Some(("cn=a", &b"x\0"[..])));
    }

    #[test]
    fn a_name_of_nothing_that_shows_is_no_name() {
        for name in [" ", "\t\n", "\0", "\u{a0}"] {
            assert_eq!(code(judge(&simple(name, b"secret"), &RULES, true)), Some(49), "{name:?}");
            assert_eq!(code(judge(&simple(name, b""), &RULES, true)), Some(53), "{name:?}");
        }
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
            Authentication::Sasl { mechanism: "NTLM", credentials: None },
            Authentication::Sasl { mechanism: "GSS-SPNEGO", credentials: Some(b"NTLMSSP\0") },
            Authentication::Sasl { mechanism: "EXTERNALS", credentials: None },
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
        assert_eq!(verified(&judge(&simple("cn=a", b"secret"), &rules, true)), Some(("cn=a", &b"secret"[..])));
        assert!(matches!(judge(&simple("", b""), &rules, false), BindVerdict::Anonymous));
    }

    #[test]
    fn plain_over_tls_becomes_a_simple_bind() {
        for (message, name) in [
            (&b"\0cn=a\0secret"[..], "cn=a"),
            (b"cn=a\0cn=a\0secret", "cn=a"),
            (b"dn:cn=a\0cn=a\0secret", "cn=a"),
            (b"u:anna@corp.example\0anna@corp.example\0secret", "anna@corp.example"),
            (b"u:a\0u:a\0secret", "u:a"),
        ] {
            assert_eq!(verified(&judge(&plain(message), &RULES, true)), Some((name, &b"secret"[..])));
        }
        let lower_case =
            Bind { authentication: Authentication::Sasl { mechanism: "plain", credentials: Some(b"\0a\0b") }, ..simple("", b"") };
        assert_eq!(verified(&judge(&lower_case, &RULES, true)), Some(("a", &b"b"[..])));
    }

    #[test]
    fn plain_that_proves_nothing_is_refused() {
        for (message, expected) in [
            (&b"\0cn=a\0"[..], 49),
            (b"\0\0secret", 49),
            (b"\0\0", 49),
            (b"cn=b\0cn=a\0secret", 49),
            (b"u:cn=b\0cn=a\0secret", 49),
            (b"u:\0cn=a\0secret", 49),
            (b"", 2),
            (b"cn=a", 2),
            (b"cn=a\0secret", 2),
            (b"\0cn=a\0secret\0", 2),
            (b"\0cn=a\0\0", 2),
            (b"\0cn=\xff\0secret", 2),
            (b"\0cn=a\0secr\xe9t", 2),
        ] {
            assert_eq!(code(judge(&plain(message), &RULES, true)), Some(expected), "{message:?}");
        }
    }

    #[test]
    fn plain_without_tls_is_refused_even_where_passwords_may_be_shown() {
        assert_eq!(code(judge(&plain(b"\0cn=a\0secret"), &RULES, false)), Some(13));
    }

    #[test]
    fn external_is_unknown_where_no_certificate_proves_a_name() {
        let bind = Bind { authentication: Authentication::Sasl { mechanism: "EXTERNAL", credentials: None }, ..simple("", b"") };
        assert_eq!(code(judge(&bind, &SessionRules { external: false, ..RULES }, true)), Some(7));
        assert!(matches!(judge(&bind, &RULES, true), BindVerdict::External(None)));
    }

    #[test]
    fn external_proves_the_certificates_name_and_no_other() {
        let principal = Arc::new(Principal::of_redial("CN=PBX,O=Example".to_owned()));
        let judged = |credentials| judge_external(credentials, Some(&principal)).map_err(|(code, _)| code.0);
        for itself in [None, Some(&b""[..]), Some(b"dn:CN=PBX,O=Example"), Some(b"dn:cn=pbx, o=example"), Some(b"u:cn=pbx,o=example")] {
            assert!(judged(itself).is_ok_and(|proved| Arc::ptr_eq(proved, &principal)), "{itself:?}");
        }
        for other in [&b"dn:"[..], b"u:", b"CN=PBX,O=Example", b"dn:CN=admin,O=Example", b"u:pbx", b"\0", b"dn:CN=PBX,O=Example\0", b"\xff"]
        {
            assert_eq!(judged(Some(other)).err(), Some(49), "{other:?}");
        }
        assert_eq!(judge_external(None, None).map_err(|(code, _)| code.0).err(), Some(48));
        assert_eq!(judge_external(Some(b"dn:CN=PBX,O=Example"), None).map_err(|(code, _)| code.0).err(), Some(48));
    }

    #[test]
    fn plain_without_its_message_is_asked_for_it() {
        let bind = Bind { authentication: Authentication::Sasl { mechanism: "PLAIN", credentials: None }, ..simple("", b"") };
        assert_eq!(code(judge(&bind, &RULES, true)), Some(14));
        assert_eq!(code(judge(&bind, &RULES, false)), Some(13));
    }
}
