//! The name in a client's certificate: whom SASL EXTERNAL proves (RFC 4513 section 5.2.3).
//!
//! In: a certificate that TLS has verified, and where in it the configuration looks. Out: the name there, as text that an access can
//! list. A certificate without such a name, or with one that is no text, names nobody.

use crate::config::ClientName;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, Utf8StringRef};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};

/// The client's name in a certificate in DER. A subject is written as RFC 4514 does.
pub(super) fn name(certificate: &[u8], at: ClientName) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let contents = certificate.tbs_certificate();
    let name = if at == ClientName::Subject {
        contents.subject().to_string()
    } else {
        let (_, SubjectAltName(names)) = contents.get_extension().ok()??;
        names.iter().find_map(|name| alternative(name, at))?
    };
    let is_text = !name.trim().is_empty() && name.chars().count() <= MOST_CHARACTERS && !name.chars().any(char::is_control);
    is_text.then_some(name)
}

/// The text of an alternative name, if it is of that kind.
fn alternative(name: &GeneralName, kind: ClientName) -> Option<String> {
    match (kind, name) {
        (ClientName::Dns, GeneralName::DnsName(text)) | (ClientName::Email, GeneralName::Rfc822Name(text)) => Some(owned(text)),
        (ClientName::Upn, GeneralName::OtherName(other)) => user_principal_name(other),
        _ => None,
    }
}

fn owned(text: &Ia5String) -> String {
    text.as_str().to_owned()
}

fn user_principal_name(other: &OtherName) -> Option<String> {
    if other.type_id != USER_PRINCIPAL_NAME {
        return None;
    }
    Utf8StringRef::try_from(&other.value).ok().map(|text| text.as_str().to_owned())
}

/// Of a name; what directories hold is shorter.
const MOST_CHARACTERS: usize = 1024;

/// `szOID_NT_PRINCIPAL_NAME`, under Microsoft's arc: the logon name in the certificates of Active Directory's CA.
const USER_PRINCIPAL_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.3");

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, OtherNameValue, SanType};

    fn certificate(subject: &[(DnType, &str)], alternatives: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = alternatives;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn upn(text: &str) -> SanType {
        SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], OtherNameValue::Utf8String(text.to_owned())))
    }

    #[test]
    fn each_kind_of_name_is_found_where_it_stands() {
        let subject = [(DnType::OrganizationName, "Example"), (DnType::CommonName, "PBX 1")];
        let other = SanType::OtherName((vec![1, 2, 3], OtherNameValue::Utf8String("somebody".to_owned())));
        let alternatives = vec![
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            other,
            SanType::Rfc822Name("pbx@corp.example".try_into().unwrap()),
            SanType::DnsName("pbx.corp.example".try_into().unwrap()),
            SanType::DnsName("second.corp.example".try_into().unwrap()),
            upn("svc-pbx@corp.example"),
        ];
        let certificate = certificate(&subject, alternatives);
        for (at, expected) in [
            (ClientName::Subject, "CN=PBX 1,O=Example"),
            (ClientName::Dns, "pbx.corp.example"),
            (ClientName::Email, "pbx@corp.example"),
            (ClientName::Upn, "svc-pbx@corp.example"),
        ] {
            assert_eq!(name(&certificate, at).as_deref(), Some(expected), "{at:?}");
        }
    }

    #[test]
    fn a_subject_cannot_write_itself_another_one() {
        let certificate = certificate(&[(DnType::CommonName, "x,CN=admin+O=\\ ")], Vec::new());
        assert_eq!(name(&certificate, ClientName::Subject).as_deref(), Some("CN=x\\,CN=admin\\+O=\\\\\\ "));
    }

    #[test]
    fn a_certificate_without_that_name_names_nobody() {
        let bare = certificate(&[], Vec::new());
        for at in [ClientName::Subject, ClientName::Dns, ClientName::Email, ClientName::Upn] {
            assert_eq!(name(&bare, at), None, "{at:?}");
        }
        assert_eq!(name(b"\x30\x03\x02\x01\x05", ClientName::Subject), None);
        for upn in [upn(""), upn(" "), upn("a\0b"), upn(&"a".repeat(1025))] {
            assert_eq!(name(&certificate(&[], vec![upn]), ClientName::Upn), None);
        }
    }
}
