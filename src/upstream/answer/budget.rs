//! How many operations may be tried a second time, pure.
//!
//! A retry is an operation more for a site that has just shown itself unwell. So retries are paid for: each operation that is asked saves up
//! a fifth of one, up to what may be under way at one server when it dies. All of these are saved by the others at once, and a site
//! where everything fails bears a fifth more than it was asked, and not twice as much.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Retries that have been saved up.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// In parts of a retry, as [`PARTS`] says.
    saved: AtomicUsize,
    most: usize,
}

impl RetryBudget {
    /// Full, for `retries` at once.
    pub(crate) const fn new(retries: usize) -> Self {
        Self { saved: AtomicUsize::new(retries * PARTS), most: retries * PARTS }
    }

    /// An operation is asked.
    pub(crate) fn earn(&self) {
        let more = |saved| (saved < self.most).then_some(saved + 1);
        // Full is no failure.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes one retry, if one has been saved.
    pub(crate) fn spend(&self) -> bool {
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved: usize| saved.checked_sub(PARTS)).is_ok()
    }
}

/// How long a retry waits, so that those who lost the same server do not arrive at the next one in one moment. `jitter` is from 0 to 1.
pub(crate) fn pause(jitter: f64) -> Duration {
    LONGEST_PAUSE.mul_f64(jitter.clamp(0.0, 1.0))
}

/// Operations that pay for one retry.
const PARTS: usize = 5;
/// Nobody at a phone notices it.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &RetryBudget, operations: usize) -> usize {
        (0..operations)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count()
    }

    #[test]
    fn all_that_one_server_loses_may_be_retried_at_once() {
        let budget = RetryBudget::new(512);
        assert_eq!((0..1_000).filter(|_| budget.spend()).count(), 512);
    }

    #[test]
    fn where_everything_fails_one_operation_in_five_is_retried() {
        let budget = RetryBudget::new(100);
        spent(&budget, 200);
        assert_eq!(spent(&budget, 10_000), 2_000);
    }

    #[test]
    fn what_is_saved_has_a_bound() {
        let budget = RetryBudget::new(10);
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!((0..1_000).filter(|_| budget.spend()).count(), 10);
    }

    #[test]
    fn a_pause_is_short_whatever_the_dice_say() {
        assert_eq!([pause(-1.0), pause(0.0), pause(1.0), pause(9.0)], [Duration::ZERO, Duration::ZERO, LONGEST_PAUSE, LONGEST_PAUSE]);
    }
}
