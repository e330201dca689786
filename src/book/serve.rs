//! The phonebook as a directory: what has been handed in is answered from memory, large answers piece by piece.
//!
//! A search that turns out to be much work moves to a thread of its own, as many at once as there are cores, so that phones with
//! ordinary questions do not wait behind it. Binds, writes and extended operations are not carried out here.

use super::{Book, BookAnswer, BookResult};
use crate::directory::{Asked, Directory, DirectoryError, Done, Operation, Replies, Reply};
use crate::ldap::control::parse_controls;
use crate::ldap::envelope::op;
use crate::ldap::message::{ResultCode, SearchRequest};
use crate::ldap::oid;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

impl Directory for Book {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        Box::pin(self.answer(operation))
    }

    fn is_available(&self) -> bool {
        true
    }
}

impl Book {
    /// Carries out one operation. Cancel safe: nothing is changed by it.
    async fn answer(&self, operation: Operation) -> Result<Replies, DirectoryError> {
        let Operation { request, controls, deadline, .. } = operation;
        let refusal = refusal(controls.as_deref());
        match request {
            Asked::Search { request, entries_wanted, .. } => match refusal {
                Some(result) => Ok(single(&result, op::SEARCH_RESULT_DONE)),
                None => Ok(deliver(self.search_without_blocking(request, entries_wanted, deadline).await?, deadline)),
            },
            Asked::Compare { entry, attribute, value, .. } => {
                let result = refusal.unwrap_or_else(|| self.compare(&entry, &attribute, &value));
                Ok(single(&result, op::COMPARE_RESPONSE))
            }
            Asked::Bind { .. } | Asked::Write { .. } | Asked::Extended { .. } => Err(DirectoryError::NotSupported),
        }
    }

    /// What takes long is done again where it holds nobody up.
    async fn search_without_blocking(
        &self,
        request: Arc<SearchRequest>,
        entries_wanted: Option<u32>,
        deadline: Instant,
    ) -> Result<BookAnswer, DirectoryError> {
        if let Some(answer) = self.search_within(&request, entries_wanted, WORK_AT_ONCE) {
            return Ok(answer);
        }
        let permit = timeout_at(deadline, Arc::clone(&self.workers).acquire_owned()).await.map_err(|_| DirectoryError::TimedOut)?;
        let book = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            book.search(&request, entries_wanted)
        });
        work.await.map_err(|_| DirectoryError::Misbehaved("a search of the phonebook broke off"))
    }
}

/// A critical control that is not carried out here: unavailableCriticalExtension(12).
fn refusal(controls: Option<&[u8]>) -> Option<BookResult> {
    let Ok(controls) = parse_controls(controls) else {
        return Some(BookResult::new(ResultCode::PROTOCOL_ERROR, "malformed controls"));
    };
    // There are no referrals here, so these two change nothing.
    let is_fine = |control: &str| [oid::MANAGE_DSA_IT, oid::DOMAIN_SCOPE].contains(&control);
    let refused = controls.iter().any(|control| control.critical && !is_fine(control.oid));
    refused.then(|| BookResult::new(ResultCode::UNAVAILABLE_CRITICAL_EXTENSION, "the phonebook does not carry out this control"))
}

fn single(result: &BookResult, response_tag: u8) -> Replies {
    let done = Done { code: result.code, op: result.encode(response_tag).into(), controls: None };
    Replies::Ready(vec![Reply::Done(done)].into_iter())
}

/// A short answer is ready at once; a long one is put together while it is read.
fn deliver(mut answer: BookAnswer, deadline: Instant) -> Replies {
    let (first, end) = next_piece(&mut answer);
    if end {
        return Replies::Ready(first.into_iter());
    }
    let (sender, receiver) = mpsc::channel(REPLIES_WAITING);
    tokio::spawn(send_all(answer, first, sender, deadline));
    Replies::Arriving(receiver)
}

/// Sends the rest of an answer as fast as it is read. Ends when nobody reads any longer, or when the deadline has passed.
async fn send_all(mut answer: BookAnswer, first: Vec<Reply>, sender: mpsc::Sender<Result<Reply, DirectoryError>>, deadline: Instant) {
    // One place in the channel is kept, so that a reader who lets it fill up still hears why the answer breaks off.
    let Ok(last_word) = sender.clone().try_reserve_owned() else { return };
    let (mut piece, mut end) = (first, false);
    loop {
        for reply in piece {
            match timeout_at(deadline, sender.send(Ok(reply))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    last_word.send(Err(DirectoryError::TimedOut));
                    return;
                }
            }
        }
        if end {
            return;
        }
        (piece, end) = next_piece(&mut answer);
    }
}

/// The next entries of an answer, about [`PIECE`] octets of them, in one buffer; and at its end the result.
fn next_piece(answer: &mut BookAnswer) -> (Vec<Reply>, bool) {
    let mut octets = Vec::new();
    let mut ends = Vec::new();
    let mut more = true;
    while octets.len() < PIECE && more {
        more = answer.write_next(&mut octets);
        ends.push(octets.len());
    }
    if !more {
        ends.pop();
    }
    let octets = Bytes::from(octets);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let mut replies: Vec<_> = starts.zip(&ends).map(|(start, end)| Reply::Entry(octets.slice(start..*end))).collect();
    if !more {
        replies.push(Reply::Done(Done { code: answer.result().code, op: answer.done().into(), controls: None }));
    }
    (replies, !more)
}

/// What a search may cost before it moves to a thread of its own, in octets read or written: about 2 ms.
const WORK_AT_ONCE: u64 = 2 << 20;
/// Octets put together in one step: well under a millisecond.
const PIECE: usize = 64 << 10;
/// Replies that may wait for a slow reader.
const REPLIES_WAITING: usize = 64;
