//! Controls (RFC 4511 section 4.1.11): what a client attached, and the few that Redial writes itself.

use super::ber::BerError;

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
    todo!()
}

/// Appends one control.
pub fn write_control(out: &mut Vec<u8>, oid: &str, critical: bool, value: Option<&[u8]>) {
    todo!()
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
        todo!()
    }

    /// The controlValue.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
}
