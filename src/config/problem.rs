//! What is wrong with a configuration: where, why, and what to do about it. Never a secret.

use std::fmt::{Display, Formatter, Result};

/// One thing that is wrong, or questionable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1, where one is to blame.
    pub line: Option<usize>,
    /// The key's path, and its value where that is worth repeating: `directory.corp.idle = "20m"`. Empty: the file as a whole.
    pub key: String,
    /// What is wrong, and the remedy.
    pub why: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.why)
    }
}
