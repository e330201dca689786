//! Every metric: name, help, labels; handles are made once and recorded through methods. Label values come from enums and the
//! configuration, so they are finite; no DN, user or address ever is one.
//!
//! (Interface; the bodies follow.)

use crate::outcome::Outcome;
use std::time::Duration;

/// How a TLS handshake with a phone ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// With certificate and key exchange.
    Full,
    /// From a ticket.
    Resumed,
    /// Not at all.
    Failed,
}

/// Why a connection was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejected {
    /// Not from an allowed network.
    Network,
    /// The listener is full.
    Full,
    /// accept(2) failed.
    AcceptError,
}

/// Handles of all metrics, made once.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// Handles that record nowhere: for tests.
    pub fn unrecorded() -> Self {
        Self::default()
    }
    /// One operation has finished.
    pub fn operation(&self, _outcome: &Outcome) {}
    /// A phone connected to that listener (index in the configuration).
    pub fn connection_opened(&self, _listener: usize) {}
    /// It left.
    pub fn connection_closed(&self, _listener: usize) {}
    /// Somebody could not be served.
    pub fn connection_rejected(&self, _listener: usize, _why: Rejected) {}
    /// A handshake ended.
    pub fn handshake(&self, _listener: usize, _how: Handshake) {}
    /// A hit made Redial ask again in the background.
    pub fn cache_refresh(&self) {}
    /// What the cache holds now.
    pub fn cache_holds(&self, _entries: u64, _bytes: u64) {}
    /// A server of a directory (indices in the configuration) is up or down.
    pub fn upstream_up(&self, _directory: usize, _server: usize, _up: bool) {}
    /// Connections to a server that stand.
    pub fn upstream_connections(&self, _directory: usize, _server: usize, _count: usize) {}
    /// An operation was sent to a server.
    pub fn upstream_sent(&self, _directory: usize, _server: usize) {}
    /// And it ended, with an answer or without.
    pub fn upstream_ended(&self, _directory: usize, _server: usize, _answered: bool, _took: Duration) {}
    /// A search was tried again on another server.
    pub fn upstream_retried(&self, _directory: usize) {}
}
