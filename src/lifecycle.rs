//! The program's end as a value: everything that runs holds a [`Lifecycle`] and learns from it that the end has begun.
//!
//! SIGTERM begins the drain: listeners stop accepting, idle sessions are told by a Notice of Disconnection, operations in flight
//! finish until the drain deadline.

use tokio::sync::watch;

/// Told to every task that must end.
#[derive(Debug, Clone)]
pub struct Lifecycle(watch::Receiver<bool>);

/// The one who begins the end.
#[derive(Debug)]
pub struct Ending(watch::Sender<bool>);

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

    /// Resolves when every [`Lifecycle`] has been dropped: nothing runs any more.
    pub async fn all_gone(&self) {
        self.0.closed().await;
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
