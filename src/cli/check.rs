//! `redial check`: every problem of a configuration at once, each with its line, key and remedy.

use super::{Failure, print};
use crate::config::load::{Loaded, Rejected, load};
use crate::config::problem::Problem;
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;

/// What `redial check` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file
    pub file: PathBuf,
}

/// Prints the report to standard output.
///
/// # Errors
/// A [`Failure::Configuration`] without text when there is a problem: the report has said it all. Warnings are no failure.
pub async fn run(arguments: &Arguments) -> Result<(), Failure> {
    match load(&arguments.file) {
        Ok(Loaded { warnings, .. }) => print(&report(&[], &warnings)),
        Err(Rejected { problems, warnings }) => {
            print(&report(&problems, &warnings))?;
            Err(Failure::Configuration(String::new()))
        }
    }
}

/// Problems first, one a line, then warnings, then a line that sums up.
fn report(problems: &[Problem], warnings: &[Problem]) -> String {
    let mut report = String::new();
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(report, "{problem}");
    }
    for warning in warnings {
        let _ = writeln!(report, "warning: {warning}");
    }
    let _ = match (problems.len(), warnings.len()) {
        (0, 0) => writeln!(report, "The configuration is fine."),
        (0, warnings) => writeln!(report, "The configuration is fine, with {}.", counted(warnings, "warning")),
        (problems, 0) => writeln!(report, "{}.", counted(problems, "problem")),
        (problems, warnings) => writeln!(report, "{} and {}.", counted(problems, "problem"), counted(warnings, "warning")),
    };
    report
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(why: &str) -> Problem {
        Problem { line: Some(3), key: "cache.ttl".to_owned(), why: why.to_owned() }
    }

    #[test]
    fn a_report_lists_problems_then_warnings_then_their_number() {
        assert_eq!(report(&[], &[]), "The configuration is fine.\n");
        assert_eq!(
            report(&[problem("a"), problem("b")], &[problem("c")]),
            "line 3: cache.ttl: a\nline 3: cache.ttl: b\nwarning: line 3: cache.ttl: c\n2 problems and 1 warning.\n"
        );
    }
}
