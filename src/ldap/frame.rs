//! Whole LDAPMessages out of a stream of octets (RFC 4511 section 5.2), whatever the pieces they arrive in.
//!
//! A frame is refused by its declared length before one octet of it is buffered. Framing looks at the outer tag and length
//! only; what is inside is [`super::envelope`]'s business.

use super::ber::tag;
use thiserror::Error;

/// Why a stream cannot be framed any further. The connection ends with a Notice of Disconnection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The outer tag is not a SEQUENCE's, so this is not LDAP.
    #[error("not an LDAPMessage: it begins with {0:#04x}")]
    NotAMessage(u8),
    /// Indefinite length, or more than four length octets.
    #[error("an LDAPMessage with a length that LDAP forbids")]
    BadLength,
    /// Declared longer than this side may send.
    #[error("an LDAPMessage of {length} octets, of which {limit} are allowed")]
    TooLarge {
        /// Octets declared, tag and length included.
        length: usize,
        /// Octets allowed.
        limit: usize,
    },
}

/// One whole LDAPMessage as it came, borrowed from the stream's octets.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// All of it.
    pub octets: &'a [u8],
    /// What stands behind its tag and length.
    pub contents: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that `octets` begins with; `None` while it has not arrived whole.
    ///
    /// # Errors
    /// As [`frame_length`].
    #[inline]
    pub fn first_of(octets: &'a [u8], limit: usize) -> Result<Option<Self>, FrameError> {
        let Some((header, length)) = header_and_length(octets, limit)? else { return Ok(None) };
        Ok(octets.get(..length).and_then(|octets| Some(Self { octets, contents: octets.get(header..)? })))
    }
}

/// The length of the frame that `octets` begins with, tag and length included: `None` while the header is incomplete.
/// `Some(n)` with `n > octets.len()` says that more must be read.
///
/// # Errors
/// When the octets can never become a frame of at most `limit` octets.
pub fn frame_length(octets: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    Ok(header_and_length(octets, limit)?.map(|(_, length)| length))
}

/// The length of the header, and that of the frame.
#[inline]
fn header_and_length(octets: &[u8], limit: usize) -> Result<Option<(usize, usize)>, FrameError> {
    let Some(&identifier) = octets.first() else { return Ok(None) };
    if identifier != tag::SEQUENCE {
        return Err(FrameError::NotAMessage(identifier));
    }
    let Some(&first) = octets.get(1) else { return Ok(None) };
    let count = usize::from(first & 0x7f);
    let (header, content) = match first {
        0..=0x7f => (2, usize::from(first)),
        0x81..=0x84 => {
            let Some(length_octets) = octets.get(2..2 + count) else { return Ok(None) };
            (2 + count, length_octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)))
        }
        _ => return Err(FrameError::BadLength),
    };
    let length = content.saturating_add(header);
    if length > limit { Err(FrameError::TooLarge { length, limit }) } else { Ok(Some((header, length))) }
}
