//! Is a controller up? A small state machine, pure: clock and randomness are arguments.
//!
//! A server is asked while it is up, and before anybody has tried it, unless it joins others that are up. It is down after a connect or a probe
//! failed, after [`FAILURES_IN_A_ROW`] operations in a row did, or after half of the last ones did. While it is down only probes reach it,
//! further and further apart; the first that succeeds brings it back. For [`RECOVERY`] it is then on probation: its share of the work grows,
//! and one failed operation takes it down again, for longer than the last time, so that a server that flaps is left alone.
//!
//! A failure is as old as what was asked. What was asked before the server came back says nothing of it now; what was asked before it answered
//! another operation is not one of several in a row, nor does it count on probation, but among the last ones. So with a probe. A connection from
//! before it was down is not used again: whatever lay between may have forgotten it, and that says nothing of the server either.
//!
//! One whose operations break off, or that answers that it is busy or unavailable, is in doubt until the next probe: a last resort, since whoever asks
//! hears at once when it fails again, and may fare better. So is one that has answered others since what failed was asked. Nobody is made to wait for one
//! that does not answer at all.

use crate::directory::DirectoryError;
use crate::upstream::balance::Call;
use std::time::Duration;
use tokio::time::Instant;

/// What is known of one server's health.
#[derive(Debug)]
pub(crate) struct Health {
    state: State,
    /// Operations that failed since the last one that was answered.
    failures: u32,
    recent: Recent,
    /// How often in succession it was found down, or went down again on probation.
    setbacks: u32,
    /// It came back then.
    recovering_since: Option<Instant>,
    /// When it was last found not to answer.
    lost_at: Option<Instant>,
    /// When it last answered an operation.
    answered_at: Option<Instant>,
    /// The same, or a probe.
    last_answer: Option<Instant>,
    next_probe: Instant,
    interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untried,
    /// Untried, where others are at work already.
    Joining,
    Up,
    Down,
    /// Down, since operations broke off there; no probe has failed.
    InDoubt,
}

/// Operations of the last seconds.
#[derive(Debug, Clone, Copy)]
struct Recent {
    since: Instant,
    answered: u32,
    failed: u32,
}

/// How an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server cannot be reached, or it was silent for too long.
    NoAnswer,
    /// The connection was lost, the answer was nonsense, or the server says that it is busy or unavailable: whoever asks hears of it at once.
    BrokeOff,
}

impl From<&DirectoryError> for Failure {
    fn from(error: &DirectoryError) -> Self {
        if matches!(error, DirectoryError::TimedOut) { Self::NoAnswer } else { Self::BrokeOff }
    }
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
        let recent = Recent { since: now, answered: 0, failed: 0 };
        Self {
            state: State::Untried,
            failures: 0,
            recent,
            setbacks: 0,
            recovering_since: None,
            lost_at: None,
            answered_at: None,
            last_answer: None,
            next_probe: now,
            interval,
        }
    }

    /// The same beside others that are up: until it answers a probe it gets nothing to do, and then little at first.
    pub(crate) const fn joining(interval: Duration, now: Instant) -> Self {
        Self { state: State::Joining, ..Self::new(interval, now) }
    }

    /// May an operation be sent to it?
    pub(crate) const fn call(&self) -> Call {
        match self.state {
            State::Untried | State::Up => Call::Eligible,
            State::InDoubt => Call::LastResort,
            State::Joining | State::Down => Call::Out,
        }
    }

    /// The part of the choices that it takes part in, from 0 to 1: less than all of them after it came back.
    pub(crate) fn share(&self, now: Instant) -> f64 {
        let Some(since) = self.recovering_since else { return 1.0 };
        let recovered = now.saturating_duration_since(since).as_secs_f64() / RECOVERY.as_secs_f64();
        (FIRST_SHARE + (1.0 - FIRST_SHARE) * recovered).min(1.0)
    }

    /// It has answered, and not failed since.
    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// For an administrator.
    pub(crate) fn in_a_word(&self, now: Instant) -> &'static str {
        match self.state {
            State::Untried | State::Joining => "untried",
            State::Up if self.is_on_probation(now) => "recovering",
            State::Up => "up",
            State::InDoubt => "in doubt",
            State::Down => "down",
        }
    }

    /// It was down then, and is not any more.
    fn came_back_since(&self, then: Instant) -> bool {
        self.recovering_since.is_some_and(|since| since > then)
    }

    fn has_answered_since(&self, then: Instant) -> bool {
        self.answered_at.is_some_and(|answered_at| answered_at > then)
    }

    /// It did not answer meanwhile.
    pub(crate) fn was_lost_since(&self, then: Instant) -> bool {
        self.lost_at.is_some_and(|lost_at| lost_at > then)
    }

    /// When it is to be probed next.
    pub(crate) const fn next_probe(&self) -> Instant {
        self.next_probe
    }

    /// When it last answered an operation or a probe.
    pub(crate) const fn last_answer(&self) -> Option<Instant> {
        self.last_answer
    }

    /// An operation was answered. A server that is down stays so: what it answers now was asked before.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.failures = 0;
        self.answered_at = Some(now);
        self.last_answer = Some(now);
        self.recent.roll(now).answered += 1;
    }

    /// A connect with bind, or a probe, succeeded.
    pub(crate) fn probe_succeeded(&mut self, now: Instant) -> Option<Change> {
        self.next_probe = now + self.interval;
        self.last_answer = Some(now);
        if self.state == State::Up {
            return None;
        }
        // Before the first connect there was nothing to recover from.
        self.recovering_since = (self.state != State::Untried).then_some(now);
        self.failures = 0;
        self.recent = Recent { since: now, answered: 0, failed: 0 };
        self.state = State::Up;
        Some(Change::CameUp)
    }

    /// A connect or a probe that began then failed. `jitter` is a random number from 0 to 1.
    pub(crate) fn probe_failed(&mut self, asked_at: Instant, jitter: f64, now: Instant) -> Option<Change> {
        if self.state == State::Up && (self.has_answered_since(asked_at) || self.came_back_since(asked_at)) {
            self.next_probe = now + FIRST_PAUSE;
            return None;
        }
        self.goes_down(State::Down, jitter, now)
    }

    /// An operation that was sent then was not answered, or not as it should.
    pub(crate) fn operation_failed(&mut self, how: Failure, sent_at: Instant, jitter: f64, now: Instant) -> Option<Change> {
        if matches!(self.state, State::Down | State::InDoubt) || self.came_back_since(sent_at) {
            return None;
        }
        self.recent.roll(now).failed += 1;
        let is_of_now = !self.has_answered_since(sent_at);
        self.failures += u32::from(is_of_now);
        let is_too_much = self.failures >= FAILURES_IN_A_ROW || self.is_on_probation(now);
        if !(is_of_now && is_too_much || self.recent.is_an_outlier()) {
            return None;
        }
        let answers_others = !is_of_now;
        let state = if how == Failure::BrokeOff || answers_others { State::InDoubt } else { State::Down };
        self.goes_down(state, jitter, now)
    }

    fn goes_down(&mut self, state: State, jitter: f64, now: Instant) -> Option<Change> {
        if self.state == State::Up && !self.is_on_probation(now) {
            self.setbacks = 0;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.setbacks.min(16)).min(self.interval);
        self.setbacks = self.setbacks.saturating_add(1);
        self.failures = 0;
        self.recovering_since = None;
        if state == State::Down {
            self.lost_at = Some(now);
        }
        // Half of it at random: many proxies that lost the same controller do not come back in step.
        self.next_probe = now + pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        let before = std::mem::replace(&mut self.state, state);
        let was_down = matches!(before, State::Down | State::InDoubt);
        (!was_down).then_some(Change::WentDown)
    }

    fn is_on_probation(&self, now: Instant) -> bool {
        self.recovering_since.is_some_and(|since| now.saturating_duration_since(since) < RECOVERY)
    }
}

impl Recent {
    /// Begins anew when its time is over.
    fn roll(&mut self, now: Instant) -> &mut Self {
        if now.saturating_duration_since(self.since) >= RECENTLY {
            *self = Self { since: now, answered: 0, failed: 0 };
        }
        self
    }

    /// As many failed as were answered, and not by bad luck alone.
    const fn is_an_outlier(&self) -> bool {
        self.failed >= FAILURES_AMONG_OTHERS && self.failed >= self.answered
    }
}

/// One operation may fail by bad luck, two by a restart of a service; three in a row are the server.
const FAILURES_IN_A_ROW: u32 = 3;
/// So many are not bad luck where not even as many were answered.
const FAILURES_AMONG_OTHERS: u32 = 10;
/// The time over which these are counted.
const RECENTLY: Duration = Duration::from_secs(10);
/// Between the first failure and the next probe; doubled each time, up to the probe interval.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A server that came back has its whole share of the work after this: a controller that has just started reads its database from disk.
const RECOVERY: Duration = Duration::from_secs(30);
/// Its share at first.
const FIRST_SHARE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn health() -> (Health, Instant) {
        let now = Instant::now();
        (Health::new(INTERVAL, now), now)
    }

    /// One that is up, and never was down.
    fn up() -> (Health, Instant) {
        let (mut health, now) = health();
        assert_eq!(health.probe_succeeded(now), Some(Change::CameUp));
        (health, now)
    }

    fn fails(health: &mut Health, now: Instant) -> Option<Change> {
        health.operation_failed(Failure::NoAnswer, now, 0.0, now)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_server_that_nobody_tried_may_be_asked_but_is_not_up() {
        let (health, now) = health();
        assert_eq!(health.call(), Call::Eligible);
        assert!(!health.is_up());
        assert_eq!(health.next_probe(), now);
    }

    #[test]
    fn it_has_come_back_only_since_what_was_before_that() {
        let (mut health, now) = up();
        assert!(!health.came_back_since(now - seconds(1)), "it never was away");
        health.probe_failed(now + seconds(1), 0.0, now + seconds(1));
        assert!(!health.came_back_since(now), "it is away");
        health.probe_succeeded(now + seconds(3));
        assert!(health.came_back_since(now + seconds(2)) && !health.came_back_since(now + seconds(3)));
    }

    #[test]
    fn one_that_joins_others_is_probed_at_once_and_then_gets_a_growing_share() {
        let now = Instant::now();
        let mut health = Health::joining(INTERVAL, now);
        assert_eq!((health.call(), health.is_up(), health.next_probe()), (Call::Out, false, now));
        assert_eq!(health.probe_succeeded(now), Some(Change::CameUp));
        assert_eq!((health.call(), health.share(now)), (Call::Eligible, FIRST_SHARE));
        assert_eq!(Health::joining(INTERVAL, now).probe_failed(now, 0.0, now), Some(Change::WentDown), "an operator hears of it");
    }

    #[test]
    fn a_failed_probe_takes_it_down_and_a_good_one_brings_it_back() {
        let (mut health, now) = up();
        assert_eq!(health.probe_succeeded(now), None);
        assert_eq!(health.next_probe(), now + INTERVAL);
        assert_eq!(health.probe_failed(now, 0.0, now), Some(Change::WentDown));
        assert_eq!(health.probe_failed(now, 0.0, now), None);
        assert_eq!(health.call(), Call::Out);
        assert_eq!(health.probe_succeeded(now), Some(Change::CameUp));
        assert!(health.is_up());
    }

    #[test]
    fn three_failed_operations_in_a_row_take_it_down() {
        let (mut health, now) = up();
        assert_eq!(fails(&mut health, now), None);
        assert_eq!(fails(&mut health, now), None);
        health.answered(now);
        assert_eq!(fails(&mut health, now), None);
        assert_eq!(fails(&mut health, now), None);
        assert_eq!(fails(&mut health, now), Some(Change::WentDown));
        assert_eq!(fails(&mut health, now), None, "down already");
        health.answered(now);
        assert_eq!(health.call(), Call::Out, "a late answer does not bring it back");
    }

    #[test]
    fn one_that_fails_every_other_operation_is_taken_out() {
        let (mut health, now) = up();
        for _ in 0..9 {
            health.answered(now);
            assert_eq!(fails(&mut health, now), None);
        }
        health.answered(now);
        assert_eq!(fails(&mut health, now), Some(Change::WentDown));
    }

    #[test]
    fn one_that_fails_now_and_then_stays() {
        let (mut health, now) = up();
        for time in (0..200).step_by(2).map(seconds) {
            health.answered(now + time);
            assert_eq!(fails(&mut health, now + time), None, "five in ten seconds may be bad luck");
        }
        for _ in 0..100 {
            health.answered(now + seconds(200));
            health.answered(now + seconds(200));
            assert_eq!(fails(&mut health, now + seconds(200)), None, "a third of them");
        }
    }

    #[test]
    fn one_whose_operations_break_off_is_a_last_resort_until_a_probe_fails() {
        let (mut health, now) = up();
        for _ in 0..3 {
            health.operation_failed(Failure::BrokeOff, now, 0.0, now);
        }
        assert_eq!((health.call(), health.is_up()), (Call::LastResort, false));
        assert_eq!(health.probe_failed(now, 0.0, now), None, "down already");
        assert_eq!(health.call(), Call::Out, "nor does it answer now");
    }

    #[test]
    fn probes_of_a_dead_server_move_apart_up_to_the_interval() {
        let (mut health, now) = health();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            health.probe_failed(now, 1.0, now);
            pauses.push(health.next_probe() - now);
        }
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&INTERVAL));
    }

    #[test]
    fn jitter_halves_the_pause_at_most() {
        let (mut health, now) = health();
        health.probe_failed(now, 0.0, now);
        assert_eq!(health.next_probe() - now, FIRST_PAUSE / 2);
    }

    #[test]
    fn the_share_of_one_that_came_back_grows_until_it_has_recovered() {
        let (mut health, now) = up();
        assert_eq!(health.share(now), 1.0, "it did not come back, it came");
        health.probe_failed(now, 0.0, now);
        health.probe_succeeded(now);
        let shares: Vec<f64> = [0, 10, 20, 30, 100].iter().map(|after| health.share(now + seconds(*after))).collect();
        assert!(shares.iter().zip([0.1, 0.4, 0.7, 1.0, 1.0]).all(|(share, expected)| (share - expected).abs() < 1e-9), "{shares:?}");
    }

    #[test]
    fn on_probation_one_failure_takes_it_down_for_longer_than_the_last_time() {
        let (mut health, now) = up();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            health.probe_failed(now, 1.0, now);
            pauses.push(health.next_probe() - now);
            assert_eq!(health.probe_succeeded(now), Some(Change::CameUp));
            assert_eq!(health.operation_failed(Failure::NoAnswer, now, 1.0, now), Some(Change::WentDown));
            health.probe_succeeded(now);
        }
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 4, INTERVAL.min(FIRST_PAUSE * 16)]);
    }

    #[test]
    fn what_was_lost_before_it_answered_another_operation_does_not_take_it_down() {
        let (mut health, now) = up();
        health.answered(now + seconds(1));
        for late in 2..7 {
            assert_eq!(health.operation_failed(Failure::NoAnswer, now, 0.0, now + seconds(late)), None);
        }
        assert_eq!(fails(&mut health, now + seconds(9)), None, "the first in a row");
        for late in 9..15 {
            health.answered(now + seconds(late));
            health.operation_failed(Failure::NoAnswer, now, 0.0, now + seconds(late));
        }
        assert!(health.is_up(), "nor does half of them");
    }

    #[test]
    fn one_that_loses_most_is_taken_out_though_it_answers_some_meanwhile() {
        let (mut health, now) = up();
        health.answered(now + seconds(1));
        let lost = (0..FAILURES_AMONG_OTHERS).map(|_| health.operation_failed(Failure::NoAnswer, now, 0.0, now + seconds(1)));
        assert_eq!(lost.last(), Some(Some(Change::WentDown)));
        assert_eq!(health.call(), Call::LastResort, "it answers some");
    }

    #[test]
    fn on_probation_what_was_lost_before_an_answer_does_not_count_and_an_answered_probe_excuses_nothing() {
        let (mut health, now) = up();
        health.probe_failed(now, 0.0, now);
        health.probe_succeeded(now + seconds(1));
        health.answered(now + seconds(3));
        assert_eq!(health.operation_failed(Failure::NoAnswer, now + seconds(2), 0.0, now + seconds(4)), None);
        health.probe_succeeded(now + seconds(6));
        let lost = health.operation_failed(Failure::NoAnswer, now + seconds(5), 0.0, now + seconds(7));
        assert_eq!(lost, Some(Change::WentDown), "it answers probes only");
    }

    #[test]
    fn what_was_asked_before_it_came_back_says_nothing_of_it_now() {
        let (mut health, now) = up();
        health.probe_failed(now, 0.0, now);
        health.probe_succeeded(now + seconds(2));
        for _ in 0..20 {
            assert_eq!(health.operation_failed(Failure::BrokeOff, now + seconds(1), 0.0, now + seconds(3)), None);
        }
        assert_eq!(health.probe_failed(now + seconds(1), 0.0, now + seconds(3)), None);
        assert!(health.is_up());
    }

    #[test]
    fn it_was_lost_when_it_did_not_answer_and_not_when_it_broke_off() {
        let (mut health, now) = up();
        (0..3).for_each(|_| assert!(health.operation_failed(Failure::BrokeOff, now, 0.0, now + seconds(1)).is_none() || !health.is_up()));
        assert!(!health.was_lost_since(now), "what stands there is as good as before");
        health.probe_failed(now + seconds(1), 0.0, now + seconds(2));
        health.probe_succeeded(now + seconds(3));
        assert!(health.was_lost_since(now + seconds(1)) && !health.was_lost_since(now + seconds(2)));
    }

    #[test]
    fn a_probe_that_is_lost_while_operations_are_answered_is_repeated_soon() {
        let (mut health, now) = up();
        health.answered(now + seconds(1));
        assert_eq!(health.probe_failed(now, 0.0, now + seconds(2)), None);
        assert_eq!(health.next_probe(), now + seconds(2) + FIRST_PAUSE);
        assert_eq!(health.probe_failed(health.next_probe(), 0.0, now + seconds(3)), Some(Change::WentDown));
    }

    #[test]
    fn one_that_has_recovered_is_judged_as_before() {
        let (mut health, now) = up();
        (0..10).for_each(|_| assert_ne!(health.probe_failed(now, 1.0, now), Some(Change::CameUp)));
        health.probe_succeeded(now);
        let later = now + RECOVERY;
        assert_eq!(fails(&mut health, later), None);
        health.probe_failed(later, 1.0, later);
        assert_eq!(health.next_probe() - later, FIRST_PAUSE);
    }
}
