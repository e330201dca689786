//! Where answers are kept: weighed by octets, found by their whole key, outdated by generation.

use super::answer::Answer;
use crate::config::Lifetimes;
use std::sync::Arc;
use tokio::time::Instant;

/// What the cache knows under a key.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// Serve it.
    Fresh(Arc<Answer>),
    /// Serve it, and ask again in the background; said to one asker every few seconds.
    RefreshDue(Arc<Answer>),
    /// Ask; serve this only if the directory fails or dawdles.
    Stale(Arc<Answer>),
    /// Ask.
    Miss,
}

/// A point in a directory's history of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

/// The answers that are kept.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Holds up to `capacity` octets of answers from that many directories.
    pub fn new(capacity: u64, directories: usize) -> Self {
        Self {}
    }

    /// What is known under `key`.
    pub fn look_up(&self, key: &[u8], now: Instant) -> Lookup {
        todo!()
    }

    /// Where the history of a directory (`None`: of all) stands; taken before a request leaves.
    pub fn generation(&self, directory: Option<usize>) -> Generation {
        todo!()
    }

    /// Keeps an answer that was asked for at `generation`, unless a write overtook it, it is too large, or its lifetime is zero.
    /// `jitter` is from 0 to 1. Says whether it was kept.
    pub fn insert(
        &self,
        key: &[u8],
        answer: &Arc<Answer>,
        directory: Option<usize>,
        generation: Generation,
        lifetimes: &Lifetimes,
        jitter: f64,
        now: Instant,
    ) -> bool {
        todo!()
    }

    /// Nothing that was asked of that directory before now is served again.
    pub fn invalidate_directory(&self, directory: usize) {
        todo!()
    }

    /// The most octets of one answer that is kept: a hundredth of the capacity.
    pub fn keep_limit(&self) -> usize {
        todo!()
    }

    /// Answers and octets held, approximately: what expired or was outdated counts until it is swept.
    pub fn holds(&self) -> (u64, u64) {
        todo!()
    }
}
