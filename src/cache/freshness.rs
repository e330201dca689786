//! Is a stored answer still good? Times in, judgement out; the clock and the dice are the caller's.

use crate::config::Lifetimes;
use std::time::Duration;
use tokio::time::Instant;

/// How good a stored answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// To be served.
    Fresh,
    /// To be served, and asked again in the background.
    RefreshDue,
    /// To be served only while the directory fails or dawdles.
    Stale,
    /// Not to be served.
    Expired,
}

/// Until when an answer is what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    refresh_at: Instant,
    fresh_until: Instant,
    stale_until: Instant,
}

impl Deadlines {
    /// For an answer that came at `now`. `jitter`, from 0 to 1, takes up to a tenth off the TTL, so that what was stored together does not
    /// expire together; no answer is fresh longer than configured. `None`: it is not to be stored.
    pub fn new(lifetimes: &Lifetimes, has_entries: bool, jitter: f64, now: Instant) -> Option<Self> {
        todo!()
    }

    /// How good the answer is at `now`.
    pub fn judge(&self, now: Instant) -> Freshness {
        todo!()
    }

    /// From `now` until it may never be served again.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.stale_until.saturating_duration_since(now)
    }
}
