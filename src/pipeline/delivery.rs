//! The last stretch: an answer goes to the connection's outbox under the client's messageID, in pieces, no faster than it is taken.
//!
//! Every path ends in exactly one last word and returns the [`Outcome`]. A closed outbox means that the phone has gone; the operation then
//! counts as abandoned.

use super::controls::Refused;
use super::{AskedAt, Bound, Outbox, Said};
use crate::cache::answer::AnswerBuilder;
use crate::cache::{Answer, Fill};
use crate::directory::{DirectoryError, Done, Reply};
use crate::ldap::ResultCode;
use crate::ldap::envelope::{op, write_envelope};
use crate::ldap::response::{write_extended_response, write_result};
use crate::outcome::{OperationKind, Outcome, Served};
use bytes::Bytes;

/// Octets handed to the connection at once. What is larger is written in pieces of about this size.
pub(super) const PIECE: usize = 64 * 1024;

/// Speaks for one operation.
#[derive(Debug)]
pub(super) struct Delivery {
    asked: AskedAt,
    outbox: Outbox,
}

impl Delivery {
    pub(super) const fn new(asked: AskedAt, outbox: Outbox) -> Self {
        Self { asked, outbox }
    }

    pub(super) const fn asked(&self) -> &AskedAt {
        &self.asked
    }

    /// A whole answer. One of a single piece is written by the connection, straight to where it sends from.
    pub(super) async fn answer(self, answer: Answer, served: Served) -> Outcome {
        if answer.len() > PIECE {
            return Box::pin(self.pieces(&answer, served)).await;
        }
        let (code, entries) = (answer.code(), answer.entry_count());
        self.last(Said::Answer(self.asked.message_id, answer), served, code, entries).await
    }

    async fn pieces(self, answer: &Answer, served: Served) -> Outcome {
        let mut next = 0;
        loop {
            let mut octets = Vec::with_capacity(PIECE + PIECE / 8);
            match answer.write_part(self.asked.message_id.wire(), next, PIECE, &mut octets) {
                None => return self.finish(octets, served, answer.code(), answer.entry_count()).await,
                Some(following) if self.part(octets).await => next = following,
                Some(_) => return self.nobody_listens(answer.entry_count()),
            }
        }
    }

    /// What has been gathered, and what is still to come, as it comes.
    pub(super) async fn stream(self, gathered: AnswerBuilder, mut rest: Fill) -> Outcome {
        let mut entries = gathered.entry_count();
        let mut octets = Vec::new();
        gathered.write(self.asked.message_id.wire(), &mut octets);
        drop(gathered);
        loop {
            if octets.len() >= PIECE && !self.part(std::mem::take(&mut octets)).await {
                return self.nobody_listens(entries);
            }
            match rest.next().await {
                Ok(Reply::Entry(entry)) => {
                    entries += 1;
                    write_envelope(&mut octets, self.asked.message_id.wire(), &entry, None);
                }
                Ok(Reply::Intermediate(_) | Reply::Who(_)) => {}
                // The client has had some of it, and a search result does not begin anew.
                Ok(Reply::Again) => {
                    let error = DirectoryError::ConnectionLost { sent: true };
                    write_end(self.asked, error.result_code(), &error.to_string(), &mut octets);
                    return self.finish(octets, Served::Failed, error.result_code(), entries).await;
                }
                Ok(Reply::Done(done)) => {
                    write_envelope(&mut octets, self.asked.message_id.wire(), &done.op, None);
                    return self.finish(octets, Served::Miss, done.code, entries).await;
                }
                Err(error) => {
                    write_end(self.asked, error.result_code(), &error.to_string(), &mut octets);
                    return self.finish(octets, Served::Failed, error.result_code(), entries).await;
                }
            }
        }
    }

    /// A response as the directory gave it.
    pub(super) async fn done(self, done: &Done, served: Served) -> Outcome {
        let mut octets = Vec::with_capacity(done.op.len() + 16);
        write_envelope(&mut octets, self.asked.message_id.wire(), &done.op, done.controls.as_deref());
        self.finish(octets, served, done.code, 0).await
    }

    /// A response of Redial's own.
    pub(super) async fn end(self, served: Served, code: ResultCode, diagnostic: &str) -> Outcome {
        let mut octets = Vec::new();
        write_end(self.asked, code, diagnostic, &mut octets);
        self.finish(octets, served, code, 0).await
    }

    /// The directory gave no answer.
    pub(super) async fn failed(self, error: &DirectoryError) -> Outcome {
        self.end(Served::Failed, error.result_code(), &error.to_string()).await
    }

    /// No.
    pub(super) async fn refuse(self, refused: Refused) -> Outcome {
        self.end(Served::Refused, refused.code, refused.reason).await
    }

    /// The end of a bind: who the client is from now on, and the BindResponse.
    pub(super) async fn bound(self, bound: Option<Bound>, response: Vec<u8>, served: Served, code: ResultCode) -> Outcome {
        let said = Said::BindFinished(self.asked.message_id, bound, response.into());
        // A phone that has gone needs no answer; the outcome is told all the same.
        let _ = self.outbox.send(said).await;
        self.asked.outcome(served, code, 0)
    }

    /// The last octets of an answer.
    pub(super) async fn finish(self, octets: Vec<u8>, served: Served, code: ResultCode, entries: u32) -> Outcome {
        self.last(Said::Finished(self.asked.message_id, octets.into()), served, code, entries).await
    }

    async fn last(&self, said: Said, served: Served, code: ResultCode, entries: u32) -> Outcome {
        match self.outbox.send(said).await {
            Ok(()) => self.asked.outcome(served, code, entries),
            // What was changed was changed, whoever hears of it.
            Err(_) if self.asked.kind.is_write() => self.asked.outcome(served, code, entries),
            Err(_) => self.nobody_listens(entries),
        }
    }

    /// Some octets of an answer; says whether anybody listens.
    pub(super) async fn part(&self, octets: Vec<u8>) -> bool {
        self.outbox.send(Said::Part(self.asked.message_id, Bytes::from(octets))).await.is_ok()
    }

    fn nobody_listens(&self, entries: u32) -> Outcome {
        self.asked.outcome(Served::Abandoned, ResultCode::CANCELED, entries)
    }
}

/// Appends a response of Redial's own to an operation of that kind.
pub(super) fn write_end(asked: AskedAt, code: ResultCode, diagnostic: &str, out: &mut Vec<u8>) {
    let tag = match asked.kind {
        OperationKind::Bind => op::BIND_RESPONSE,
        OperationKind::Search => op::SEARCH_RESULT_DONE,
        OperationKind::Compare => op::COMPARE_RESPONSE,
        OperationKind::Modify => op::MODIFY_RESPONSE,
        OperationKind::Add => op::ADD_RESPONSE,
        OperationKind::Delete => op::DELETE_RESPONSE,
        OperationKind::ModifyDn => op::MODIFY_DN_RESPONSE,
        OperationKind::Extended => {
            return write_extended_response(out, asked.message_id.wire(), code, diagnostic, None, None);
        }
    };
    write_result(out, asked.message_id.wire(), tag, code, diagnostic);
}
