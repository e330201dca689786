//! Writes of one directory: where they go, and where reads go after them. [`pin`] decides, without knowing the servers.

mod pin;

use self::pin::Pin;
use super::servers::Servers;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// What was written, and where.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pin: Mutex<Pin>,
    answers_behind: AtomicU64,
}

/// A write under way at one server. Dropped without a word, it may have changed something.
#[derive(Debug)]
pub(crate) struct Writing {
    writes: Arc<Writes>,
    server: usize,
    may_have_changed: bool,
}

impl Writes {
    /// The server for the next write, none of those in `tried`: the one that took the last, or else another, which is the home from now on.
    /// `None` when no other is up.
    pub(crate) fn server(&self, servers: &Servers, tried: &[usize]) -> Option<usize> {
        self.with_pin(|pin| {
            let server = servers.choose_proven(pin.home(), tried)?.standing.server();
            pin.settle(server);
            Some(server)
        })
    }

    /// A write is about to be handed to that server.
    pub(crate) fn begin(self: &Arc<Self>, server: usize) -> Writing {
        self.with_pin(Pin::write_begins);
        Writing { writes: Arc::clone(self), server, may_have_changed: true }
    }

    /// The server that reads are to go to; `None`: any.
    pub(crate) fn reads_from(&self) -> Option<usize> {
        self.with_pin(|pin| pin.reads_from(Instant::now()))
    }

    /// A read is about to be handed to that server.
    pub(crate) fn read_at(&self, server: usize) {
        if self.with_pin(|pin| pin.is_behind(server, Instant::now())) {
            self.answers_behind.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Reads so far that may have lacked a write.
    pub(crate) fn answers_behind(&self) -> u64 {
        self.answers_behind.load(Ordering::SeqCst)
    }

    fn with_pin<T>(&self, look: impl FnOnce(&mut Pin) -> T) -> T {
        look(&mut self.pin.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Writing {
    /// The server has said no, or never got the request.
    pub(crate) fn changed_nothing(mut self) {
        self.may_have_changed = false;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.writes.with_pin(|pin| pin.write_ended(self.server, self.may_have_changed, Instant::now()));
    }
}
