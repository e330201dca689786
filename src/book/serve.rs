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
            Asked::Search { op, entries_wanted } => match (refusal, SearchRequest::decode(&op)) {
                (Some(result), _) => Ok(single(&result, op::SEARCH_RESULT_DONE)),
                (None, Ok(request)) => {
                    Ok(deliver(self.search_without_blocking(Arc::new(request), entries_wanted, deadline).await?, deadline))
                }
                (None, Err(error)) => Ok(single(&BookResult::new(error.result_code(), "malformed search"), op::SEARCH_RESULT_DONE)),
            },
            Asked::Compare { entry, attribute, value, .. } => {
                let result = refusal.unwrap_or_else(|| self.compare(&entry, &attribute, &value));
                Ok(single(&result, op::COMPARE_RESPONSE))
            }
            Asked::Bind { .. } | Asked::Membership { .. } | Asked::Write { .. } | Asked::Extended { .. } => {
                Err(DirectoryError::NotSupported)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Entry;
    use crate::book::tests::{decode, request};
    use crate::directory::RunAs;
    use crate::ldap::control::write_control;
    use crate::ldap::dn::Dn;
    use crate::ldap::message::{Scope, WriteKind};
    use crate::secret::Secret;
    use std::time::Duration;

    /// A book whose whole is many pieces.
    fn crowd(people: u32) -> Book {
        let person =
            |number: u32| Entry::new(format!("cn=Person {number:05},dc=a")).with("objectClass", "person").with("sn", "x".repeat(200));
        let entries: Vec<_> = std::iter::once(Entry::new("dc=a").with("dc", "a")).chain((0..people).map(person)).collect();
        Book::from_entries(&Dn::parse("dc=a").unwrap(), &entries).unwrap()
    }

    fn search(filter: &str, entries_wanted: Option<u32>) -> Operation {
        let op = request("dc=a", Scope::WholeSubtree, filter, &[]).encode().into();
        operation(Asked::Search { op, entries_wanted })
    }

    fn operation(request: Asked) -> Operation {
        Operation { run_as: RunAs::Service, request, controls: None, deadline: Instant::now() + Duration::from_secs(10) }
    }

    async fn collect(mut replies: Replies) -> (Vec<String>, Result<ResultCode, DirectoryError>) {
        let mut names = Vec::new();
        loop {
            match replies.next().await.expect("a stream ends in Done or an error") {
                Ok(Reply::Entry(entry)) => names.push(decode(&entry).0),
                Ok(Reply::Intermediate(_) | Reply::Who(_) | Reply::Again) => {}
                Ok(Reply::Done(done)) => return (names, Ok(done.code)),
                Err(error) => return (names, Err(error)),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_answer_is_ready_at_once() {
        let replies = crowd(10).run(search("(sn=x*)", None)).await.unwrap();
        assert!(matches!(replies, Replies::Ready(_)));
        let (names, code) = collect(replies).await;
        assert_eq!((names.len(), code), (10, Ok(ResultCode::SUCCESS)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_arrives_whole_and_in_order() {
        let replies = crowd(3000).run(search("(sn=x*)", None)).await.unwrap();
        assert!(matches!(replies, Replies::Arriving(_)));
        let (names, code) = collect(replies).await;
        assert_eq!((names.len(), code), (3000, Ok(ResultCode::SUCCESS)));
        assert!(names.is_sorted());
        let (names, code) = collect(crowd(3000).run(search("(sn=x*)", Some(2000))).await.unwrap()).await;
        assert_eq!((names.len(), code), (2000, Ok(ResultCode::SIZE_LIMIT_EXCEEDED)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_ends_at_its_deadline_and_says_why() {
        let replies = crowd(3000).run(search("(sn=x*)", None)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(11)).await;
        let (names, end) = collect(replies).await;
        assert_eq!(end, Err(DirectoryError::TimedOut));
        assert!(names.len() < REPLIES_WAITING);
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_answer_is_not_put_together() {
        let book = crowd(3000);
        drop(book.run(search("(sn=x*)", None)).await.unwrap());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&book.store), 1);
    }

    #[tokio::test]
    async fn much_work_is_done_aside_with_the_same_result() {
        let filter = format!("(&{}(cn=person 00007))", "(cn=*e*0*)".repeat(10));
        let book = crowd(3000);
        assert!(book.search_within(&request("dc=a", Scope::WholeSubtree, &filter, &[]), None, WORK_AT_ONCE).is_none());
        let (names, code) = collect(book.run(search(&filter, None)).await.unwrap()).await;
        assert_eq!((names, code), (vec!["cn=Person 00007,dc=a".to_owned()], Ok(ResultCode::SUCCESS)));
    }

    #[tokio::test]
    async fn too_much_work_is_refused() {
        let filter = format!("(|{})", "(cn=*e*0*)".repeat(200));
        let (names, code) = collect(crowd(3000).run(search(&filter, None)).await.unwrap()).await;
        assert_eq!((names.len(), code), (0, Ok(ResultCode::ADMIN_LIMIT_EXCEEDED)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_critical_control_that_is_not_carried_out_is_refused() {
        for (control, critical, code) in [
            (oid::SORT_REQUEST, true, ResultCode::UNAVAILABLE_CRITICAL_EXTENSION),
            (oid::SORT_REQUEST, false, ResultCode::SUCCESS),
            (oid::MANAGE_DSA_IT, true, ResultCode::SUCCESS),
            (oid::DOMAIN_SCOPE, true, ResultCode::SUCCESS),
        ] {
            let mut controls = Vec::new();
            write_control(&mut controls, control, critical, None);
            let asked = Operation { controls: Some(controls.into()), ..search("(dc=a)", None) };
            assert_eq!(collect(crowd(1).run(asked).await.unwrap()).await.1, Ok(code), "{control}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn compare_is_answered_and_binds_and_writes_are_not() {
        let book = crowd(1);
        let compare = Asked::Compare { op: Bytes::new(), entry: "dc=a".to_owned(), attribute: "dc".to_owned(), value: b"A".to_vec() };
        assert_eq!(collect(book.run(operation(compare)).await.unwrap()).await.1, Ok(ResultCode::COMPARE_TRUE));
        for asked in [
            Asked::Bind { name: "dc=a".to_owned(), password: Secret::new(b"x"), groups: Arc::default() },
            Asked::Write { op: Bytes::new(), kind: WriteKind::Delete },
            Asked::Extended { op: Bytes::new() },
        ] {
            assert_eq!(book.run(operation(asked)).await.unwrap_err(), DirectoryError::NotSupported);
        }
        assert!(book.is_available());
    }
}
