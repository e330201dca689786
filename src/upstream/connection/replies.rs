//! The replies of an operation on their way to its reader, and how many octets wait on one connection for all its readers.
//!
//! A reader that is slow lets its own replies pile up, and nobody else waits for it, until all that waits on the connection is more than a
//! bound: only then is the connection read no further.

use crate::directory::{DirectoryError, Reply};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Octets that wait on a connection.
#[derive(Debug)]
pub(crate) struct Backlog {
    octets: AtomicUsize,
    most: usize,
    room: Notify,
}

impl Backlog {
    /// It is full with `most` octets.
    pub(crate) fn new(most: usize) -> Self {
        Self { octets: AtomicUsize::new(0), most, room: Notify::new() }
    }

    /// Nothing more should be read.
    pub(crate) fn is_full(&self) -> bool {
        self.octets.load(Ordering::Acquire) >= self.most
    }

    /// So much waits that new operations do better elsewhere: whoever is here already still has the most of the room.
    pub(crate) fn is_filling(&self) -> bool {
        self.octets.load(Ordering::Acquire) >= self.most / 4
    }

    /// Resolves when there is room. Cancel safe.
    pub(crate) async fn has_room(&self) {
        while self.is_full() {
            self.room.notified().await;
        }
    }

    fn add(&self, octets: usize) {
        self.octets.fetch_add(octets, Ordering::AcqRel);
    }

    fn remove(&self, octets: usize) {
        let before = self.octets.fetch_sub(octets, Ordering::AcqRel);
        if before >= self.most && before - octets < self.most {
            self.room.notify_one();
        }
    }
}

/// What waits for one reader.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    backlog: Arc<Backlog>,
}

#[derive(Debug, Default)]
struct State {
    replies: VecDeque<Result<Reply, DirectoryError>>,
    /// Of `replies`.
    octets: usize,
    /// So long has this reader kept the others waiting.
    stalled: Duration,
    /// Nobody reads any more.
    is_closed: bool,
    /// No more replies come.
    has_ended: bool,
}

/// Where an operation's replies come from; dropped, no more come.
#[derive(Debug)]
pub(crate) struct Replies(Arc<Queue>);

/// Where they go; dropped, nobody reads any more.
#[derive(Debug)]
pub(crate) struct Reader(Arc<Queue>);

/// The two ends for one operation.
pub(crate) fn replies(backlog: &Arc<Backlog>) -> (Replies, Reader) {
    let queue = Arc::new(Queue { state: Mutex::default(), arrived: Notify::new(), backlog: Arc::clone(backlog) });
    (Replies(Arc::clone(&queue)), Reader(queue))
}

impl Queue {
    /// Octets that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state().octets
    }

    /// Its reader has kept the others waiting for so long; and for how long in all.
    pub(crate) fn charge(&self, wait: Duration) -> Duration {
        let mut state = self.state();
        state.stalled += wait;
        state.stalled
    }

    /// Nobody waits for this reader any longer: what is here goes, and an error is the last that it reads.
    pub(crate) fn give_up(&self, error: DirectoryError) {
        let mut state = self.state();
        self.clear(&mut state);
        state.is_closed = true;
        state.replies.push_back(Err(error));
        drop(state);
        self.arrived.notify_one();
    }

    fn clear(&self, state: &mut State) {
        state.replies = VecDeque::new();
        self.backlog.remove(std::mem::take(&mut state.octets));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replies {
    /// Passes a reply on; `false`: nobody reads any more.
    pub(crate) fn send(&self, reply: Reply) -> bool {
        let Self(queue) = self;
        let mut state = queue.state();
        if state.is_closed {
            return false;
        }
        let octets = weight(&reply);
        state.octets += octets;
        queue.backlog.add(octets);
        if state.replies.capacity() == 0 {
            state.replies.reserve(FEW);
        }
        state.replies.push_back(Ok(reply));
        drop(state);
        queue.arrived.notify_one();
        true
    }

    /// The last word, which is an error.
    pub(crate) fn fail(&self, error: DirectoryError) {
        let Self(queue) = self;
        let mut state = queue.state();
        if !state.is_closed {
            state.replies.push_back(Err(error));
            drop(state);
            queue.arrived.notify_one();
        }
    }

    /// Nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.state().is_closed
    }

    /// What waits.
    pub(crate) const fn queue(&self) -> &Arc<Queue> {
        &self.0
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.0.state().has_ended = true;
        self.0.arrived.notify_one();
    }
}

impl Reader {
    /// The next; `None` after the last. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Reply, DirectoryError>> {
        loop {
            if let Some(reply) = self.take() {
                return Some(reply);
            }
            if self.0.state().has_ended {
                // The last may have come in between.
                return self.take();
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next, where it has come already.
    pub(crate) fn take(&mut self) -> Option<Result<Reply, DirectoryError>> {
        let Self(queue) = self;
        let mut state = queue.state();
        let reply = state.replies.pop_front()?;
        let octets = reply.as_ref().map_or(0, weight);
        state.octets -= octets;
        queue.backlog.remove(octets);
        Some(reply)
    }

    /// Nothing more is wanted.
    pub(crate) fn close(&mut self) {
        let Self(queue) = self;
        let mut state = queue.state();
        state.is_closed = true;
        queue.clear(&mut state);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

/// Octets that a reply takes.
const fn weight(reply: &Reply) -> usize {
    match reply {
        Reply::Entry(op) | Reply::Intermediate(op) => op.len() + OVERHEAD,
        // There is one an operation.
        Reply::Done(_) | Reply::Who(_) | Reply::Again => 0,
    }
}

/// Replies for which there is room from the first on.
const FEW: usize = 12;
/// Of a reply in its queue, about.
const OVERHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::time::timeout;

    fn entry(octets: usize) -> Reply {
        Reply::Entry(Bytes::from(vec![0; octets - OVERHEAD]))
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_again_when_a_reader_has_read() {
        let backlog = Arc::new(Backlog::new(1000));
        let ((slow, mut reader), (other, _other_reader)) = (replies(&backlog), replies(&backlog));
        assert!(slow.send(entry(700)) && other.send(entry(299)));
        assert!(!backlog.is_full());
        assert!(other.send(entry(100)));
        assert!(backlog.is_full() && (slow.queue().waiting(), other.queue().waiting()) == (700, 399));
        assert!(timeout(Duration::from_secs(1), backlog.has_room()).await.is_err());
        let ((), read) = tokio::join!(backlog.has_room(), reader.next());
        assert!(matches!(read, Some(Ok(Reply::Entry(_)))) && slow.queue().waiting() == 0);
    }

    #[test]
    fn a_reader_that_goes_takes_along_what_waited_for_it() {
        let backlog = Arc::new(Backlog::new(1000));
        let (slow, reader) = replies(&backlog);
        assert!(slow.send(entry(2000)) && backlog.is_full());
        drop(reader);
        assert!(slow.is_closed() && !slow.send(entry(2000)) && !backlog.is_full());
        assert_eq!(backlog.octets.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_reader_that_was_given_up_hears_why_and_nothing_else() {
        let backlog = Arc::new(Backlog::new(1000));
        let (slow, mut reader) = replies(&backlog);
        assert!(slow.send(entry(2000)));
        slow.queue().give_up(DirectoryError::Busy);
        assert!(!slow.send(entry(2000)) && !backlog.is_full());
        assert!(matches!(reader.next().await, Some(Err(DirectoryError::Busy))));
        drop(slow);
        assert!(reader.next().await.is_none());
        assert_eq!(backlog.octets.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn replies_come_in_order_and_then_the_end() {
        let (replies, mut reader) = replies(&Arc::new(Backlog::new(1000)));
        let reading = async {
            let mut sizes = Vec::new();
            while let Some(Ok(Reply::Entry(op))) = reader.next().await {
                sizes.push(op.len());
            }
            sizes
        };
        let sending = async {
            for size in 1..=3 {
                assert!(replies.send(entry(OVERHEAD + size)));
                tokio::task::yield_now().await;
            }
            drop(replies);
        };
        assert_eq!(tokio::join!(reading, sending).0, [1, 2, 3]);
    }
}
