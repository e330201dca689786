//! When DNS is asked again, pure: clock and randomness are arguments.
//!
//! When the last answer's time is over, within bounds; sooner while no controller answers, since others may be named by now; and after a
//! failure, further and further apart. Never at once, and never in step with others.

use std::time::Duration;
use tokio::time::Instant;

/// When DNS is to be asked again.
#[derive(Debug, Clone)]
pub(crate) struct Renewal {
    failures: u32,
    /// Then in any case.
    next: Instant,
    /// Then where no controller answers.
    soonest: Instant,
}

impl Renewal {
    /// At once.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { failures: 0, next: now, soonest: now }
    }

    /// There was an answer that is good for `ttl`. `jitter` is a random number from 0 to 1.
    pub(crate) fn succeeded(&mut self, ttl: Duration, jitter: f64, now: Instant) {
        self.failures = 0;
        self.next = now + ttl.clamp(SHORTEST, LONGEST).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0);
        self.soonest = now + ALL_AWAY.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    }

    /// There was none, or none that can be used.
    pub(crate) fn failed(&mut self, jitter: f64, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(SHORTEST);
        self.failures = self.failures.saturating_add(1);
        self.next = now + pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.soonest = self.next;
    }

    /// When it is due; `all_away`: there are controllers, and none of them answers.
    pub(crate) fn due(&self, all_away: bool) -> Instant {
        if all_away { self.next.min(self.soonest) } else { self.next }
    }
}

/// An answer that is good for less is kept so long: an absurd TTL must not become a load.
const SHORTEST: Duration = Duration::from_secs(30);
/// One that is good for longer is looked at again after this.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// While all controllers are away, as long as a phone waits.
const ALL_AWAY: Duration = Duration::from_secs(5);
/// After the first failure; doubled each time, up to [`SHORTEST`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn dns_is_asked_when_its_answers_time_is_over_but_not_too_often_nor_too_seldom() {
        let now = Instant::now();
        let mut renewal = Renewal::new(now);
        assert_eq!(renewal.due(false), now);
        for (ttl, after) in [(0, 30), (600, 600), (u64::from(u32::MAX), 3600)] {
            renewal.succeeded(seconds(ttl), 0.0, now);
            assert_eq!(renewal.due(false) - now, seconds(after));
            renewal.succeeded(seconds(ttl), 1.0, now);
            assert_eq!(renewal.due(false) - now, seconds(after).mul_f64(1.1));
        }
    }

    #[test]
    fn while_all_controllers_are_away_dns_is_asked_every_few_seconds() {
        let now = Instant::now();
        let mut renewal = Renewal::new(now);
        renewal.succeeded(seconds(600), 1.0, now);
        assert_eq!(renewal.due(true) - now, seconds(5));
        renewal.succeeded(seconds(600), 0.0, now);
        assert_eq!(renewal.due(true) - now, seconds(5) / 2);
    }

    #[test]
    fn failures_move_the_next_try_away_up_to_half_a_minute_and_a_success_forgets_them() {
        let now = Instant::now();
        let mut renewal = Renewal::new(now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            renewal.failed(1.0, now);
            assert_eq!(renewal.due(true), renewal.due(false));
            pauses.push((renewal.due(false) - now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        renewal.succeeded(seconds(60), 0.0, now);
        renewal.failed(0.0, now);
        assert_eq!(renewal.due(false) - now, FIRST_PAUSE / 2);
    }
}
