//! `redial hash-password`: The hash of a password.

use super::Failure;
use clap::Args;

/// What `redial hash-password` takes.
#[derive(Debug, Args)]
pub struct Arguments {}

/// The hash of a password.
///
/// # Errors
/// As [`Failure`] says.
pub async fn run(_arguments: &Arguments) -> Result<(), Failure> {
    Err(Failure::fault("not written yet"))
}
