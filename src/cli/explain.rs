//! `redial explain`: What a search would meet.

use super::Failure;
use clap::Args;
use std::path::PathBuf;

/// What `redial explain` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file
    pub file: PathBuf,
}

/// What a search would meet.
///
/// # Errors
/// As [`Failure`] says.
pub async fn run(_arguments: &Arguments) -> Result<(), Failure> {
    Err(Failure::fault("not written yet"))
}
