//! The running operations of one connection, each a task that speaks into a channel of its own.
//!
//! A channel of its own, because then an operation that is dropped cannot be heard any more, whatever its task was doing at that
//! moment, and its messageID is free at once; and because a task that dies without a last word is noticed.

use crate::pipeline::{Hearing, Outbox, Said, outbox};
use crate::session::ClientMessageId;
use std::future::Future;
use std::task::{Context, Poll};
use tokio::task::AbortHandle;

/// The running operations of one connection. Dropped, it stops all that may be stopped.
#[derive(Debug, Default)]
pub(super) struct Operations {
    running: Vec<Operation>,
    /// Who is listened to first: they take turns, so that a large answer does not hold up the small ones.
    turn: usize,
}

#[derive(Debug)]
struct Operation {
    /// `None`: silenced.
    message_id: Option<ClientMessageId>,
    runs_to_its_end: bool,
    said: Hearing,
    task: AbortHandle,
}

/// What became of an operation.
#[derive(Debug)]
pub(super) enum Heard {
    /// It spoke.
    Said(Said),
    /// It ended without a last word.
    BrokeOff(ClientMessageId),
    /// One that was silenced has ended.
    SilentEnded,
}

impl Operations {
    /// Starts one in a task; `work` makes its future from where it speaks.
    pub(super) fn start<F>(&mut self, message_id: ClientMessageId, runs_to_its_end: bool, work: impl FnOnce(Outbox) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (outbox, said) = outbox();
        let task = tokio::spawn(work(outbox)).abort_handle();
        self.running.push(Operation { message_id: Some(message_id), runs_to_its_end, said, task });
    }

    /// Stops one, or silences it if it runs to its end.
    pub(super) fn abandon(&mut self, message_id: ClientMessageId) {
        if let Some(position) = self.running.iter().position(|operation| operation.message_id == Some(message_id))
            && let Some(operation) = self.running.get_mut(position)
        {
            operation.message_id = None;
            if !operation.runs_to_its_end {
                self.running.swap_remove(position).task.abort();
            }
        }
    }

    /// [`Operations::abandon`] for every one.
    pub(super) fn abandon_all(&mut self) {
        self.running.retain_mut(|operation| {
            operation.message_id = None;
            if !operation.runs_to_its_end {
                operation.task.abort();
            }
            operation.runs_to_its_end
        });
    }

    /// None run.
    pub(super) const fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The next word of any of them.
    pub(super) fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        let count = self.running.len();
        for step in 0..count {
            let position = (self.turn + step) % count;
            if let Some(heard) = self.hear(position, cx) {
                self.turn = position + 1;
                return Poll::Ready(heard);
            }
        }
        if self.running.is_empty() {
            // An idle connection keeps no memory for operations.
            self.running = Vec::new();
        }
        Poll::Pending
    }

    fn hear(&mut self, position: usize, cx: &mut Context<'_>) -> Option<Heard> {
        let operation = self.running.get_mut(position)?;
        loop {
            let Poll::Ready(said) = operation.said.poll_next(cx) else { return None };
            let is_last = !matches!(said, Some(Said::Part(..)));
            let message_id = operation.message_id;
            if is_last {
                self.running.swap_remove(position);
                return Some(match (said, message_id) {
                    (_, None) => Heard::SilentEnded,
                    (Some(last), Some(_)) => Heard::Said(last),
                    (None, Some(message_id)) => Heard::BrokeOff(message_id),
                });
            }
            if let (Some(part), Some(_)) = (said, message_id) {
                return Some(Heard::Said(part));
            }
        }
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        self.abandon_all();
    }
}
