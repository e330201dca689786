//! The program's end as a value: everything that runs holds a [`Lifecycle`] and learns from it that the end has begun.
//!
//! SIGTERM begins the drain: listeners stop accepting, idle sessions are told by a Notice of Disconnection, operations in flight
//! finish until the drain deadline.

use std::sync::Arc;
use tokio::sync::watch;

/// Told to every task that must end.
#[derive(Debug, Clone)]
pub struct Lifecycle(watch::Receiver<bool>);

/// The one who begins the end.
#[derive(Debug)]
pub struct Ending(watch::Sender<bool>);

/// Begins the end when it is dropped: for what ends with its last user.
#[derive(Debug)]
pub struct EndOnDrop(pub Arc<Ending>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// A pair of both.
pub fn lifecycle() -> (Ending, Lifecycle) {
    let (sender, receiver) = watch::channel(false);
    (Ending(sender), Lifecycle(receiver))
}

impl Ending {
    /// Begins the drain.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// For one more who must end.
    pub fn lifecycle(&self) -> Lifecycle {
        Lifecycle(self.0.subscribe())
    }

    /// The drain has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when every [`Lifecycle`] has been dropped: nothing runs any more.
    pub async fn all_gone(&self) {
        self.0.closed().await;
    }

    /// Every [`Lifecycle`] has been dropped.
    pub fn is_over(&self) -> bool {
        self.0.is_closed()
    }
}

impl Lifecycle {
    /// The drain has begun.
    pub fn is_ending(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when the drain begins. Cancel safe.
    pub async fn ending(&mut self) {
        // An error means that the other half is gone, which is an end as well.
        let _ = self.0.wait_for(|ending| *ending).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn everybody_learns_of_the_end_and_the_last_to_leave_is_noticed() {
        let (ending, mut first) = lifecycle();
        let mut second = first.clone();
        assert!(!first.is_ending() && !ending.has_begun());
        ending.begin();
        first.ending().await;
        second.ending().await;
        assert!(first.is_ending() && ending.has_begun());
        assert!(!ending.is_over());
        drop((first, second));
        ending.all_gone().await;
        assert!(ending.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_gone_while_one_still_runs() {
        let (ending, still_here) = lifecycle();
        ending.begin();
        assert!(timeout(Duration::from_secs(60), ending.all_gone()).await.is_err());
        drop(still_here);
    }

    #[tokio::test]
    async fn losing_the_one_who_ends_is_an_end() {
        let (ending, mut running) = lifecycle();
        drop(ending);
        running.ending().await;
    }

    #[tokio::test]
    async fn what_ends_with_its_user_ends_then() {
        let (ending, mut running) = lifecycle();
        let user = EndOnDrop(Arc::new(ending));
        assert!(!running.is_ending());
        drop(user);
        running.ending().await;
    }
}
