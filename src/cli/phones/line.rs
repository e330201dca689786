//! A phone's connection: requests out, replies in.

use super::known::{self, Known};
use super::question::{Request, write_abandon, write_unbind};
use super::tally::{Mishap, Trouble};
use crate::ldap::ber::{BerError, Reader, tag};
use crate::ldap::envelope::op;
use crate::ldap::frame::frame_length;
use crate::ldap::message::LdapResult;
use crate::ldap::{MessageId, ResultCode};
use bytes::{Buf, Bytes, BytesMut};
use std::sync::OnceLock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection on which at most two operations are in flight.
pub(super) struct Line {
    stream: Box<dyn Stream>,
    last_id: u8,
    /// The search that nobody waits for any more. A server may answer it nevertheless.
    abandoned: Option<u8>,
    received: BytesMut,
    out: Zeroizing<Vec<u8>>,
}

/// One message from the server.
pub(super) struct Reply {
    frame: Bytes,
}

/// What of a message matters here.
pub(super) struct View<'a> {
    pub(super) op_tag: u8,
    pub(super) op: &'a [u8],
    pub(super) content: &'a [u8],
}

impl Line {
    /// A connection on which nothing has been said, or StartTLS under messageID 1.
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, last_id: 1, abandoned: None, received: BytesMut::new(), out: Zeroizing::new(Vec::new()) }
    }

    /// What is below, for TLS: `None` where the server has said more than it was asked, which may be somebody else's (CVE-2011-0411).
    pub(super) fn into_stream(self) -> Option<Box<dyn Stream>> {
        self.received.is_empty().then_some(self.stream)
    }

    /// Sends a request; the messageID that its replies will have.
    pub(super) async fn send(&mut self, request: &Request) -> Result<u8, Mishap> {
        self.out.clear();
        let id = self.next_id();
        request.write(&mut self.out, id);
        self.flush().await?;
        Ok(id)
    }

    /// Abandons one operation and begins another, in one write, as a phone does for the next key.
    pub(super) async fn send_instead(&mut self, overtaken: u8, request: &Request) -> Result<u8, Mishap> {
        self.out.clear();
        let abandon = self.next_id();
        write_abandon(&mut self.out, abandon, overtaken);
        self.abandoned = Some(overtaken);
        let id = self.next_id();
        request.write(&mut self.out, id);
        self.flush().await?;
        Ok(id)
    }

    /// The answer that is known, if that is what comes next, and the whole of it has arrived; otherwise what came is left to be read. Not
    /// cancel safe.
    pub(super) async fn known_answer<'k>(&mut self, id: u8, known: &'k OnceLock<Known>) -> Result<Option<&'k Known>, Mishap> {
        if self.received.is_empty() {
            self.read().await?;
        }
        // Known perhaps only since another phone has read its answer, while this one waited.
        let Some(known) = known.get().filter(|known| known.is_front_of(&self.received, id)) else { return Ok(None) };
        if known.len() == self.received.len() {
            self.received.clear();
        } else {
            self.received.advance(known.len());
        }
        Ok(Some(known))
    }

    /// The next message that belongs to `id`. Not cancel safe.
    pub(super) async fn reply(&mut self, id: u8) -> Result<Reply, Mishap> {
        loop {
            let reply = Reply { frame: self.frame().await? };
            match reply.message_id().map_err(malformed)? {
                0 => {
                    let code = reply.view().and_then(|view| LdapResult::parse(view.content)).map_err(malformed)?.code;
                    return Err(Mishap::new(Trouble::Closed, format_args!("Notice of Disconnection: {code}")));
                }
                found if found == u32::from(id) => return Ok(reply),
                found if Some(found) == self.abandoned.map(u32::from) => {}
                found => return Err(malformed(format_args!("a reply to messageID {found}, which was not asked"))),
            }
        }
    }

    /// The result of an operation that has one reply.
    pub(super) async fn result(&mut self, id: u8, response: u8) -> Result<ResultCode, Mishap> {
        let reply = self.reply(id).await?;
        let view = reply.view().map_err(malformed)?;
        if view.op_tag != response {
            return Err(malformed(format_args!("protocolOp {:#04x} instead of {response:#04x}", view.op_tag)));
        }
        Ok(LdapResult::parse(view.content).map_err(malformed)?.code)
    }

    /// Unbind and close; a server that has gone already is no mishap.
    pub(super) async fn hang_up(mut self) {
        self.out.clear();
        let id = self.next_id();
        write_unbind(&mut self.out, id);
        if self.flush().await.is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }

    async fn frame(&mut self) -> Result<Bytes, Mishap> {
        loop {
            let length = frame_length(&self.received, LONGEST_FRAME).map_err(malformed)?;
            if let Some(length) = length.filter(|length| *length <= self.received.len()) {
                return Ok(self.received.split_to(length).freeze());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Mishap> {
        // What is left of the buffer is used first: a new one for each answer would be wiped each time.
        if self.received.capacity() - self.received.len() < READ_AT_LEAST {
            self.received.reserve(READ_AT_ONCE);
        }
        let read = self.stream.read_buf(&mut self.received).await;
        if read.map_err(|error| Mishap::new(Trouble::Closed, error))? == 0 {
            return Err(Mishap::new(Trouble::Closed, "the server closed the connection"));
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Mishap> {
        let write = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        write.await.map_err(|error| Mishap::new(Trouble::Closed, error))
    }

    const fn next_id(&mut self) -> u8 {
        self.last_id = if self.last_id == LARGEST_ID { 1 } else { self.last_id + 1 };
        self.last_id
    }
}

impl Reply {
    /// The protocolOp.
    pub(super) fn view(&self) -> Result<View<'_>, BerError> {
        let mut message = Reader::new(&self.frame);
        let mut fields = Reader::new(message.expect(tag::SEQUENCE)?.content);
        fields.element()?;
        let op = fields.element()?;
        Ok(View { op_tag: op.tag, op: op.raw, content: op.content })
    }

    /// As it came.
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Where the messageID stands in the frame, if it takes one octet.
    pub(super) fn id_at(&self) -> Option<usize> {
        let mut message = Reader::new(&self.frame);
        let mut fields = Reader::new(message.expect(tag::SEQUENCE).ok()?.content);
        let id = fields.expect(tag::INTEGER).ok()?.content;
        (id.len() == 1).then(|| self.frame.len() - fields.rest().len() - 1)
    }

    fn message_id(&self) -> Result<u32, BerError> {
        let mut message = Reader::new(&self.frame);
        Reader::new(message.expect(tag::SEQUENCE)?.content).integer(tag::INTEGER, MessageId::MAX)
    }
}

impl View<'_> {
    /// The code, where this is the end of a search.
    pub(super) fn done(&self) -> Result<Option<ResultCode>, Mishap> {
        match self.op_tag {
            op::SEARCH_RESULT_DONE => Ok(Some(LdapResult::parse(self.content).map_err(malformed)?.code)),
            op::SEARCH_RESULT_ENTRY | op::SEARCH_RESULT_REFERENCE | op::INTERMEDIATE_RESPONSE => Ok(None),
            other => Err(malformed(format_args!("protocolOp {other:#04x} in reply to a search"))),
        }
    }
}

/// The server does not speak LDAP as RFC 4511 has it.
pub(super) fn malformed(why: impl std::fmt::Display) -> Mishap {
    Mishap::new(Trouble::Malformed, why)
}

/// The last that takes one octet.
const LARGEST_ID: u8 = 127;
/// An entry with a photo is well below.
const LONGEST_FRAME: usize = 16 << 20;
/// A page of entries in one receive.
const READ_AT_ONCE: usize = known::LONGEST;
/// A lookup's answer.
const READ_AT_LEAST: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::response::{write_notice_of_disconnection, write_result};
    use tokio::io::duplex;

    async fn answered(octets: &[u8], id: u8) -> Result<ResultCode, Mishap> {
        let (here, mut there) = duplex(1024);
        there.write_all(octets).await.unwrap();
        let mut line = Line::new(Box::new(here));
        line.abandoned = Some(5);
        drop(there);
        line.result(id, op::SEARCH_RESULT_DONE).await
    }

    fn done(id: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write_result(&mut out, MessageId::new(id).unwrap(), op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "");
        out
    }

    #[tokio::test]
    async fn a_reply_to_what_was_abandoned_is_passed_over() {
        assert_eq!(answered(&[done(5), done(6)].concat(), 6).await, Ok(ResultCode::SUCCESS));
    }

    #[tokio::test]
    async fn a_reply_to_what_nobody_asked_is_noticed() {
        assert_eq!(answered(&done(7), 6).await.unwrap_err().trouble, Trouble::Malformed);
        assert_eq!(answered(b"HTTP/1.1 400", 6).await.unwrap_err().trouble, Trouble::Malformed);
    }

    #[tokio::test]
    async fn a_server_that_leaves_is_noticed() {
        assert_eq!(answered(b"", 6).await.unwrap_err().trouble, Trouble::Closed);
        let mut notice = Vec::new();
        write_notice_of_disconnection(&mut notice, ResultCode::BUSY, "");
        assert_eq!(answered(&notice, 6).await.unwrap_err().why, "Notice of Disconnection: busy(51)");
    }

    #[tokio::test]
    async fn message_ids_stay_below_128_and_above_0() {
        let (here, _there) = duplex(64);
        let mut line = Line::new(Box::new(here));
        let ids: Vec<_> = (0..300).map(|_| line.next_id()).collect();
        assert!(ids.iter().all(|id| (1..=127).contains(id)), "{ids:?}");
    }
}
