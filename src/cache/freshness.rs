//! Is a stored answer still good? Times in, judgement out; the clock and the dice are the caller's.
//!
//! ```text
//!  stored        refresh_at      fresh_until                     stale_until
//!    |--- Fresh ----|-- RefreshDue --|------------ Stale ------------|--- Expired
//! ```

use crate::config::Lifetimes;
use std::time::Duration;
use tokio::time::Instant;

/// How good a stored answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
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
pub(crate) struct Deadlines {
    refresh_at: Instant,
    fresh_until: Instant,
    stale_until: Instant,
}

impl Deadlines {
    /// For an answer that came at `now`. `jitter`, from 0 to 1, takes up to a tenth off the TTL, so that what was stored together does not
    /// expire together; no answer is fresh longer than configured. `None`: it is not to be stored.
    pub(crate) fn new(lifetimes: &Lifetimes, has_entries: bool, jitter: f64, now: Instant) -> Option<Self> {
        let configured = if has_entries { lifetimes.ttl } else { lifetimes.empty_ttl };
        if configured.is_zero() {
            return None;
        }
        let ttl = configured.min(LONGEST).mul_f64(1.0 - JITTER * jitter.clamp(0.0, 1.0));
        let fresh_until = now + ttl;
        let refresh_at = if lifetimes.refresh < 1.0 { now + ttl.mul_f64(lifetimes.refresh.max(0.0)) } else { fresh_until };
        Some(Self { refresh_at, fresh_until, stale_until: fresh_until + lifetimes.stale.min(LONGEST) })
    }

    /// How long from `now` on the answer is fresh, and how long it may be served at all; `None` when it may not.
    pub(crate) fn remaining(&self, now: Instant) -> Option<(Duration, Duration)> {
        let left = |until: Instant| until.saturating_duration_since(now);
        Some((left(self.fresh_until), left(self.stale_until))).filter(|(_, stale)| !stale.is_zero())
    }

    /// For an answer of which so much remains at `now`. It is not refreshed ahead of time.
    pub(crate) fn restored((fresh_for, stale_for): (Duration, Duration), now: Instant) -> Self {
        let fresh_until = now + fresh_for.min(LONGEST);
        Self { refresh_at: fresh_until, fresh_until, stale_until: now + stale_for.min(2 * LONGEST) }
    }

    /// How good the answer is at `now`.
    pub(crate) fn judge(&self, now: Instant) -> Freshness {
        if now < self.refresh_at {
            Freshness::Fresh
        } else if now < self.fresh_until {
            Freshness::RefreshDue
        } else if now < self.stale_until {
            Freshness::Stale
        } else {
            Freshness::Expired
        }
    }
}

/// How long after it came any answer with these lifetimes may still be served.
pub(crate) fn longest(lifetimes: &Lifetimes) -> Duration {
    lifetimes.ttl.max(lifetimes.empty_ttl).min(LONGEST) + lifetimes.stale.min(LONGEST)
}

/// The part of a TTL that jitter takes off at most.
const JITTER: f64 = 0.1;
/// Longer than any answer is kept, and short enough to be added to any clock.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes =
        Lifetimes { ttl: Duration::from_secs(300), empty_ttl: Duration::from_secs(30), stale: Duration::from_secs(86_400), refresh: 0.8 };

    fn judged_after(lifetimes: &Lifetimes, has_entries: bool, jitter: f64, seconds: u64) -> Freshness {
        let now = Instant::now();
        Deadlines::new(lifetimes, has_entries, jitter, now).unwrap().judge(now + Duration::from_secs(seconds))
    }

    #[test]
    fn an_answer_is_fresh_then_due_then_stale_then_expired() {
        assert_eq!(judged_after(&LIFETIMES, true, 0.0, 0), Freshness::Fresh);
        assert_eq!(judged_after(&LIFETIMES, true, 0.0, 239), Freshness::Fresh);
        assert_eq!(judged_after(&LIFETIMES, true, 0.0, 240), Freshness::RefreshDue);
        assert_eq!(judged_after(&LIFETIMES, true, 0.0, 299), Freshness::RefreshDue);
        assert_eq!(judged_after(&LIFETIMES, true, 0.0, 300), Freshness::Stale);
        assert_eq!(judged_after(&LIFETIMES, true, 0.0, 86_699), Freshness::Stale);
        assert_eq!(judged_after(&LIFETIMES, true, 0.0, 86_700), Freshness::Expired);
    }

    #[test]
    fn an_answer_without_entries_has_its_own_ttl() {
        assert_eq!(judged_after(&LIFETIMES, false, 0.0, 29), Freshness::RefreshDue);
        assert_eq!(judged_after(&LIFETIMES, false, 0.0, 30), Freshness::Stale);
    }

    #[test]
    fn jitter_takes_at_most_a_tenth_and_adds_nothing() {
        assert_eq!(judged_after(&LIFETIMES, true, 1.0, 269), Freshness::RefreshDue);
        assert_eq!(judged_after(&LIFETIMES, true, 1.0, 270), Freshness::Stale);
        assert_eq!(judged_after(&LIFETIMES, true, 7.0, 269), Freshness::RefreshDue);
        assert_eq!(judged_after(&LIFETIMES, true, -7.0, 300), Freshness::Stale);
    }

    #[test]
    fn refresh_one_never_asks_in_the_background() {
        let lifetimes = Lifetimes { refresh: 1.0, ..LIFETIMES };
        assert_eq!(judged_after(&lifetimes, true, 0.0, 299), Freshness::Fresh);
        assert_eq!(judged_after(&lifetimes, true, 0.0, 300), Freshness::Stale);
    }

    #[test]
    fn a_stale_time_of_zero_means_never_stale() {
        let lifetimes = Lifetimes { stale: Duration::ZERO, ..LIFETIMES };
        assert_eq!(judged_after(&lifetimes, true, 0.0, 300), Freshness::Expired);
    }

    #[test]
    fn a_ttl_of_zero_is_not_stored() {
        let now = Instant::now();
        assert_eq!(Deadlines::new(&Lifetimes { ttl: Duration::ZERO, ..LIFETIMES }, true, 0.5, now), None);
        assert_eq!(Deadlines::new(&Lifetimes { empty_ttl: Duration::ZERO, ..LIFETIMES }, false, 0.5, now), None);
    }

    #[test]
    fn nothing_outlives_the_longest_of_its_times() {
        assert_eq!(longest(&LIFETIMES), Duration::from_secs(86_700));
        assert_eq!(longest(&Lifetimes { ttl: Duration::ZERO, ..LIFETIMES }), Duration::from_secs(86_430));
    }

    #[test]
    fn absurd_lifetimes_overflow_nothing() {
        let lifetimes = Lifetimes { ttl: Duration::MAX, stale: Duration::MAX, ..LIFETIMES };
        assert_eq!(judged_after(&lifetimes, true, 0.0, 1_000_000), Freshness::Fresh);
        assert_eq!(longest(&lifetimes), 2 * LONGEST);
    }
}
