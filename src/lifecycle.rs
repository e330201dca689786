//! The program's end as a value: everything that runs holds a [`Lifecycle`] and learns from it that the end has begun.
//!
//! SIGTERM begins the drain: listeners stop accepting, idle sessions are told by a Notice of Disconnection, operations in flight
//! finish until the drain deadline.

use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Told to every task that must end.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    begins: Begins,
    /// Counted by [`Ending`] as long as it is held.
    _held: watch::Receiver<()>,
}

/// The one who begins the end. Dropped, it begins it as well.
#[derive(Debug)]
pub struct Ending {
    begins: Begins,
    held: watch::Sender<()>,
}

/// Nobody ever gets a permit: it is closed when the end begins. Those who wait for that learn it in the order in which they came, so that a
/// simulated end can be played again.
type Begins = Arc<Semaphore>;

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
    let ending = Ending { begins: Arc::new(Semaphore::new(0)), held: watch::Sender::new(()) };
    let lifecycle = ending.lifecycle();
    (ending, lifecycle)
}

impl Ending {
    /// Begins the drain.
    pub fn begin(&self) {
        self.begins.close();
    }

    /// For one more who must end.
    pub fn lifecycle(&self) -> Lifecycle {
        Lifecycle { begins: Arc::clone(&self.begins), _held: self.held.subscribe() }
    }

    /// The drain has begun.
    pub fn has_begun(&self) -> bool {
        self.begins.is_closed()
    }

    /// Resolves when every [`Lifecycle`] has been dropped: nothing runs any more.
    pub async fn all_gone(&self) {
        self.held.closed().await;
    }

    /// Every [`Lifecycle`] has been dropped.
    pub fn is_over(&self) -> bool {
        self.held.is_closed()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.begin();
    }
}

impl Lifecycle {
    /// The drain has begun.
    pub fn is_ending(&self) -> bool {
        self.begins.is_closed()
    }

    /// Resolves when the drain begins. Cancel safe.
    pub async fn ending(&self) {
        // There is no permit to get: an error, which means that it is closed, is all that can come.
        let _ = self.begins.acquire().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn everybody_learns_of_the_end_and_the_last_to_leave_is_noticed() {
        let (ending, first) = lifecycle();
        let second = first.clone();
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
        let (ending, running) = lifecycle();
        drop(ending);
        running.ending().await;
    }

    #[tokio::test]
    async fn what_ends_with_its_user_ends_then() {
        let (ending, running) = lifecycle();
        let user = EndOnDrop(Arc::new(ending));
        assert!(!running.is_ending());
        drop(user);
        running.ending().await;
    }
}
