//! The complete answer to a search, as octets that need only the asker's messageID.

use crate::ldap::MessageId;
use crate::ldap::message::ResultCode;

/// A complete answer: all entries and the SearchResultDone.
#[derive(Debug)]
pub struct Answer {
    /// Whole LDAPMessages, one after another, with messageID 0.
    blob: Box<[u8]>,
    messages: Box<[Span]>,
    code: ResultCode,
}

/// Where one message of a blob has its parts.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// The octet of the messageID; the protocolOp follows.
    id_at: u32,
    /// The first octet after the message.
    end: u32,
}

impl Answer {
    /// Appends all messages under the asker's messageID.
    pub fn write(&self, message_id: MessageId, out: &mut Vec<u8>) {
        todo!()
    }

    /// Appends messages from number `first` on until `out` has grown by at least `room` octets, and says which message comes next; `None`
    /// when all are written. For answers too large to be copied at once.
    pub fn write_part(&self, message_id: MessageId, first: usize, room: usize, out: &mut Vec<u8>) -> Option<usize> {
        todo!()
    }

    /// The resultCode of its end.
    pub const fn code(&self) -> ResultCode {
        self.code
    }

    /// How many entries.
    pub fn entry_count(&self) -> u32 {
        todo!()
    }

    /// Octets when written under a messageID of one octet.
    pub fn len(&self) -> usize {
        self.blob.len()
    }

    /// Never: there is always an end.
    pub fn is_empty(&self) -> bool {
        self.blob.is_empty()
    }

    /// The SearchResultEntry protocolOps in their order.
    pub fn entries(&self) -> impl Iterator<Item = &[u8]> {
        [].into_iter()
    }

    /// The SearchResultDone protocolOp.
    pub fn done_op(&self) -> &[u8] {
        todo!()
    }
}

/// Gathers an answer.
#[derive(Debug, Default)]
pub struct AnswerBuilder {
    blob: Vec<u8>,
    messages: Vec<Span>,
}

impl AnswerBuilder {
    /// Adds a SearchResultEntry protocolOp as it came.
    pub fn push_entry(&mut self, op: &[u8]) {
        todo!()
    }

    /// Octets gathered so far.
    pub fn len(&self) -> usize {
        self.blob.len()
    }

    /// Nothing yet.
    pub fn is_empty(&self) -> bool {
        self.blob.is_empty()
    }

    /// Entries gathered so far.
    pub fn entry_count(&self) -> u32 {
        todo!()
    }

    /// Appends what has been gathered so far under the asker's messageID: for an answer that is streamed after all.
    pub fn write(&self, message_id: MessageId, out: &mut Vec<u8>) {
        todo!()
    }

    /// Adds the SearchResultDone protocolOp and closes the answer.
    pub fn finish(self, code: ResultCode, done_op: &[u8]) -> Answer {
        todo!()
    }
}
