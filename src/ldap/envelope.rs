//! The LDAPMessage envelope (RFC 4511 section 4.1.1): messageID, protocolOp, controls.
//!
//! Parsing borrows; the protocolOp is kept as the octets that came, so that it can travel on under another messageID without
//! being understood. An unknown trailing element of the envelope is ignored (section 4) and never passed on.

use super::ber::{self, BerError, Reader, tag};

/// A messageID: 0 to 2^31-1, where 0 is for unsolicited notifications only (RFC 4511 section 4.1.1.1).
///
/// A client's and a controller's are wrapped once more where they are kept, so that the compiler tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(u32);

impl MessageId {
    /// The messageID of unsolicited notifications.
    pub const UNSOLICITED: Self = Self(0);
    /// The largest messageID.
    pub const MAX: u32 = ber::MAX_INT;

    /// A messageID, unless the number is out of range.
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number on the wire.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// One LDAPMessage, borrowed from its frame.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The messageID; 0 is let pass here and judged by who receives it.
    pub message_id: MessageId,
    /// The tag of the protocolOp.
    pub op_tag: u8,
    /// The contents of the protocolOp.
    pub op_content: &'a [u8],
    /// The protocolOp with its tag and length, as it came.
    pub op: &'a [u8],
    /// The contents of the controls element, if there is one.
    pub controls: Option<&'a [u8]>,
}

impl<'a> Envelope<'a> {
    /// The messageID at the front of an LDAPMessage's contents, and the octets behind it, about which nothing is said.
    ///
    /// # Errors
    /// When it is no LDAPMessage this far.
    #[inline]
    pub fn split(contents: &'a [u8]) -> Result<(MessageId, &'a [u8]), BerError> {
        let mut fields = Reader::new(contents);
        let message_id = MessageId(fields.integer(tag::INTEGER, MessageId::MAX)?);
        Ok((message_id, fields.rest()))
    }

    /// Takes one whole frame apart, after the tree of all its lengths and tags has been checked.
    ///
    /// The contents of a SearchRequest are left out of that: [`super::message::Request::parse`] reads each of their elements
    /// anyway, and a cached search is the one message for which walking them twice would show.
    ///
    /// # Errors
    /// When the frame is no LDAPMessage; RFC 4511 section 4.1.1 then asks for a Notice of Disconnection.
    pub fn parse(frame: &'a [u8]) -> Result<Self, BerError> {
        let mut outer = Reader::new(frame);
        let contents = outer.contents(tag::SEQUENCE)?;
        outer.finish()?;
        let (message_id, behind) = Self::split(contents)?;
        let mut fields = Reader::new(behind);
        let op = fields.element()?;
        if op.tag & ber::CONSTRUCTED != 0 && op.tag != op::SEARCH_REQUEST {
            ber::check_tree(op.raw)?;
        }
        if !fields.is_empty() {
            ber::check_tree(fields.rest())?;
        }
        let controls = fields.optional(CONTROLS)?.map(|element| element.content);
        // What follows is ignored. Controls may not hide there, since a critical one would be lost.
        while !fields.is_empty() {
            let unknown = fields.element()?;
            if unknown.tag == CONTROLS {
                return Err(BerError::TrailingOctets);
            }
        }
        Ok(Self { message_id, op_tag: op.tag, op_content: op.content, op: op.raw, controls })
    }
}

/// Appends an LDAPMessage of `op` (tag and length included) and, where given, the contents of a controls element.
pub fn write_envelope(out: &mut Vec<u8>, message_id: MessageId, op: &[u8], controls: Option<&[u8]>) {
    out.reserve(op.len() + controls.map_or(0, <[u8]>::len) + MOST_AROUND);
    Stamp::new(message_id).write(out, op, controls);
}

/// A messageID as it stands in front of a protocolOp: made once for all messages of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The element, and zeros behind it.
    octets: [u8; 8],
    length: usize,
}

impl Stamp {
    /// Of that messageID.
    pub fn new(message_id: MessageId) -> Self {
        let width = ber::length_of_integer(message_id.number());
        let length = 2 + width;
        let header = u64::from(tag::INTEGER) << 8 | width as u64;
        let element = header << (8 * width) | u64::from(message_id.number());
        Self { octets: (element << (8 * (8 - length))).to_be_bytes(), length }
    }

    /// As [`write_envelope`].
    #[inline]
    pub fn write(self, out: &mut Vec<u8>, op: &[u8], controls: Option<&[u8]>) {
        let controls_length = controls.map_or(0, |controls| 1 + ber::length_of_length(controls.len()) + controls.len());
        ber::write_header(out, tag::SEQUENCE, self.length + op.len() + controls_length);
        // Eight octets at once, whatever is needed of them, are written faster than that many.
        let end = out.len() + self.length;
        out.extend_from_slice(&self.octets);
        out.truncate(end);
        out.extend_from_slice(op);
        if let Some(controls) = controls {
            ber::write_element(out, CONTROLS, controls);
        }
    }
}

/// Octets of an envelope around its protocolOp and its controls' contents, with those that [`Stamp::write`] takes back.
const MOST_AROUND: usize = 24;
/// The tag of the controls element.
pub const CONTROLS: u8 = 0xa0;

/// The tags of the protocolOps (RFC 4511 section 4.2 and following).
pub mod op {
    /// BindRequest.
    pub const BIND_REQUEST: u8 = 0x60;
    /// BindResponse.
    pub const BIND_RESPONSE: u8 = 0x61;
    /// UnbindRequest.
    pub const UNBIND_REQUEST: u8 = 0x42;
    /// SearchRequest.
    pub const SEARCH_REQUEST: u8 = 0x63;
    /// SearchResultEntry.
    pub const SEARCH_RESULT_ENTRY: u8 = 0x64;
    /// SearchResultDone.
    pub const SEARCH_RESULT_DONE: u8 = 0x65;
    /// SearchResultReference.
    pub const SEARCH_RESULT_REFERENCE: u8 = 0x73;
    /// ModifyRequest.
    pub const MODIFY_REQUEST: u8 = 0x66;
    /// ModifyResponse.
    pub const MODIFY_RESPONSE: u8 = 0x67;
    /// AddRequest.
    pub const ADD_REQUEST: u8 = 0x68;
    /// AddResponse.
    pub const ADD_RESPONSE: u8 = 0x69;
    /// DelRequest, which is primitive.
    pub const DELETE_REQUEST: u8 = 0x4a;
    /// DelResponse.
    pub const DELETE_RESPONSE: u8 = 0x6b;
    /// ModifyDNRequest.
    pub const MODIFY_DN_REQUEST: u8 = 0x6c;
    /// ModifyDNResponse.
    pub const MODIFY_DN_RESPONSE: u8 = 0x6d;
    /// CompareRequest.
    pub const COMPARE_REQUEST: u8 = 0x6e;
    /// CompareResponse.
    pub const COMPARE_RESPONSE: u8 = 0x6f;
    /// AbandonRequest, which is primitive.
    pub const ABANDON_REQUEST: u8 = 0x50;
    /// ExtendedRequest.
    pub const EXTENDED_REQUEST: u8 = 0x77;
    /// ExtendedResponse.
    pub const EXTENDED_RESPONSE: u8 = 0x78;
    /// IntermediateResponse.
    pub const INTERMEDIATE_RESPONSE: u8 = 0x79;
}
