//! Controllers as an administrator sees them, and what is done to them by hand.

use std::time::Duration;
use thiserror::Error;

/// One controller of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Its URL, as configured.
    pub server: String,
    /// In one word: is it up?
    pub state: &'static str,
    /// An administrator has taken it out of rotation.
    pub is_out: bool,
    /// Operations that it has not answered yet.
    pub in_flight: usize,
    /// Connections that stand.
    pub connections: usize,
    /// How long it takes for an answer, the last ones counting most; `None`: it has given none.
    pub latency: Option<Duration>,
    /// Since it last answered anything.
    pub silent_for: Option<Duration>,
}

/// Where a controller is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// It is asked when it is its turn.
    In,
    /// Nothing more is asked of it, as long as another can be asked.
    Out,
    /// Nothing more is asked of it, and be it the last one.
    OutAtAnyRate,
}

/// Why a controller stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotMoved {
    /// The directory has no such controller.
    #[error("the directory has no controller with this URL")]
    Unknown,
    /// Nobody would be left.
    #[error("no other controller of the directory is up and in rotation")]
    LastOne,
}
