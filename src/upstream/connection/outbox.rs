//! Octets on their way to a controller: requests are appended, whatever the socket takes is counted off, passwords are wiped once they have
//! left.

use super::message_ids::UpstreamMessageId;
use crate::ldap::envelope::{op, write_envelope};
use bytes::Bytes;
use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use zeroize::{Zeroize, Zeroizing};

/// A protocolOp to send, tag and length included.
#[derive(Clone)]
pub(crate) enum Payload {
    /// A request that came as it is sent.
    Open(Bytes),
    /// A BindRequest: wiped everywhere once it has left.
    Secret(Zeroizing<Vec<u8>>),
}

impl Payload {
    /// The octets.
    pub(crate) fn octets(&self) -> &[u8] {
        match self {
            Self::Open(octets) => octets,
            Self::Secret(octets) => octets,
        }
    }

    /// Only requests of a few kinds hold nothing that must be wiped: a write may set a password, and a compare may guess one.
    fn may_hold_a_password(&self) -> bool {
        !matches!(self.octets().first(), Some(&(op::SEARCH_REQUEST | op::ABANDON_REQUEST | op::UNBIND_REQUEST)))
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Open(_)) { "Open(...)" } else { "Secret(***)" })
    }
}

/// What has not left yet, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    octets: Vec<u8>,
    /// So many of `octets` have left.
    written: usize,
    /// So many octets left before `octets` began.
    left_before: u64,
    /// The transport holds octets back (TLS does).
    unflushed: bool,
    /// `octets` holds a password.
    secret: bool,
}

impl Outbox {
    /// Nothing waits to leave.
    pub(crate) const fn is_empty(&self) -> bool {
        self.octets.is_empty() && !self.unflushed
    }

    /// Octets that wait to leave.
    pub(crate) const fn len(&self) -> usize {
        self.octets.len() - self.written
    }

    /// Octets that have left since the connection began.
    pub(crate) const fn left(&self) -> u64 {
        self.left_before + self.written as u64
    }

    /// Appends a message. Returns the place of its first octet in the stream, to be compared with [`Outbox::left`].
    pub(crate) fn append(&mut self, id: UpstreamMessageId, payload: &Payload, controls: Option<&[u8]>) -> u64 {
        let place = self.left_before + self.octets.len() as u64;
        self.secret |= payload.may_hold_a_password();
        self.reserve(payload.octets().len() + controls.map_or(0, <[u8]>::len) + ENVELOPE_AT_MOST);
        write_envelope(&mut self.octets, id.wire(), payload.octets(), controls);
        place
    }

    /// Writes once, or flushes what has been written. Cancel safe: what has left is counted before anything else is awaited.
    ///
    /// # Errors
    /// As the transport's; a transport that takes nothing is an error too.
    pub(crate) async fn push(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let rest = self.octets.get(self.written..).unwrap_or_default();
        if rest.is_empty() {
            to.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let count = to.write(rest).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += count;
        self.unflushed = true;
        if self.written >= self.octets.len() {
            self.left_before += self.octets.len() as u64;
            self.written = 0;
            self.clear();
        }
        Ok(())
    }

    fn clear(&mut self) {
        if self.secret {
            self.octets.zeroize();
            self.secret = false;
        }
        self.octets.clear();
        self.octets.shrink_to(KEPT);
    }

    /// Makes room without leaving a copy of a password behind, as a growing vector would.
    fn reserve(&mut self, more: usize) {
        if self.octets.capacity() - self.octets.len() >= more {
            return;
        }
        let mut roomier = Vec::with_capacity((self.octets.len() + more).next_power_of_two());
        roomier.extend_from_slice(&self.octets);
        let mut old = std::mem::replace(&mut self.octets, roomier);
        if self.secret {
            old.zeroize();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Outer tag and length, messageID, tag and length of the controls.
const ENVELOPE_AT_MOST: usize = 24;

/// Octets of buffer that an idle connection keeps.
const KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::connection::message_ids::MessageIds;

    #[tokio::test]
    async fn what_has_left_is_counted_octet_by_octet() {
        let mut outbox = Outbox::default();
        let mut ids = MessageIds::new();
        let op = Payload::Open(Bytes::from_static(&[0x50, 1, 1]));
        let first = outbox.append(ids.begin(()), &op, None);
        let second = outbox.append(ids.begin(()), &op, None);
        assert_eq!((first, outbox.left()), (0, 0));
        let (mut near, _far) = tokio::io::duplex(3);
        outbox.push(&mut near).await.unwrap();
        assert_eq!(outbox.left(), 3);
        assert!(first < outbox.left() && second >= outbox.left(), "the first has begun to leave, the second has not");
        assert_eq!(outbox.len() as u64, 2 * second - 3);
    }

    #[tokio::test]
    async fn a_password_is_wiped_once_it_has_left() {
        let mut outbox = Outbox::default();
        let mut ids = MessageIds::new();
        outbox.append(ids.begin(()), &Payload::Secret(Zeroizing::new(b"\x60\x03abc".to_vec())), None);
        let (mut near, _far) = tokio::io::duplex(100);
        outbox.push(&mut near).await.unwrap();
        assert!(!outbox.is_empty(), "not flushed yet");
        outbox.push(&mut near).await.unwrap();
        assert!(outbox.is_empty() && !outbox.secret);
    }

    #[tokio::test]
    async fn what_a_write_sets_is_wiped_like_a_password_and_a_search_is_not() {
        for (op, is_wiped) in
            [(op::MODIFY_REQUEST, true), (op::EXTENDED_REQUEST, true), (op::COMPARE_REQUEST, true), (op::SEARCH_REQUEST, false)]
        {
            let mut outbox = Outbox::default();
            outbox.append(MessageIds::new().begin(()), &Payload::Open(vec![op, 1, 7].into()), None);
            assert_eq!(outbox.secret, is_wiped, "{op:#x}");
        }
    }
}
