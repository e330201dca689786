//! Controls (RFC 4511 section 4.1.11): what a client attached, and the few that Redial writes itself.

use super::ber::{self, BerError, MAX_INT, Reader, tag};

/// The most controls on one request.
pub const MAX_CONTROLS: usize = 16;

/// One control, borrowed from its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control<'a> {
    /// The controlType, an OID in dotted form.
    pub oid: &'a str,
    /// The request must not be carried out without it.
    pub critical: bool,
    /// The controlValue, absent or octets whose meaning the OID decides.
    pub value: Option<&'a [u8]>,
    /// The whole element, to be passed on as it came.
    pub raw: &'a [u8],
}

/// The controls of one message, in their order.
///
/// # Errors
/// When `controls` (the contents of the controls element) is malformed or holds more than [`MAX_CONTROLS`].
pub fn parse_controls(controls: Option<&[u8]>) -> Result<Vec<Control<'_>>, BerError> {
    let mut rest = Reader::new(controls.unwrap_or_default());
    let mut parsed = Vec::new();
    while !rest.is_empty() {
        if parsed.len() == MAX_CONTROLS {
            return Err(BerError::TooMany);
        }
        let control = rest.expect(tag::SEQUENCE)?;
        let mut fields = Reader::new(control.content);
        let oid = fields.text(tag::OCTET_STRING)?;
        let critical = if fields.peek_tag() == Some(tag::BOOLEAN) { fields.boolean(tag::BOOLEAN)? } else { false };
        let value = fields.optional(tag::OCTET_STRING)?.map(|element| element.content);
        fields.finish()?;
        parsed.push(Control { oid, critical, value, raw: control.raw });
    }
    Ok(parsed)
}

/// Appends one control.
pub fn write_control(out: &mut Vec<u8>, oid: &str, critical: bool, value: Option<&[u8]>) {
    ber::write_constructed(out, tag::SEQUENCE, |out| {
        ber::write_element(out, tag::OCTET_STRING, oid.as_bytes());
        // FALSE is the default, and a default is not written (RFC 4511 section 5.1).
        if critical {
            ber::write_boolean(out, tag::BOOLEAN, true);
        }
        if let Some(value) = value {
            ber::write_element(out, tag::OCTET_STRING, value);
        }
    });
}

/// The value of the paged results control (RFC 2696): page size (or the server's estimate) and cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagedResults<'a> {
    /// Entries asked for; in a response the estimate of the total, 0 for unknown.
    pub size: u32,
    /// Empty in the first request and in the last response.
    pub cookie: &'a [u8],
}

impl<'a> PagedResults<'a> {
    /// Reads a controlValue.
    ///
    /// # Errors
    /// When it is not the SEQUENCE of RFC 2696 section 2.
    pub fn parse(value: &'a [u8]) -> Result<Self, BerError> {
        let mut outer = Reader::new(value);
        let sequence = outer.expect(tag::SEQUENCE)?;
        outer.finish()?;
        let mut fields = Reader::new(sequence.content);
        let size = fields.integer(tag::INTEGER, MAX_INT)?;
        let cookie = fields.expect(tag::OCTET_STRING)?.content;
        fields.finish()?;
        Ok(Self { size, cookie })
    }

    /// The controlValue.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = Vec::new();
        ber::write_constructed(&mut value, tag::SEQUENCE, |out| {
            ber::write_integer(out, tag::INTEGER, self.size);
            ber::write_element(out, tag::OCTET_STRING, self.cookie);
        });
        value
    }
}
