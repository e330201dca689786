//! `redial check`: Every problem of a configuration at once.

use super::Failure;
use clap::Args;
use std::path::PathBuf;

/// What `redial check` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file
    pub file: PathBuf,
}

/// Every problem of a configuration at once.
///
/// # Errors
/// As [`Failure`] says.
pub async fn run(_arguments: &Arguments) -> Result<(), Failure> {
    Err(Failure::fault("not written yet"))
}
