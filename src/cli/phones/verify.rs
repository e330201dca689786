//! Is this the right answer? The same as the first one to the same question, and entries that fulfil the filter.
//!
//! An answer becomes a number: the sum of its entries' hashes, so their order does not count and messageIDs are left out. Only answers that
//! nobody has seen before are read. The rest is compared with their octets ([`super::known`]), and by that number where those differ or are
//! many, since the swarm must not be what is measured.

use super::known::Recording;
use super::line::{Line, Reply, malformed};
use super::question::{Meaning, Question};
use super::tally::Mishap;
use crate::ldap::ResultCode;
use crate::ldap::ber::{BerError, Reader, tag};
use crate::ldap::envelope::op;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Not the entries of the first answer, or not octet for octet.
    Changed,
    /// An entry that does not fulfil the filter.
    BesideTheFilter,
    /// More entries than the size limit.
    TooMany,
    /// An entry that is not well-formed.
    Malformed,
}

impl Wrong {
    /// In words.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Changed => "differs from the first answer",
            Self::BesideTheFilter => "holds an entry that the filter does not match",
            Self::TooMany => "holds more entries than the size limit",
            Self::Malformed => "holds a malformed entry",
        }
    }
}

/// An answer that is complete.
pub(super) struct Answer {
    pub(super) code: ResultCode,
    pub(super) entries: u32,
    pub(super) verdict: Result<(), Wrong>,
}

impl Answer {
    /// Waits for the answer to a question that was asked under `id`, and looks at it. Not cancel safe.
    pub(super) async fn to(question: &Question, line: &mut Line, id: u8) -> Result<Self, Mishap> {
        if let Some(known) = line.known_answer(id, &question.known).await? {
            return Ok(Self { code: ResultCode::SUCCESS, entries: known.entries(), verdict: Ok(()) });
        }
        let mut check = Check::new(question);
        let code = loop {
            let reply = line.reply(id).await?;
            if let Some(code) = check.reply(&reply)? {
                break code;
            }
        };
        Ok(Self { code, entries: check.entries, verdict: check.finish(code) })
    }
}

/// One answer while it arrives.
struct Check<'q> {
    question: &'q Question,
    sum: u64,
    entries: u32,
    is_new: bool,
    /// Where it is new.
    recording: Option<Recording>,
    wrong: Option<Wrong>,
}

impl<'q> Check<'q> {
    /// Begins with the first message.
    fn new(question: &'q Question) -> Self {
        let is_new = question.first.load(Ordering::Relaxed) == 0;
        Self { question, sum: 0, entries: 0, is_new, recording: is_new.then(Recording::default), wrong: None }
    }

    /// The next message; the code, where it is the last.
    fn reply(&mut self, reply: &Reply) -> Result<Option<ResultCode>, Mishap> {
        self.recording = self.recording.take().and_then(|recording| recording.with(reply.frame(), reply.id_at()));
        let view = reply.view().map_err(malformed)?;
        let code = view.done()?;
        if view.op_tag == op::SEARCH_RESULT_ENTRY {
            self.entry(view.op, view.content);
        }
        Ok(code)
    }

    /// A SearchResultEntry: the protocolOp with tag and length, and its contents.
    fn entry(&mut self, op: &[u8], content: &[u8]) {
        self.sum = self.sum.wrapping_add(HASH.hash_one(op));
        self.entries = self.entries.saturating_add(1);
        if self.is_new && self.wrong.is_none() {
            self.wrong = match fulfils(&self.question.meaning, content) {
                Ok(true) => None,
                Ok(false) => Some(Wrong::BesideTheFilter),
                Err(_) => Some(Wrong::Malformed),
            };
        }
    }

    /// The answer is complete; the first one that succeeds is what the others are held against.
    fn finish(self, code: ResultCode) -> Result<(), Wrong> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.question.size_limit > 0 && self.entries > self.question.size_limit {
            return Err(Wrong::TooMany);
        }
        // Whatever ends early may be another part of the whole each time.
        if code != ResultCode::SUCCESS {
            return Ok(());
        }
        let fingerprint = HASH.hash_one((self.sum, self.entries)).max(1);
        match self.question.first.compare_exchange(0, fingerprint, Ordering::Relaxed, Ordering::Relaxed) {
            Err(first) if first != fingerprint => return Err(Wrong::Changed),
            _ => {}
        }
        if let Some(recording) = self.recording {
            // Another phone may have been faster with the same.
            self.question.known.get_or_init(|| recording.finish(self.entries));
        }
        Ok(())
    }
}

/// Whether the contents of a SearchResultEntry have what the filter asks for.
fn fulfils(meaning: &Meaning, content: &[u8]) -> Result<bool, BerError> {
    let mut fields = Reader::new(content);
    fields.expect(tag::OCTET_STRING)?;
    let mut attributes = Reader::new(fields.expect(tag::SEQUENCE)?.content);
    fields.finish()?;
    let mut fulfilled = matches!(meaning, Meaning::Unchecked);
    while !attributes.is_empty() {
        let mut attribute = Reader::new(attributes.expect(tag::SEQUENCE)?.content);
        let description = attribute.text(tag::OCTET_STRING)?;
        let mut values = Reader::new(attribute.expect(tag::SET)?.content);
        while !values.is_empty() {
            let value = values.expect(tag::OCTET_STRING)?.content;
            fulfilled = fulfilled || is_reason(meaning, description, value);
        }
    }
    Ok(fulfilled)
}

fn is_reason(meaning: &Meaning, description: &str, value: &[u8]) -> bool {
    // Options (`cn;lang-de`) make a subtype, which the filter's attribute covers.
    let name = description.split(';').next().unwrap_or(description);
    let is_among = |attributes: &[String]| attributes.iter().any(|attribute| attribute.eq_ignore_ascii_case(name));
    match meaning {
        Meaning::Unchecked => true,
        Meaning::Present(attributes) => is_among(attributes),
        Meaning::Prefix(attributes, prefix) => is_among(attributes) && begins_with(value, prefix),
        Meaning::Number(attributes, number) => is_among(attributes) && digits(value) == digits(number.as_bytes()),
    }
}

/// Whether a value may begin so. Servers differ in what they fold beyond ASCII, so the first other character ends the comparison.
fn begins_with(value: &[u8], prefix: &str) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return true };
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut characters = value.chars();
    for wanted in prefix.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match characters.next() {
            Some(found) if !found.is_ascii() || !wanted.is_ascii() => return true,
            Some(found) if found.eq_ignore_ascii_case(&wanted) => {}
            _ => return false,
        }
    }
    true
}

/// A number without what telephoneNumberMatch ignores (RFC 4517 section 4.2.29), in lower case.
fn digits(value: &[u8]) -> Vec<u8> {
    value.iter().filter(|octet| !matches!(octet, b' ' | b'-')).map(u8::to_ascii_lowercase).collect()
}

/// Every phone counts alike.
const HASH: FixedState = FixedState::with_seed(0);

#[cfg(test)]
mod tests {
    use super::super::question::tests::manner;
    use super::*;
    use crate::ldap::response::write_entry_op;

    fn entry(name: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
        let mut op = Vec::new();
        write_entry_op(&mut op, name, attributes.iter().map(|(attribute, value)| (*attribute, [value.as_bytes()])));
        op
    }

    fn answer(question: &Question, entries: &[Vec<u8>], code: ResultCode) -> Result<(), Wrong> {
        let mut check = Check::new(question);
        for op in entries {
            let content = Reader::new(op).element().unwrap().content;
            check.entry(op, content);
        }
        check.finish(code)
    }

    #[test]
    fn the_order_of_entries_does_not_count_but_their_octets_do() {
        let question = manner().prefix("a");
        let (ada, alan) = (entry("cn=Ada", &[("cn", "Ada")]), entry("cn=Alan", &[("cn", "Alan")]));
        let both = [ada.clone(), alan.clone()];
        assert_eq!(answer(&question, &both, ResultCode::SUCCESS), Ok(()));
        assert_eq!(answer(&question, &[alan.clone(), ada.clone()], ResultCode::SUCCESS), Ok(()));
        assert_eq!(answer(&question, std::slice::from_ref(&ada), ResultCode::SUCCESS), Err(Wrong::Changed));
        assert_eq!(answer(&question, &[ada.clone(), ada], ResultCode::SUCCESS), Err(Wrong::Changed));
        assert_eq!(answer(&question, &[alan], ResultCode::SIZE_LIMIT_EXCEEDED), Ok(()), "a part may be any part");
    }

    #[test]
    fn an_entry_beside_the_filter_is_noticed() {
        let is_right =
            |question: &Question, attributes: &[(&str, &str)]| answer(question, &[entry("cn=x", attributes)], ResultCode::SUCCESS);
        assert_eq!(is_right(&manner().prefix("lo"), &[("cn", "Ada"), ("SN", "Lovelace")]), Ok(()));
        assert_eq!(is_right(&manner().prefix("l o"), &[("cn;lang-en", "L  Ovelace")]), Ok(()));
        assert_eq!(is_right(&manner().prefix("mue"), &[("sn", "Müller")]), Ok(()), "folding beyond ASCII is the server's business");
        assert_eq!(is_right(&manner().prefix("lo"), &[("cn", "Ada"), ("mail", "lo@x")]), Err(Wrong::BesideTheFilter));
        assert_eq!(is_right(&manner().prefix("lo"), &[("cn", "L")]), Err(Wrong::BesideTheFilter));
        assert_eq!(is_right(&manner().number("+49 1-7"), &[("telephoneNumber", "+4917")]), Ok(()));
        assert_eq!(is_right(&manner().number("17"), &[("telephoneNumber", "18")]), Err(Wrong::BesideTheFilter));
        assert_eq!(is_right(&manner().everybody(), &[("cn", "Ada")]), Err(Wrong::BesideTheFilter));
    }

    #[test]
    fn too_many_and_malformed_entries_are_noticed() {
        let mut manner = manner();
        manner.size_limit = 1;
        let twice = [entry("cn=Ada", &[("cn", "Ada")]), entry("cn=Alan", &[("cn", "Alan")])];
        assert_eq!(answer(&manner.prefix("a"), &twice, ResultCode::SUCCESS), Err(Wrong::TooMany));
        assert_eq!(answer(&manner.prefix("a"), &[b"\x64\x02\x04\x00".to_vec()], ResultCode::SUCCESS), Err(Wrong::Malformed));
    }
}
