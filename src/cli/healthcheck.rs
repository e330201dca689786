//! `redial healthcheck`: Asks a running Redial for its health.

use super::Failure;
use clap::Args;
use std::net::SocketAddr;

/// What `redial healthcheck` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The admin address to ask
    #[arg(long, default_value = "127.0.0.1:9390")]
    pub address: SocketAddr,
}

/// Asks a running Redial for its health.
///
/// # Errors
/// As [`Failure`] says.
pub async fn run(_arguments: &Arguments) -> Result<(), Failure> {
    Err(Failure::fault("not written yet"))
}
