//! The PROXY protocol's header, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): octets in, who has really connected out. Pure.
//!
//! A header comes before anything else, TLS too, so not one octet behind it may be read with it: [`decode`] says how many are surely still the
//! header's. What is not a header to the letter is an error: where one is expected, everything else is somebody who pretends. Bounded: 107 octets
//! of version 1, and [`LONGEST`] of version 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

/// What the octets that have come are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// The beginning of a header: at least so many more octets belong to it.
    Needs(usize),
    /// A header of so many octets.
    Whole(usize, Source),
}

/// Who has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The one from whom the connection comes: a health check of the proxy's own, or one of which it does not know more.
    Peer,
    /// Somebody there.
    Client(SocketAddr),
}

/// Why octets are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// They begin as neither version does.
    #[error("no PROXY header")]
    NotAHeader,
    /// A line of version 1 that is not as it should be.
    #[error("a PROXY header of version 1 that is malformed")]
    MalformedLine,
    /// A header of version 2 that is not as it should be.
    #[error("a PROXY header of version 2 that is malformed")]
    Malformed,
    /// A command or an address family that no TCP connection has.
    #[error("a PROXY header of version 2 for something that is no TCP connection")]
    NotTcp,
    /// More than a header needs.
    #[error("a PROXY header of more than {LONGEST} octets")]
    TooLong,
    /// The octets have changed on the way.
    #[error("a PROXY header with a wrong checksum")]
    WrongChecksum,
}

/// Looks at octets from the beginning of a connection.
///
/// # Errors
/// When they are no header, however they go on.
pub fn decode(octets: &[u8]) -> Result<Decoded, HeaderError> {
    if octets.is_empty() {
        return Ok(Decoded::Needs(SHORTEST_LINE.min(FIXED)));
    }
    if begins_as(octets, SIGNATURE) {
        return version_2(octets);
    }
    if begins_as(octets, LINE_BEGIN) {
        return version_1(octets);
    }
    Err(HeaderError::NotAHeader)
}

/// One of the two is the beginning of the other.
fn begins_as(octets: &[u8], beginning: &[u8]) -> bool {
    octets.iter().zip(beginning).all(|(octet, expected)| octet == expected)
}

fn version_1(octets: &[u8]) -> Result<Decoded, HeaderError> {
    let end = octets.windows(2).position(|pair| pair == b"\r\n");
    let Some(line) = end.and_then(|end| octets.get(..end)) else {
        let missing = if octets.ends_with(b"\r") { 1 } else { 2 };
        let missing = missing.max(SHORTEST_LINE.saturating_sub(octets.len()));
        // A line feed can only end it.
        let is_hopeless = octets.contains(&b'\n') || octets.len() + missing > LONGEST_LINE;
        return if is_hopeless { Err(HeaderError::MalformedLine) } else { Ok(Decoded::Needs(missing)) };
    };
    let length = line.len() + 2;
    if length > LONGEST_LINE || line.contains(&b'\n') {
        return Err(HeaderError::MalformedLine);
    }
    let source = std::str::from_utf8(line).ok().and_then(source_in_line).ok_or(HeaderError::MalformedLine)?;
    Ok(Decoded::Whole(length, source))
}

fn source_in_line(line: &str) -> Option<Source> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let protocol = words.next()?;
    if protocol == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(Source::Peer);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    let address: fn(&str) -> Option<IpAddr> = match protocol {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, _, _) = (address(source)?, address(destination)?, destination_port);
    words.next().is_none().then(|| Source::Client(SocketAddr::new(source, source_port)))
}

/// A port to the letter: no sign and no leading zero.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn version_2(octets: &[u8]) -> Result<Decoded, HeaderError> {
    let Some((&[version_and_command, family, high, low], _)) = octets.get(SIGNATURE.len()..).and_then(<[u8]>::split_first_chunk) else {
        return Ok(Decoded::Needs(FIXED - octets.len()));
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(HeaderError::TooLong);
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::NotTcp),
    };
    let Some(header) = octets.get(..length) else { return Ok(Decoded::Needs(length - octets.len())) };
    let content = header.get(FIXED..).unwrap_or_default();
    let (client, vectors) = match family {
        TCP4 => client(content, |octets: [u8; 4]| octets.into())?,
        TCP6 => client(content, |octets: [u8; 16]| octets.into())?,
        // Whatever follows is to be ignored.
        UNSPECIFIED => return Ok(Decoded::Whole(length, Source::Peer)),
        _ if is_local => return Ok(Decoded::Whole(length, Source::Peer)),
        _ => return Err(HeaderError::NotTcp),
    };
    check_vectors(header, vectors)?;
    Ok(Decoded::Whole(length, if is_local { Source::Peer } else { Source::Client(client) }))
}

/// Source and destination address, then their ports: the source, and what follows.
fn client<const N: usize>(content: &[u8], address: impl Fn([u8; N]) -> IpAddr) -> Result<(SocketAddr, &[u8]), HeaderError> {
    let take = || {
        let (source, rest) = content.split_first_chunk::<N>()?;
        let (_, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk::<2>()?;
        let (_, rest) = rest.split_first_chunk::<2>()?;
        Some((SocketAddr::new(address(*source), u16::from_be_bytes(*source_port)), rest))
    };
    take().ok_or(HeaderError::Malformed)
}

/// Type, length and value, one after another: passed over, but for the checksum of the whole header where there is one.
fn check_vectors(header: &[u8], mut vectors: &[u8]) -> Result<(), HeaderError> {
    while !vectors.is_empty() {
        let (&[kind, high, low], rest) = vectors.split_first_chunk().ok_or(HeaderError::Malformed)?;
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into()).ok_or(HeaderError::Malformed)?;
        if kind == CHECKSUM {
            let value: [u8; 4] = value.try_into().map_err(|_| HeaderError::Malformed)?;
            // It is taken over the header with zeros in its own place.
            let before = header.len() - rest.len() - value.len();
            let zeroed = header.iter().enumerate().map(|(at, octet)| if (before..before + 4).contains(&at) { 0 } else { *octet });
            if crc32c(zeroed) != u32::from_be_bytes(value) {
                return Err(HeaderError::WrongChecksum);
            }
        }
        vectors = rest;
    }
    Ok(())
}

/// RFC 9260 appendix A; bit by bit, since a header is short.
fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    !octets.fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(octet), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ CASTAGNOLI } else { crc >> 1 })
    })
}

/// The most octets of a header. Addresses take 36; what load balancers add (names, certificates' subjects) a few hundred.
pub const LONGEST: usize = 4096;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// PP2_TYPE_CRC32C.
const CHECKSUM: u8 = 0x03;
/// The polynomial, reflected.
const CASTAGNOLI: u32 = 0x82f6_3b78;

const LINE_BEGIN: &[u8] = b"PROXY ";
/// `PROXY UNKNOWN` and its end.
const SHORTEST_LINE: usize = 15;
/// With its end; the specification's worst case.
const LONGEST_LINE: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(text: &str) -> Source {
        Source::Client(text.parse().unwrap())
    }

    /// A header of version 2.
    fn binary(version_and_command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version_and_command, family], &length, content].concat()
    }

    const ADDRESSES: [u8; 12] = [10, 20, 1, 7, 10, 0, 0, 1, 0xc3, 0x50, 2, 124];

    fn with_checksum(vectors: &[u8]) -> Vec<u8> {
        let mut header = binary(0x21, TCP4, &[&ADDRESSES, vectors, &[CHECKSUM, 0, 4, 0, 0, 0, 0]].concat());
        let checksum = crc32c(header.iter().copied()).to_be_bytes();
        let at = header.len() - 4;
        header[at..].copy_from_slice(&checksum);
        header
    }

    #[test]
    fn a_line_names_the_client() {
        for (line, source) in [
            ("PROXY TCP4 10.20.1.7 10.0.0.1 50000 636\r\n", client("10.20.1.7:50000")),
            ("PROXY TCP6 fd00::7 fd00::1 50000 636\r\n", client("[fd00::7]:50000")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", client("255.255.255.255:65535")),
            ("PROXY UNKNOWN\r\n", Source::Peer),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Source::Peer),
        ] {
            assert_eq!(decode(line.as_bytes()), Ok(Decoded::Whole(line.len(), source)), "{line}");
            assert_eq!(decode(format!("{line}0\x0c").as_bytes()), Ok(Decoded::Whole(line.len(), source)), "with what follows it");
        }
    }

    #[test]
    fn a_line_that_is_not_to_the_letter_is_none() {
        for line in [
            "PROXY TCP4 10.20.1.7 10.0.0.1 50000 636\n",
            "PROXY TCP4 10.20.1.7 10.0.0.1 50000\r\n",
            "PROXY TCP4 10.20.1.7 10.0.0.1 50000 636 \r\n",
            "PROXY TCP4 10.20.1.7  10.0.0.1 50000 636\r\n",
            "PROXY TCP4 10.20.1.07 10.0.0.1 50000 636\r\n",
            "PROXY TCP4 10.20.1.7 10.0.0.1 050000 636\r\n",
            "PROXY TCP4 10.20.1.7 10.0.0.1 +5000 636\r\n",
            "PROXY TCP4 10.20.1.7 10.0.0.1 65536 636\r\n",
            "PROXY TCP4 fd00::7 fd00::1 50000 636\r\n",
            "PROXY TCP6 10.20.1.7 10.0.0.1 50000 636\r\n",
            "PROXY UDP4 10.20.1.7 10.0.0.1 50000 636\r\n",
            "PROXY unknown\r\nxx",
            "PROXY UNKNOWN a\nb\r\n",
            "PROXY \r\n0123456789",
        ] {
            assert_eq!(decode(line.as_bytes()), Err(HeaderError::MalformedLine), "{line:?}");
        }
        let long = |filler: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(filler));
        assert_eq!(decode(long(91).as_bytes()), Ok(Decoded::Whole(LONGEST_LINE, Source::Peer)));
        assert_eq!(decode(long(92).as_bytes()), Err(HeaderError::MalformedLine));
        assert_eq!(decode(&long(500).as_bytes()[..LONGEST_LINE]), Err(HeaderError::MalformedLine), "not read further");
    }

    #[test]
    fn a_binary_header_names_the_client() {
        let header = binary(0x21, TCP4, &ADDRESSES);
        assert_eq!(decode(&header), Ok(Decoded::Whole(28, client("10.20.1.7:50000"))));
        let mut addresses = [0; 36];
        addresses[15] = 1;
        addresses[33] = 9;
        assert_eq!(decode(&binary(0x21, TCP6, &addresses)), Ok(Decoded::Whole(52, client("[::1]:9"))));
        let vectors = [&ADDRESSES[..], &[4, 0, 2, 0, 0, 0xea, 0, 0]].concat();
        assert_eq!(decode(&binary(0x21, TCP4, &vectors)), Ok(Decoded::Whole(36, client("10.20.1.7:50000"))));
    }

    #[test]
    fn a_proxys_own_connection_and_one_it_knows_nothing_of_keep_their_address() {
        for header in [
            binary(0x20, UNSPECIFIED, &[]),
            binary(0x20, TCP4, &ADDRESSES),
            binary(0x20, 0x31, &[0; 216]),
            binary(0x21, UNSPECIFIED, &[1, 2, 3]),
        ] {
            assert_eq!(decode(&header), Ok(Decoded::Whole(header.len(), Source::Peer)), "{header:x?}");
        }
    }

    #[test]
    fn a_binary_header_that_is_not_to_the_letter_is_none() {
        for (header, error) in [
            (binary(0x11, TCP4, &ADDRESSES), HeaderError::NotTcp),
            (binary(0x22, TCP4, &ADDRESSES), HeaderError::NotTcp),
            (binary(0x21, 0x12, &ADDRESSES), HeaderError::NotTcp),
            (binary(0x21, 0x31, &[0; 216]), HeaderError::NotTcp),
            (binary(0x21, TCP4, &ADDRESSES[..11]), HeaderError::Malformed),
            (binary(0x21, TCP6, &ADDRESSES), HeaderError::Malformed),
            (binary(0x21, TCP4, &[&ADDRESSES[..], &[4, 0]].concat()), HeaderError::Malformed),
            (binary(0x21, TCP4, &[&ADDRESSES[..], &[4, 0, 2, 0]].concat()), HeaderError::Malformed),
            (binary(0x21, TCP4, &[&ADDRESSES[..], &[CHECKSUM, 0, 3, 0, 0, 0]].concat()), HeaderError::Malformed),
            ([SIGNATURE, &[0x21, TCP4, 0xff, 0xff]].concat(), HeaderError::TooLong),
            (b"GET / HTTP/1.1\r\n".to_vec(), HeaderError::NotAHeader),
            (b"\x30".to_vec(), HeaderError::NotAHeader),
            (b"\x16\x03\x01".to_vec(), HeaderError::NotAHeader),
        ] {
            assert_eq!(decode(&header), Err(error), "{header:x?}");
        }
    }

    #[test]
    fn a_checksum_must_be_right() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283, "the check value of CRC-32C");
        let header = with_checksum(&[4, 0, 1, 0]);
        assert_eq!(decode(&header), Ok(Decoded::Whole(header.len(), client("10.20.1.7:50000"))));
        // But for the one octet that says that it is one.
        for at in (FIXED..header.len()).filter(|at| *at != header.len() - 7) {
            let mut changed = header.clone();
            changed[at] ^= 1;
            assert!(!matches!(decode(&changed), Ok(Decoded::Whole(..))), "octet {at}");
        }
    }

    proptest! {
        #[test]
        fn not_one_octet_behind_a_header_is_asked_for(which in 0..4_usize, filler in 0..92_usize) {
            let header = match which {
                0 => format!("PROXY UNKNOWN {}\r\n", "x".repeat(filler)).into_bytes(),
                1 => format!("PROXY TCP4 10.0.0.1 10.0.0.2 {filler} 636\r\n").into_bytes(),
                2 => with_checksum(&[&[4, 0, u8::try_from(filler).unwrap()][..], &vec![0; filler]].concat()),
                _ => binary(0x20, UNSPECIFIED, &vec![7; filler]),
            };
            let mut come = 0;
            let length = loop {
                match decode(&header[..come]).unwrap() {
                    Decoded::Needs(more) => come += more,
                    Decoded::Whole(length, _) => break length,
                }
                prop_assert!(come <= header.len());
            };
            prop_assert_eq!(length, header.len());
            for cut in 0..header.len() {
                prop_assert!(matches!(decode(&header[..cut]), Ok(Decoded::Needs(more)) if more > 0 && cut + more <= header.len()));
            }
        }

        #[test]
        fn any_octets_are_decoded_without_a_panic(octets: Vec<u8>, version in 0..3_usize) {
            let octets = [[&b""[..], SIGNATURE, LINE_BEGIN][version], octets.as_slice()].concat();
            if let Ok(Decoded::Whole(length, _)) = decode(&octets) {
                prop_assert!(length <= octets.len() && length <= LONGEST);
                prop_assert_eq!(decode(&octets[..length]), decode(&octets));
            }
        }
    }
}
