//! How long an operation may take.

use super::tally::{Mishap, Trouble};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// One timer for all operations of a phone, all of them in one task. It is set when it rings, and not for each of them: hardly any takes so
/// long.
pub(super) struct Patience {
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// It will wake the task.
    is_set: bool,
}

impl Patience {
    /// So long for each operation.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, timer: Box::pin(sleep_until(Instant::now() + limit)), is_set: false }
    }

    /// Ends an operation that began then and takes too long. A connection on which something was cut off must not be used again.
    pub(super) async fn within<T>(&mut self, begun: Instant, work: impl Future<Output = Result<T, Mishap>>) -> Result<T, Mishap> {
        let deadline = begun + self.limit;
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            // It was set for an operation before this one, so it rings in time.
            if self.is_set && !self.timer.is_elapsed() {
                return Poll::Pending;
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= deadline {
                    return Poll::Ready(Err(too_long(self.limit)));
                }
                self.timer.as_mut().reset(deadline);
            }
            // A task without a budget is woken again, and sets it then.
            self.is_set = has_budget_remaining();
            Poll::Pending
        })
        .await
    }
}

/// The same for what is done once.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Mishap>>) -> Result<T, Mishap> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(too_long(limit)),
    }
}

fn too_long(limit: Duration) -> Mishap {
    Mishap::new(Trouble::Timeout, format_args!("not answered within {limit:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn each_operation_has_the_whole_time() {
        let mut patience = Patience::new(Duration::from_secs(10));
        for _ in 0..5 {
            let begun = Instant::now();
            let work = async {
                sleep(Duration::from_secs(9)).await;
                Ok(())
            };
            assert_eq!(patience.within(begun, work).await, Ok(()));
        }
        let begun = Instant::now();
        let late = patience.within(begun, pending::<Result<(), Mishap>>()).await.unwrap_err();
        assert_eq!(late.trouble, Trouble::Timeout);
        assert_eq!(begun.elapsed().as_secs(), 10);
    }
}
