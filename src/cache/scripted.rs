//! A directory that says what a test tells it to, for the tests of this room.

use super::fill::Fill;
use crate::directory::{Asked, Directory, DirectoryError, Done, Operation, Replies, Reply, RunAs};
use crate::ldap::envelope::op;
use crate::ldap::message::ResultCode;
use crate::ldap::response::{write_entry_op, write_result_op};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// What happens next in an answer.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Entry(&'static str),
    Wait(u64),
    Done(ResultCode),
    Fail(DirectoryError),
    /// What came is void.
    Again,
    /// The stream ends.
    BreakOff,
}

/// Answers each search with the next script, and counts.
#[derive(Debug, Default)]
pub(super) struct Scripted {
    scripts: Mutex<VecDeque<Vec<Step>>>,
    asked: AtomicUsize,
    abandoned: Arc<AtomicUsize>,
}

impl Scripted {
    pub(super) fn new(scripts: impl IntoIterator<Item = Vec<Step>>) -> Arc<Self> {
        Arc::new(Self { scripts: Mutex::new(scripts.into_iter().collect()), ..Self::default() })
    }

    /// Searches that arrived.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Searches whose replies nobody wanted any more.
    pub(super) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// A fill of `searches` searches here, each with ten seconds.
    pub(super) fn fill(self: &Arc<Self>, searches: usize, entries_wanted: Option<u32>) -> Fill {
        let directory: Arc<dyn Directory> = Arc::clone(self) as Arc<dyn Directory>;
        Fill::new((0..searches).map(|_| (Arc::clone(&directory), operation())).collect(), entries_wanted)
    }
}

impl Directory for Scripted {
    fn run(&self, _: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let script = self.scripts.lock().unwrap().pop_front().unwrap_or_else(|| vec![Step::Fail(DirectoryError::Unavailable)]);
        let (sender, replies) = mpsc::channel(1);
        let abandoned = Arc::clone(&self.abandoned);
        tokio::spawn(async move {
            for step in script {
                let reply = match step {
                    Step::Entry(name) => Ok(Reply::Entry(entry_op(name))),
                    Step::Done(code) => Ok(Reply::Done(done(code))),
                    Step::Fail(error) => Err(error),
                    Step::Again => Ok(Reply::Again),
                    Step::BreakOff => return,
                    Step::Wait(seconds) => {
                        sleep(Duration::from_secs(seconds)).await;
                        continue;
                    }
                };
                if sender.send(reply).await.is_err() {
                    abandoned.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        });
        Box::pin(async { Ok(Replies::Arriving(replies)) })
    }

    fn is_available(&self) -> bool {
        true
    }
}

pub(super) fn entry_op(name: &str) -> Bytes {
    let mut octets = Vec::new();
    write_entry_op(&mut octets, name, [("cn", [name.as_bytes()])]);
    octets.into()
}

fn done(code: ResultCode) -> Done {
    let mut octets = Vec::new();
    write_result_op(&mut octets, op::SEARCH_RESULT_DONE, code, "", "");
    Done { code, op: octets.into(), controls: None }
}

fn operation() -> Operation {
    Operation {
        run_as: RunAs::Service,
        request: Asked::Search { op: Bytes::new(), entries_wanted: None },
        controls: None,
        deadline: Instant::now() + Duration::from_secs(10),
    }
}
