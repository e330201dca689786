//! Is a controller up? A small state machine, pure: clock and randomness are arguments.
//!
//! A server is asked while it is up, and before anybody has tried it. It is down after a connect or a probe failed, or after
//! [`FAILURES_IN_A_ROW`] operations in a row did. While it is down only probes reach it, further and further apart; the first that succeeds
//! brings it back.

use std::time::Duration;
use tokio::time::Instant;

/// What is known of one server's health.
#[derive(Debug)]
pub(crate) struct Health {
    state: State,
    /// Operations that failed since the last one that was answered.
    failures: u32,
    /// Probes that failed since the server was last up.
    failed_probes: u32,
    next_probe: Instant,
    interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untried,
    Up,
    Down,
}

/// Something that operators want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is up now.
    CameUp,
    /// It is down now.
    WentDown,
}

impl Health {
    /// Nobody has tried it; it is probed at once, and every `interval` while all is well.
    pub(crate) const fn new(interval: Duration, now: Instant) -> Self {
        Self { state: State::Untried, failures: 0, failed_probes: 0, next_probe: now, interval }
    }

    /// An operation may be sent to it.
    pub(crate) fn may_be_asked(&self) -> bool {
        self.state != State::Down
    }

    /// It has answered, and not failed since.
    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// When it is to be probed next.
    pub(crate) const fn next_probe(&self) -> Instant {
        self.next_probe
    }

    /// An operation was answered. A server that is down stays so: what it answers now was asked before.
    pub(crate) const fn answered(&mut self) {
        self.failures = 0;
    }

    /// A connect with bind, or a probe, succeeded.
    pub(crate) fn probe_succeeded(&mut self, now: Instant) -> Option<Change> {
        self.failures = 0;
        self.failed_probes = 0;
        self.next_probe = now + self.interval;
        self.enter(State::Up, Change::CameUp)
    }

    /// A connect or a probe failed. `jitter` is a random number from 0 to 1.
    pub(crate) fn probe_failed(&mut self, jitter: f64, now: Instant) -> Option<Change> {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failed_probes.min(16)).min(self.interval);
        self.failed_probes = self.failed_probes.saturating_add(1);
        self.failures = 0;
        // Half of it at random: many proxies that lost the same controller do not come back in step.
        self.next_probe = now + pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.enter(State::Down, Change::WentDown)
    }

    /// An operation was lost, timed out, or was answered with busy or unavailable.
    pub(crate) fn operation_failed(&mut self, jitter: f64, now: Instant) -> Option<Change> {
        if self.state == State::Down {
            return None;
        }
        self.failures += 1;
        if self.failures < FAILURES_IN_A_ROW { None } else { self.probe_failed(jitter, now) }
    }

    fn enter(&mut self, state: State, change: Change) -> Option<Change> {
        let before = std::mem::replace(&mut self.state, state);
        (before != state).then_some(change)
    }
}

/// One operation may fail by bad luck, two by a restart of a service; three in a row are the server.
const FAILURES_IN_A_ROW: u32 = 3;

/// Between the first failure and the next probe; doubled each time, up to the probe interval.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn health() -> (Health, Instant) {
        let now = Instant::now();
        (Health::new(INTERVAL, now), now)
    }

    #[test]
    fn a_server_that_nobody_tried_may_be_asked_but_is_not_up() {
        let (health, now) = health();
        assert!(health.may_be_asked());
        assert!(!health.is_up());
        assert_eq!(health.next_probe(), now);
    }

    #[test]
    fn a_failed_probe_takes_it_down_and_a_good_one_brings_it_back() {
        let (mut health, now) = health();
        assert_eq!(health.probe_succeeded(now), Some(Change::CameUp));
        assert_eq!(health.probe_succeeded(now), None);
        assert_eq!(health.next_probe(), now + INTERVAL);
        assert_eq!(health.probe_failed(0.0, now), Some(Change::WentDown));
        assert_eq!(health.probe_failed(0.0, now), None);
        assert!(!health.may_be_asked());
        assert_eq!(health.probe_succeeded(now), Some(Change::CameUp));
        assert!(health.is_up());
    }

    #[test]
    fn three_failed_operations_in_a_row_take_it_down() {
        let (mut health, now) = health();
        health.probe_succeeded(now);
        assert_eq!(health.operation_failed(0.0, now), None);
        assert_eq!(health.operation_failed(0.0, now), None);
        health.answered();
        assert_eq!(health.operation_failed(0.0, now), None);
        assert_eq!(health.operation_failed(0.0, now), None);
        assert_eq!(health.operation_failed(0.0, now), Some(Change::WentDown));
        assert_eq!(health.operation_failed(0.0, now), None, "down already");
        health.answered();
        assert!(!health.may_be_asked(), "a late answer does not bring it back");
    }

    #[test]
    fn probes_of_a_dead_server_move_apart_up_to_the_interval() {
        let (mut health, now) = health();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            health.probe_failed(1.0, now);
            pauses.push(health.next_probe() - now);
        }
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&INTERVAL));
    }

    #[test]
    fn jitter_halves_the_pause_at_most() {
        let (mut health, now) = health();
        health.probe_failed(0.0, now);
        assert_eq!(health.next_probe() - now, FIRST_PAUSE / 2);
    }
}
