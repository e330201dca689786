//! `redial serve`: Runs the proxy.

use super::Failure;
use clap::Args;
use std::path::PathBuf;

/// What `redial serve` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs the proxy.
///
/// # Errors
/// As [`Failure`] says.
pub async fn run(_arguments: &Arguments) -> Result<(), Failure> {
    Err(Failure::fault("not written yet"))
}
