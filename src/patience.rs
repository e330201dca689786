//! Waiting until a deadline, without a timer for what is ready at once.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// `work`, unless it is not done by `deadline`: [`timeout_at`] for what mostly needs no waiting, as the next of many replies.
///
/// Cancel safe if `work` is.
///
/// # Errors
/// [`Elapsed`] after the deadline.
pub(crate) async fn by<F: Future>(deadline: Instant, work: F) -> Result<F::Output, Elapsed> {
    let mut work = pin!(work);
    match poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout_at(deadline, work).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn what_is_done_by_the_deadline_is_had_and_nothing_else() {
        let deadline = Instant::now() + Duration::from_secs(1);
        assert_eq!(by(deadline, async { 1 }).await, Ok(1));
        assert_eq!(by(deadline, sleep(Duration::from_millis(999))).await, Ok(()));
        assert!(by(deadline, sleep(Duration::from_secs(2))).await.is_err());
        assert_eq!(by(deadline, async { 2 }).await, Ok(2), "what is ready needs no time");
    }
}
