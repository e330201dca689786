//! What a peer opened a TLS handshake with, told in a log line, so that an administrator can tell an old phone from an attack.
//!
//! Pure and bounded: the TLS library decides about the handshake, this only describes it. Whatever cannot be read is left out.

use rustls::{CipherSuite, ProtocolVersion, SignatureScheme};
use std::fmt;

/// The first octets of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opening {
    /// None came: a port scan, or a load balancer's look at the port.
    Silent,
    /// A TLS record with a ClientHello.
    Tls(ClientHello),
    /// A TLS record, or the beginning of one, that holds no whole ClientHello.
    BrokenTls,
    /// SSL 2's hello, which no TLS since 1.0 needs.
    Ssl2,
    /// An LDAPMessage without TLS.
    PlainLdap,
    /// Something else.
    Foreign(u8),
}

impl Opening {
    /// Looks at the first octets of a connection.
    pub(super) fn of(octets: &[u8]) -> Self {
        match *octets {
            [] => Self::Silent,
            [HANDSHAKE_RECORD, ..] => ClientHello::parse(octets).map_or(Self::BrokenTls, Self::Tls),
            [0x80..=0xff, _, 1, ..] => Self::Ssl2,
            [0x30, ..] => Self::PlainLdap,
            [first, ..] => Self::Foreign(first),
        }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("nothing"),
            Self::Tls(hello) => hello.fmt(f),
            Self::BrokenTls => f.write_str("a TLS record without a whole ClientHello"),
            Self::Ssl2 => f.write_str("an SSL 2 hello"),
            Self::PlainLdap => f.write_str("LDAP without TLS"),
            Self::Foreign(first) => write!(f, "neither TLS nor LDAP (first octet {first:#04x})"),
        }
    }
}

/// What a ClientHello offers, in its order, without GREASE values (RFC 8701).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    versions: Vec<u16>,
    cipher_suites: Vec<u16>,
    server_name: Option<String>,
    signature_schemes: Vec<u16>,
}

impl ClientHello {
    /// Reads the ClientHello in the first record of `octets`.
    fn parse(octets: &[u8]) -> Option<Self> {
        let mut record = Cursor(octets);
        record.take(3)?;
        let mut handshake = Cursor(record.prefixed(2)?);
        if handshake.number(1)? != CLIENT_HELLO {
            return None;
        }
        let mut body = Cursor(handshake.prefixed(3)?);
        let legacy_version = body.number(2)?;
        body.take(32)?;
        body.prefixed(1)?;
        let cipher_suites = numbers(body.prefixed(2)?);
        body.prefixed(1)?;
        let mut hello = Self { versions: vec![legacy_version], cipher_suites, ..Self::default() };
        // Extensions came with TLS 1.0's second edition; the oldest phones send none.
        if let Some(extensions) = body.prefixed(2) {
            hello.extensions(extensions);
        }
        Some(hello)
    }

    fn extensions(&mut self, extensions: &[u8]) {
        let mut extensions = Cursor(extensions);
        while let Some(kind) = extensions.number(2)
            && let Some(content) = extensions.prefixed(2)
        {
            let mut content = Cursor(content);
            match kind {
                SERVER_NAME => self.server_name = host_name(content),
                SIGNATURE_ALGORITHMS => self.signature_schemes = content.prefixed(2).map(numbers).unwrap_or_default(),
                SUPPORTED_VERSIONS => self.versions = content.prefixed(1).map(numbers).unwrap_or_default(),
                _ => {}
            }
        }
    }
}

impl fmt::Display for ClientHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("versions ")?;
        list(f, &self.versions, |&number| ProtocolVersion::from(number))?;
        f.write_str("; cipher suites ")?;
        list(f, &self.cipher_suites, |&number| CipherSuite::from(number))?;
        f.write_str("; signature schemes ")?;
        list(f, &self.signature_schemes, |&number| SignatureScheme::from(number))?;
        match &self.server_name {
            Some(name) => write!(f, "; server name {name}"),
            None => f.write_str("; no server name"),
        }
    }
}

fn list<T: fmt::Debug>(f: &mut fmt::Formatter<'_>, numbers: &[u16], name: impl Fn(&u16) -> T) -> fmt::Result {
    if numbers.is_empty() {
        return f.write_str("none");
    }
    for (position, number) in numbers.iter().take(MOST_NAMED).enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        match format!("{:?}", name(number)) {
            // The TLS library names only what it speaks.
            unnamed if unnamed.ends_with(')') => write!(f, "{comma}{number:#06x}")?,
            named => write!(f, "{comma}{named}")?,
        }
    }
    match numbers.len().saturating_sub(MOST_NAMED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// The host_name of RFC 6066 section 3; what is no plain host name is not repeated in a log.
fn host_name(mut content: Cursor<'_>) -> Option<String> {
    let mut names = Cursor(content.prefixed(2)?);
    if names.number(1)? != 0 {
        return None;
    }
    let name = std::str::from_utf8(names.prefixed(2)?).ok()?;
    let is_plain = name.len() <= 255 && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_'));
    is_plain.then(|| name.to_owned())
}

fn numbers(octets: &[u8]) -> Vec<u16> {
    let pairs = octets.as_chunks::<2>().0.iter().map(|&pair| u16::from_be_bytes(pair));
    pairs.filter(|number| number & 0x0f0f != 0x0a0a).collect()
}

/// Reads from front to back; `None` where the octets end.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A big-endian number of `width` octets, at most three.
    fn number(&mut self, width: usize) -> Option<u16> {
        let octets = self.take(width)?;
        octets.iter().try_fold(0_u16, |number, &octet| number.checked_mul(256)?.checked_add(octet.into()))
    }

    /// Octets that follow their count, which is `width` octets wide.
    fn prefixed(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.take(length.into())
    }
}

/// The content type of a record that holds a handshake message.
pub(super) const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u16 = 1;
const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;
/// Of each list, this many are named in a log line.
const MOST_NAMED: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record with a ClientHello of that version; no extensions element at all where `extensions` is `None`.
    fn record(version: [u8; 2], suites: &[u8], extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = version.to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(u16::try_from(suites.len()).unwrap().to_be_bytes());
        body.extend(suites);
        body.extend([1, 0]);
        if let Some(extensions) = extensions {
            body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
            body.extend(extensions);
        }
        let mut octets = vec![22, 3, 1];
        octets.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
        octets.extend([1, 0]);
        octets.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        octets.extend(body);
        octets
    }

    #[test]
    fn an_old_phone_is_told_by_its_versions_and_cipher_suites() {
        let opening = Opening::of(&record([3, 1], &[0, 0x2f, 0, 0x0a], None));
        assert_eq!(
            opening.to_string(),
            "versions TLSv1_0; cipher suites 0x002f, 0x000a; signature schemes none; \
             no server name"
        );
    }

    #[test]
    fn extensions_tell_versions_name_and_schemes_and_grease_is_left_out() {
        let extensions = [
            &[0x0a, 0x0a, 0, 0][..],
            &[0, 0, 0, 10, 0, 8, 0, 0, 5, b'p', b'h', b'.', b'd', b'e'],
            &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4],
            &[0, 43, 0, 7, 6, 0x1a, 0x1a, 3, 4, 3, 3],
        ]
        .concat();
        let opening = Opening::of(&record([3, 3], &[0x13, 1], Some(&extensions)));
        assert_eq!(
            opening.to_string(),
            "versions TLSv1_3, TLSv1_2; cipher suites TLS13_AES_128_GCM_SHA256; signature schemes ECDSA_NISTP256_SHA256, RSA_PSS_SHA256; \
             server name ph.de"
        );
    }

    #[test]
    fn a_server_name_that_is_no_host_name_is_not_repeated() {
        let opening = Opening::of(&record([3, 3], &[], Some(&[0, 0, 0, 8, 0, 6, 0, 0, 3, b'a', b'\n', b'b'])));
        assert!(opening.to_string().ends_with("no server name"));
    }

    #[test]
    fn what_is_no_tls_is_named() {
        assert_eq!(Opening::of(b""), Opening::Silent);
        assert_eq!(Opening::of(b"\x30\x0c\x02"), Opening::PlainLdap);
        assert_eq!(Opening::of(b"\x80\x2e\x01\x00\x02"), Opening::Ssl2);
        assert_eq!(Opening::of(b"GET / HTTP/1.1"), Opening::Foreign(b'G'));
        assert_eq!(Opening::of(b"\x16\x03"), Opening::BrokenTls);
    }

    proptest! {
        #[test]
        fn a_hello_cut_or_changed_anywhere_is_described_without_a_panic(cut in 0..200_usize, at in 0..200_usize, octet: u8) {
            let mut octets = record([3, 3], &[0x13, 1, 0xc0, 0x2f], Some(&[0, 0, 0, 8, 0, 6, 0, 0, 3, b'a', b'b', b'c', 0, 43, 0, 3, 2, 3, 4]));
            if let Some(changed) = octets.get_mut(at) {
                *changed = octet;
            }
            octets.truncate(cut);
            prop_assert!(Opening::of(&octets).to_string().len() < 4_000);
        }
    }
}
