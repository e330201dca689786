//! The complete answer to a search, as octets that need only the asker's messageID.
//!
//! ```text
//!  30 len 02 01 id 64 len ...   30 len 02 01 id 64 len ...   30 len 02 01 id 65 len ...   where each has its parts
//!               ^id_at      ^end             ^id_at      ^end
//! ```
//!
//! Nearly every phone counts its messageIDs in one octet: then a hit is one copy and one octet written per message. A wider messageID
//! makes each envelope longer, so the messages are put into new ones. The protocolOps stay as the controller sent them.
//!
//! All is one piece of memory, and whoever shares the answer has its place at hand: a hit waits for memory more than for anything else.

use crate::ldap::MessageId;
use crate::ldap::ber::{length_of_length, tag};
use crate::ldap::envelope::{Stamp, write_envelope};
use crate::ldap::message::ResultCode;
use std::sync::Arc;

/// A complete answer: all entries and the SearchResultDone. Its clones share its octets.
#[derive(Clone)]
pub struct Answer {
    /// The messages, and then their [`Span`]s.
    octets: Arc<[u8]>,
    spans_at: usize,
    entries: u32,
    code: ResultCode,
}

impl Answer {
    /// Appends all messages under the asker's messageID.
    pub fn write(&self, message_id: MessageId, out: &mut Vec<u8>) {
        let Some(id) = one_octet(message_id) else { return self.write_anew(message_id, out) };
        let start = out.len();
        out.extend_from_slice(self.messages());
        let written = out.get_mut(start..).unwrap_or_default();
        for span in self.spans() {
            if let Some(octet) = written.get_mut(span.id_at as usize) {
                *octet = id;
            }
        }
    }

    // Out of line, so that the common case is spared its room.
    #[inline(never)]
    fn write_anew(&self, message_id: MessageId, out: &mut Vec<u8>) {
        write_anew(self.ops(), self.len(), message_id, out);
    }

    /// Appends messages from number `first` on until `out` has grown by at least `room` octets, and says which message comes next; `None`
    /// when all are written. For answers too large to be copied at once.
    pub fn write_part(&self, message_id: MessageId, first: usize, room: usize, out: &mut Vec<u8>) -> Option<usize> {
        let full = out.len().saturating_add(room);
        for (number, op) in self.ops().enumerate().skip(first) {
            if out.len() >= full {
                return Some(number);
            }
            write_envelope(out, message_id, op, None);
        }
        None
    }

    /// The resultCode of its end.
    pub const fn code(&self) -> ResultCode {
        self.code
    }

    /// How many entries.
    pub const fn entry_count(&self) -> u32 {
        self.entries
    }

    /// May others be told the same? Only a complete answer: success, noSuchObject as an empty one, and sizeLimitExceeded where the entries
    /// are exactly as many as were wanted. All else is an error, a referral, or depends on how busy the directory was.
    pub fn is_complete(&self, entries_wanted: Option<u32>) -> bool {
        match self.code {
            ResultCode::SUCCESS => true,
            ResultCode::NO_SUCH_OBJECT => self.entry_count() == 0,
            ResultCode::SIZE_LIMIT_EXCEEDED => entries_wanted == Some(self.entry_count()),
            _ => false,
        }
    }

    /// Octets when written under a messageID of one octet.
    pub const fn len(&self) -> usize {
        self.spans_at
    }

    /// Never: there is always an end.
    pub const fn is_empty(&self) -> bool {
        self.spans_at == 0
    }

    /// Octets of memory.
    pub fn weight(&self) -> usize {
        self.octets.len() + size_of::<Self>()
    }

    /// The SearchResultEntry protocolOps in their order.
    pub fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.ops().take(self.entries as usize)
    }

    /// The SearchResultDone protocolOp.
    pub fn done_op(&self) -> &[u8] {
        self.ops().next_back().unwrap_or_default()
    }

    /// They are clones of one another.
    #[cfg(test)]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.octets, &other.octets)
    }

    fn ops(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.spans().map(|span| span.op_of(self.messages()))
    }

    fn messages(&self) -> &[u8] {
        self.octets.get(..self.spans_at).unwrap_or_default()
    }

    #[inline]
    fn spans(&self) -> impl DoubleEndedIterator<Item = Span> + ExactSizeIterator {
        let (spans, _) = self.octets.get(self.spans_at..).unwrap_or_default().as_chunks();
        spans.iter().map(Span::from_octets)
    }
}

impl std::fmt::Debug for Answer {
    /// How much, not what it says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("code", &self.code).field("entries", &self.entries).field("octets", &self.len()).finish()
    }
}

/// Gathers an answer.
#[derive(Default)]
pub struct AnswerBuilder {
    /// Whole LDAPMessages one after another, each with a messageID of one octet.
    messages: Vec<u8>,
    spans: Vec<Span>,
}

impl AnswerBuilder {
    /// Adds a SearchResultEntry protocolOp as it came.
    pub fn push_entry(&mut self, op: &[u8]) {
        self.push(op);
    }

    /// Drops what came after the first `entries` entries.
    pub fn truncate(&mut self, entries: u32) {
        self.spans.truncate(usize::try_from(entries).unwrap_or(usize::MAX));
        self.messages.truncate(self.spans.last().map_or(0, |span| span.end as usize));
    }

    /// Octets gathered so far.
    pub const fn len(&self) -> usize {
        self.messages.len()
    }

    /// Nothing yet.
    pub const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Entries gathered so far.
    pub fn entry_count(&self) -> u32 {
        u32::try_from(self.spans.len()).unwrap_or(u32::MAX)
    }

    /// Appends what has been gathered so far under the asker's messageID: for an answer that is streamed after all.
    pub fn write(&self, message_id: MessageId, out: &mut Vec<u8>) {
        write_anew(self.entries(), self.len(), message_id, out);
    }

    /// The SearchResultEntry protocolOps gathered so far.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.spans.iter().map(|span| span.op_of(&self.messages))
    }

    /// Adds the SearchResultDone protocolOp and closes the answer.
    pub fn finish(mut self, code: ResultCode, done_op: &[u8]) -> Answer {
        let entries = self.entry_count();
        self.push(done_op);
        let Self { messages: mut octets, spans } = self;
        let spans_at = octets.len();
        octets.extend(spans.into_iter().flat_map(Span::to_octets));
        Answer { octets: octets.into(), spans_at, entries, code }
    }

    fn push(&mut self, op: &[u8]) {
        if self.spans.is_empty() {
            // Most answers need no more.
            self.messages.reserve(FEW_OCTETS);
            self.spans.reserve(FEW);
        }
        self.messages.reserve(op.len() + length_of_length(op.len()) + ENVELOPE_OCTETS);
        write_envelope(&mut self.messages, MessageId::UNSOLICITED, op, None);
        let end = self.messages.len();
        self.spans.push(Span { id_at: place(end - op.len() - 1), end: place(end) });
    }
}

impl std::fmt::Debug for AnswerBuilder {
    /// How much, not what it says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerBuilder").field("entries", &self.spans.len()).field("octets", &self.messages.len()).finish()
    }
}

/// Where one message has its parts.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// The octet of the messageID; the protocolOp follows.
    id_at: u32,
    /// The first octet after the message.
    end: u32,
}

impl Span {
    fn to_octets(self) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (self.id_at.to_ne_bytes(), self.end.to_ne_bytes());
        [a, b, c, d, e, f, g, h]
    }

    fn from_octets(octets: &[u8; 8]) -> Self {
        let &[a, b, c, d, e, f, g, h] = octets;
        Self { id_at: u32::from_ne_bytes([a, b, c, d]), end: u32::from_ne_bytes([e, f, g, h]) }
    }

    fn op_of(self, messages: &[u8]) -> &[u8] {
        messages.get(self.id_at as usize + 1..self.end as usize).unwrap_or_default()
    }
}

/// Nobody gathers as much as would not fit: neither [`Store::keep_limit`](super::store::Store::keep_limit) nor a paged search lets them.
fn place(octet: usize) -> u32 {
    u32::try_from(octet).unwrap_or(u32::MAX)
}

/// Appends messages of these operations, `octets` in shorter envelopes, under a messageID of any length.
fn write_anew<'a>(ops: impl ExactSizeIterator<Item = &'a [u8]>, octets: usize, message_id: MessageId, out: &mut Vec<u8>) {
    let stamp = Stamp::new(message_id);
    out.reserve(octets + ops.len() * MOST_GROWTH);
    ops.for_each(|op| stamp.write(out, op, None));
}

/// The messageID as the one octet of an INTEGER, where it fits.
fn one_octet(message_id: MessageId) -> Option<u8> {
    u8::try_from(message_id.number()).ok().filter(|id| *id < 0x80)
}

/// Messages for which there is room from the first on.
const FEW: usize = 12;
/// And octets: below two KiB, from where on larger blocks are wiped and copied by slower means.
const FEW_OCTETS: usize = 1920;

/// Tags of the envelope and the messageID, the messageID's length and octet, and the envelope's own first length octet.
const ENVELOPE_OCTETS: usize = [tag::SEQUENCE, 0, tag::INTEGER, 1, 0].len();

/// Octets that a message grows by under a messageID of more octets than one: three of the messageID, one of the length, and those that
/// [`Stamp::write`] takes back.
const MOST_GROWTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::envelope::{Envelope, op};
    use crate::ldap::response::{write_entry_op, write_result_op};

    fn entry_op(name: &str) -> Vec<u8> {
        let mut octets = Vec::new();
        write_entry_op(&mut octets, name, [("cn", [name.as_bytes()])]);
        octets
    }

    fn done_op(code: ResultCode) -> Vec<u8> {
        let mut octets = Vec::new();
        write_result_op(&mut octets, op::SEARCH_RESULT_DONE, code, "", "");
        octets
    }

    fn answer(entries: usize, code: ResultCode) -> Answer {
        let mut builder = AnswerBuilder::default();
        for number in 0..entries {
            // Lengths of one, two and three octets.
            builder.push_entry(&entry_op(&"x".repeat(number * 97)));
        }
        builder.finish(code, &done_op(code))
    }

    /// What an answer must read as, by the slow way.
    fn expected(answer: &Answer, message_id: MessageId) -> Vec<u8> {
        let mut octets = Vec::new();
        for op in answer.entries().chain([answer.done_op()]) {
            write_envelope(&mut octets, message_id, op, None);
        }
        octets
    }

    #[test]
    fn it_is_written_under_any_message_id() {
        let answer = answer(9, ResultCode::SUCCESS);
        for width in [0, 7, 8, 15, 16, 23, 24, 30] {
            for number in [(1u32 << width).saturating_sub(1), 1 << width, (1 << width) + 1].map(|number| number.clamp(1, MessageId::MAX)) {
                let message_id = MessageId::new(number).unwrap();
                let mut octets = b"before".to_vec();
                answer.write(message_id, &mut octets);
                assert_eq!(octets, [b"before".to_vec(), expected(&answer, message_id)].concat(), "messageID {number}");
            }
        }
        let mut octets = Vec::new();
        answer.write(MessageId::new(MessageId::MAX).unwrap(), &mut octets);
        assert_eq!(octets, expected(&answer, MessageId::new(MessageId::MAX).unwrap()));
    }

    #[test]
    fn what_is_written_are_messages_with_that_id() {
        let answer = answer(3, ResultCode::SUCCESS);
        for number in [1, 127, 128, 70_000, MessageId::MAX] {
            let mut octets = Vec::new();
            answer.write(MessageId::new(number).unwrap(), &mut octets);
            let mut reader = crate::ldap::ber::Reader::new(&octets);
            let mut tags = Vec::new();
            while !reader.is_empty() {
                let envelope = Envelope::parse(reader.element().unwrap().raw).unwrap();
                assert_eq!(envelope.message_id.number(), number);
                tags.push(envelope.op_tag);
            }
            assert_eq!(tags, [op::SEARCH_RESULT_ENTRY, op::SEARCH_RESULT_ENTRY, op::SEARCH_RESULT_ENTRY, op::SEARCH_RESULT_DONE]);
        }
    }

    #[test]
    fn parts_make_the_whole() {
        let answer = answer(20, ResultCode::SUCCESS);
        for number in [5, 500] {
            let message_id = MessageId::new(number).unwrap();
            for room in [1, 100, 1000, 1_000_000] {
                let (mut octets, mut next, mut rounds) = (Vec::new(), Some(0), 0);
                while let Some(first) = next {
                    next = answer.write_part(message_id, first, room, &mut octets);
                    rounds += 1;
                }
                assert_eq!(octets, expected(&answer, message_id));
                assert!(if room == 1 { rounds == 21 } else { rounds <= 21 });
            }
        }
    }

    #[test]
    fn an_answer_without_entries_is_its_end() {
        let answer = answer(0, ResultCode::NO_SUCH_OBJECT);
        assert_eq!((answer.entry_count(), answer.entries().count()), (0, 0));
        assert_eq!(answer.done_op(), done_op(ResultCode::NO_SUCH_OBJECT));
    }

    #[test]
    fn octets_of_a_controller_are_kept_as_they_came() {
        // Active Directory writes lengths in the four-octet form.
        let entry = [0x64, 0x84, 0, 0, 0, 4, 0x04, 0x00, 0x30, 0x00];
        let mut builder = AnswerBuilder::default();
        builder.push_entry(&entry);
        let answer = builder.finish(ResultCode::SUCCESS, &done_op(ResultCode::SUCCESS));
        assert_eq!(answer.entries().collect::<Vec<_>>(), [entry]);
    }

    #[test]
    fn only_complete_answers_are_for_others() {
        assert!(answer(2, ResultCode::SUCCESS).is_complete(None));
        assert!(answer(0, ResultCode::SUCCESS).is_complete(Some(5)));
        assert!(answer(0, ResultCode::NO_SUCH_OBJECT).is_complete(None));
        assert!(!answer(1, ResultCode::NO_SUCH_OBJECT).is_complete(None));
        assert!(answer(5, ResultCode::SIZE_LIMIT_EXCEEDED).is_complete(Some(5)));
        assert!(!answer(4, ResultCode::SIZE_LIMIT_EXCEEDED).is_complete(Some(5)), "the controller's own limit");
        assert!(!answer(5, ResultCode::SIZE_LIMIT_EXCEEDED).is_complete(None), "the controller's own limit");
        for code in (0..=130).map(ResultCode).filter(|code| ![0, 4, 32].contains(&code.0)) {
            assert!(!answer(0, code).is_complete(None), "{code}");
        }
    }

    #[test]
    fn debug_shows_nobody() {
        let mut builder = AnswerBuilder::default();
        builder.push_entry(&entry_op("CN=Smith"));
        assert_eq!(format!("{builder:?}"), "AnswerBuilder { entries: 1, octets: 37 }");
    }

    #[test]
    fn what_was_gathered_can_be_streamed() {
        let mut builder = AnswerBuilder::default();
        builder.push_entry(&entry_op("a"));
        builder.push_entry(&entry_op("b"));
        let mut octets = Vec::new();
        builder.write(MessageId::new(300).unwrap(), &mut octets);
        let mut expected = Vec::new();
        write_envelope(&mut expected, MessageId::new(300).unwrap(), &entry_op("a"), None);
        write_envelope(&mut expected, MessageId::new(300).unwrap(), &entry_op("b"), None);
        assert_eq!((octets, builder.entry_count()), (expected, 2));
    }
}
