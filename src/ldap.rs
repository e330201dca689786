//! RFC 4511 on the wire: bytes to messages and back, without I/O.
//!
//! Everything here is pure. Bytes come in as slices; what goes out is appended to a `Vec<u8>`. Nothing in this floor knows a
//! socket, a clock, a session or a cache. Read in this order: [`ber`] (elements), [`frame`] (whole LDAPMessages out of a
//! stream), [`envelope`] (messageID, protocolOp, controls), [`message`] (typed requests and results; [`search`], [`mod@write`] and [`result_code`]
//! are parts of it), [`response`] (what Redial says itself), [`entry`], [`filter`] ([`filter_walk`] proves it), [`dn`], [`control`], [`oid`].

pub mod ber;
pub mod control;
pub mod dn;
pub(crate) mod entry;
pub mod envelope;
pub mod filter;
mod filter_text;
pub(crate) mod filter_walk;
pub mod frame;
pub mod message;
pub mod oid;
pub mod response;
mod result_code;
mod search;
mod write;

pub use envelope::{Envelope, MessageId};
pub use result_code::ResultCode;
