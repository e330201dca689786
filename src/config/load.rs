//! Reads a configuration and the files that it names, and checks all of it.

use super::Config;
use super::problem::Problem;
use std::path::Path;

/// A configuration that holds, with what is questionable about it.
#[derive(Debug)]
pub struct Loaded {
    /// Only valid values.
    pub config: Config,
    /// What works, but hardly as meant.
    pub warnings: Vec<Problem>,
}

/// A configuration that does not hold.
#[derive(Debug)]
pub struct Rejected {
    /// Everything that must be changed; at least one.
    pub problems: Vec<Problem>,
    /// What else is questionable.
    pub warnings: Vec<Problem>,
}

/// Reads `file`, the certificates, keys and passwords that it names, and checks all of it. Blocks on the disk.
///
/// # Errors
/// All problems at once.
pub fn load(_file: &Path) -> Result<Loaded, Rejected> {
    todo!("the next commit")
}
