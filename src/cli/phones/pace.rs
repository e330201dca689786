//! When the next operation is due: as soon as the last is answered (closed loop), or at a fixed rate whatever the server does (open loop).
//!
//! In the open loop latency counts from when an operation was due, so a server that stalls is charged for everybody who then waits. The bell is
//! rung by a thread of its own, since the runtime's timer is only good to a millisecond.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Shared by all phones.
#[derive(Debug)]
pub(super) struct Pace {
    begun: Instant,
    taken: AtomicU64,
    /// How many in all.
    count: Option<u64>,
    /// When no more begin.
    end: Option<Instant>,
    rate: Option<Rate>,
    over: AtomicBool,
}

#[derive(Debug)]
struct Rate {
    /// Operations a second.
    per_second: f64,
    /// So many are due at the same moment.
    burst: u64,
    /// Due, and not taken by a phone yet.
    due: Semaphore,
}

/// The right to begin one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// Counted over all phones, from 0.
    pub(super) number: u64,
    /// When it should begin.
    pub(super) due: Instant,
    /// When it does.
    pub(super) begun: Instant,
}

impl Pace {
    /// Begins now. `rate` is operations a second and how many of them are due together.
    pub(super) fn begin(count: Option<u64>, duration: Option<Duration>, rate: Option<(f64, u64)>) -> Self {
        let begun = Instant::now();
        let rate = rate.map(|(per_second, burst)| Rate { per_second, burst: burst.max(1), due: Semaphore::new(0) });
        let end = duration.map(|duration| begun + duration);
        Self { begun, taken: AtomicU64::new(0), count, end, rate, over: AtomicBool::new(false) }
    }

    /// The next operation, as soon as it is due; `None` when there are no more. Cancel safe, but for a ticket that nobody uses.
    pub(super) async fn next(&self) -> Option<Ticket> {
        if let Some(rate) = &self.rate {
            rate.due.acquire().await.ok()?.forget();
        }
        let begun = Instant::now();
        if self.is_over(begun) {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if let Some(count) = self.count.filter(|count| number + 1 >= *count) {
            self.stop();
            if number >= count {
                return None;
            }
        }
        let due = self.rate.as_ref().map_or(begun, |rate| self.begun + rate.offset(number));
        Some(Ticket { number, due, begun })
    }

    /// No operation begins any more.
    pub(super) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(rate) = &self.rate {
            rate.due.close();
        }
    }

    /// Operations that were due and for which no phone had time.
    pub(super) fn unsent(&self) -> u64 {
        let Some(rate) = &self.rate else { return 0 };
        let elapsed = self.end.map_or_else(|| self.begun.elapsed(), |end| end.min(Instant::now()).duration_since(self.begun));
        // What would be due at the end itself is not.
        let due = rate.due_after(elapsed.saturating_sub(Duration::from_nanos(1))).min(self.count.unwrap_or(u64::MAX));
        due.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Rings the bell until the end; blocks, and returns at once in the closed loop.
    pub(super) fn ring(&self) {
        let Some(rate) = &self.rate else { return };
        let mut rung = 0;
        while !self.is_over(Instant::now()) {
            let due = rate.due_after(self.begun.elapsed());
            let new = usize::try_from(due - rung).unwrap_or_default().min(MOST_AT_ONCE);
            if new > 0 && rate.due.available_permits() < MOST_WAITING {
                rate.due.add_permits(new);
                rung += new as u64;
            }
            let next = rate.offset(rung).saturating_sub(self.begun.elapsed());
            thread::sleep(next.clamp(SHORTEST_NAP, LONGEST_NAP));
        }
        rate.due.close();
    }

    fn is_over(&self, now: Instant) -> bool {
        self.over.load(Ordering::Relaxed) || self.end.is_some_and(|end| now >= end)
    }
}

impl Rate {
    /// When the operation with that number is due, from the beginning.
    fn offset(&self, number: u64) -> Duration {
        let first_of_burst = number / self.burst * self.burst;
        Duration::try_from_secs_f64(first_of_burst as f64 / self.per_second).unwrap_or(Duration::MAX / 4)
    }

    /// How many are due after so long.
    fn due_after(&self, elapsed: Duration) -> u64 {
        let bursts = elapsed.as_secs_f64() * self.per_second / self.burst as f64;
        // Truncation is meant.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is never negative")]
        let begun = bursts as u64 + 1;
        begun.saturating_mul(self.burst)
    }
}

/// Between two looks at the clock; a higher rate rings for several at once.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
/// So that the end is noticed.
const LONGEST_NAP: Duration = Duration::from_millis(50);
/// Far below what a semaphore holds.
const MOST_AT_ONCE: usize = 1 << 20;
const MOST_WAITING: usize = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_count_ends_the_closed_loop() {
        let pace = Pace::begin(Some(2), None, None);
        assert_eq!(pace.next().await.unwrap().number, 0);
        assert_eq!(pace.next().await.unwrap().number, 1);
        assert!(pace.next().await.is_none());
        assert_eq!(pace.unsent(), 0);
    }

    #[tokio::test]
    async fn time_ends_the_closed_loop() {
        assert!(Pace::begin(None, Some(Duration::ZERO), None).next().await.is_none());
        let pace = Pace::begin(None, None, None);
        pace.stop();
        assert!(pace.next().await.is_none());
    }

    #[test]
    fn a_burst_is_due_at_one_moment() {
        let rate = Rate { per_second: 100.0, burst: 10, due: Semaphore::new(0) };
        assert_eq!(rate.offset(9), Duration::ZERO);
        assert_eq!(rate.offset(10), Duration::from_millis(100));
        assert_eq!(rate.offset(25), Duration::from_millis(200));
        assert_eq!(rate.due_after(Duration::ZERO), 10);
        assert_eq!(rate.due_after(Duration::from_millis(250)), 30);
    }

    #[tokio::test]
    async fn what_nobody_had_time_for_is_counted() {
        let pace = Pace::begin(Some(5), None, Some((1.0, 5)));
        assert_eq!(pace.unsent(), 5);
        if let Some(rate) = &pace.rate {
            rate.due.add_permits(1);
        }
        let ticket = pace.next().await.unwrap();
        assert_eq!((ticket.number, ticket.due, pace.unsent()), (0, pace.begun, 4));
        let over = Pace { begun: Instant::now() - Duration::from_secs(9), ..Pace::begin(None, None, Some((100.0, 50))) };
        let over = Pace { end: Some(over.begun + Duration::from_secs(2)), ..over };
        assert_eq!(over.unsent(), 200, "not the burst that would be due as it ends");
    }
}
