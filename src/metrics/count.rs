//! A number that one thread counts and all may read.
//!
//! What several threads add to takes a locked instruction each time, some fifteen times as long as a plain addition, and longer where they
//! do so at once. So what every operation touches is counted by each thread for itself, and put together when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module. The thread that counts is the one whose [`ThreadLocal`](thread_local::ThreadLocal) it is in.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// So many more.
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.read().wrapping_add(more), Ordering::Relaxed);
    }

    /// So many up to now.
    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
