//! One connection to a controller, shared by many operations (RFC 4511 sections 3.1 and 4.1.1.1).
//!
//! [`Connection`] is the handle: clone it, and begin operations on it. Behind it one task ([`driver`]) owns the stream. An
//! operation that was begun is an [`InFlight`]: its replies wait there for their reader, within a bound for all of a connection's, and dropping
//! it early makes the task abandon the operation (section 4.11). No reply ever reaches another operation than its own.

mod driver;
mod message_ids;
mod outbox;
mod replies;

use self::driver::Command;
pub(crate) use self::outbox::Payload;
use self::replies::{Backlog, Reader, replies};
use crate::config;
use crate::directory::{DirectoryError, Reply};
use crate::lifecycle::Lifecycle;
use crate::patience::by;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// A handle to one connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    made_at: Instant,
}

/// What a connection's handles and its task both see.
#[derive(Debug)]
pub(crate) struct Shared {
    /// New operations are taken.
    pub(crate) open: AtomicBool,
    /// Replies that wait for their readers.
    pub(crate) backlog: Arc<Backlog>,
    /// Somebody has dropped an operation early.
    pub(crate) let_go: Notify,
    /// How often something was read.
    pub(crate) reads: AtomicUsize,
    in_flight: AtomicUsize,
    paging: Arc<Semaphore>,
}

/// How a connection behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// The longest message that is accepted, in octets.
    pub(crate) frame_limit: usize,
    /// Without an operation for so long, it is closed.
    pub(crate) idle: Duration,
    /// Older than this, it takes no new operations.
    pub(crate) max_age: Option<Duration>,
    /// So many octets of replies may wait for their readers before nothing more is read.
    pub(crate) backlog: usize,
    /// So long may the controller not take our octets.
    pub(crate) stall: Duration,
    /// Binds leave the connection's identity as it is (fast bind), so one that is given up does not end it.
    pub(crate) fast_bind: bool,
}

impl Settings {
    /// Those of the connections to a directory's controllers.
    pub(crate) const fn new(config: &config::Upstream, limits: &config::Limits) -> Self {
        Self {
            frame_limit: limits.upstream_message,
            idle: config.idle,
            max_age: None,
            backlog: limits.upstream_message,
            stall: limits.write_stall,
            fast_bind: false,
        }
    }
}

/// A request on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// The protocolOp.
    pub(crate) op: Payload,
    /// The contents of the controls element.
    pub(crate) controls: Option<Bytes>,
}

impl Connection {
    /// Starts the task that owns `stream`. `held` is dropped when the connection has ended.
    pub(crate) fn spawn<S, H>(stream: S, settings: Settings, lifecycle: Lifecycle, held: H) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        H: Send + 'static,
    {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let shared = Arc::new(Shared {
            open: AtomicBool::new(true),
            backlog: Arc::new(Backlog::new(settings.backlog)),
            let_go: Notify::new(),
            reads: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            paging: Arc::new(Semaphore::new(1)),
        });
        let task = driver::drive(stream, receiver, Arc::clone(&shared), settings, lifecycle);
        tokio::spawn(async move {
            task.await;
            drop(held);
        });
        Self { commands, shared, made_at: Instant::now() }
    }

    /// Hands a request over. No reply is wanted after `deadline`.
    ///
    /// # Errors
    /// [`DirectoryError::ConnectionLost`] with nothing sent when the connection takes no more requests, [`DirectoryError::TimedOut`] when
    /// there was no room before the deadline.
    pub(crate) async fn begin(&self, request: Outgoing, deadline: Instant) -> Result<InFlight, DirectoryError> {
        let place = match self.commands.try_reserve() {
            Err(TrySendError::Full(())) => {
                Box::pin(timeout_at(deadline, self.commands.reserve())).await.map_err(|_| DirectoryError::TimedOut)?.ok()
            }
            place => place.ok(),
        };
        let place = place.ok_or(DirectoryError::ConnectionLost { sent: false })?;
        let (sender, replies) = replies(&self.shared.backlog);
        place.send(Command { request, replies: sender });
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(InFlight { replies, shared: Arc::clone(&self.shared), deadline, ended: false })
    }

    /// Since when it stands.
    pub(crate) const fn made_at(&self) -> Instant {
        self.made_at
    }

    /// New operations are taken. A connection may close at any moment, so the answer is a hint.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Acquire) && !self.commands.is_closed()
    }

    /// Takes no new operations from those who ask [`Connection::is_open`].
    pub(crate) fn retire(&self) {
        self.shared.open.store(false, Ordering::Release);
    }

    /// A slow reader holds everybody up.
    pub(crate) fn is_stalled(&self) -> bool {
        self.shared.backlog.is_full()
    }

    /// How often something was read from it.
    pub(crate) fn reads(&self) -> usize {
        self.shared.reads.load(Ordering::Relaxed)
    }

    /// A slow reader may come to that.
    pub(crate) fn is_filling(&self) -> bool {
        self.shared.backlog.is_filling()
    }

    /// Operations whose answer somebody waits for.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// One paged search at a time: OpenLDAP remembers one cookie a connection, and Active Directory and Samba ten.
    pub(crate) fn paging(&self) -> Arc<Semaphore> {
        Arc::clone(&self.shared.paging)
    }
}

/// An operation under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    replies: Reader,
    shared: Arc<Shared>,
    deadline: Instant,
    ended: bool,
}

impl InFlight {
    /// The next reply; `None` after the last. After the deadline the operation is abandoned and [`DirectoryError::TimedOut`] is the last.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Reply, DirectoryError>> {
        self.next_by(self.deadline).await.ok().flatten()
    }

    /// The same; but when nothing has come by `until`, which may be before the deadline, the operation goes on.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Elapsed`] at that time.
    pub(crate) async fn next_by(&mut self, until: Instant) -> Result<Option<Result<Reply, DirectoryError>>, Elapsed> {
        if self.ended {
            return Ok(None);
        }
        let reply = match by(until.min(self.deadline), self.replies.next()).await {
            Ok(Some(reply)) => reply,
            // The task is gone without a word, so nobody knows how far it came.
            Ok(None) => Err(DirectoryError::ConnectionLost { sent: true }),
            Err(elapsed) if until < self.deadline => return Err(elapsed),
            Err(_) => {
                self.let_go();
                Err(DirectoryError::TimedOut)
            }
        };
        self.note(&reply);
        Ok(Some(reply))
    }

    /// The next reply, where it has come already.
    pub(crate) fn take(&mut self) -> Option<Result<Reply, DirectoryError>> {
        if self.ended {
            return None;
        }
        let reply = self.replies.take()?;
        self.note(&reply);
        Some(reply)
    }

    const fn note(&mut self, reply: &Result<Reply, DirectoryError>) {
        self.ended = matches!(reply, Ok(Reply::Done(_)) | Err(_));
    }

    fn let_go(&mut self) {
        self.replies.close();
        self.shared.let_go.notify_one();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.ended {
            self.let_go();
        }
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests that wait for the task; more wait in [`Connection::begin`], each with its own deadline.
const COMMANDS: usize = 64;

#[cfg(test)]
mod tests;
