//! `redial check`: every problem of a configuration at once, each with its line, key and remedy.
//!
//! The file and the files that it names are always looked at; `--online` also looks at each controller.

use super::{Failure, print};
use crate::book::Book;
use crate::cache::keep::can_be_kept_in;
use crate::config::load::{Loaded, Rejected, load};
use crate::config::problem::Problem;
use crate::config::{Access, Config, DirectoryConfig, DirectoryKind, Upstream};
use crate::upstream::examine::{ExamineError, Found, examine};
use clap::Args;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What `redial check` takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration file
    pub(crate) file: PathBuf,
    /// Also connect to every controller, verify its certificate, bind the service account and read what it holds
    #[arg(long)]
    pub(crate) online: bool,
}

/// Prints the report to standard output.
///
/// # Errors
/// A [`Failure::Configuration`] without text when there is a problem: the report has said it all. Warnings are no failure.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut report = match load(&arguments.file) {
        Err(Rejected { problems, warnings, .. }) => Report { problems, warnings, ..Report::default() },
        Ok(Loaded { config, warnings, .. }) => {
            let mut report = Report { warnings, ..Report::default() };
            report.look_at_directories(&config, arguments.online).await;
            report.look_at_keep(&config);
            report
        }
    };
    report.problems.sort_by_key(|problem| problem.line);
    print(&report.to_string())?;
    if report.problems.is_empty() { Ok(()) } else { Err(Failure::Configuration(String::new())) }
}

/// What is printed: a line for each server or file, then problems, then warnings, then a line that sums up.
#[derive(Debug, Default)]
struct Report {
    directories: Vec<String>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    async fn look_at_directories(&mut self, config: &Config, online: bool) {
        for directory in &config.directories {
            match &directory.kind {
                DirectoryKind::Embedded { ldif } => self.look_at_ldif(directory, ldif),
                DirectoryKind::Upstream(upstream) if online => self.look_at_controllers(directory, upstream, config).await,
                DirectoryKind::Upstream(_) => {}
            }
        }
    }

    fn look_at_ldif(&mut self, directory: &DirectoryConfig, ldif: &Path) {
        let key = format!("directory.{}.ldif", directory.name);
        let octets = match std::fs::read(ldif) {
            Ok(octets) => octets,
            Err(error) => return self.problem(key, format!("cannot be read: {error}")),
        };
        match Book::from_ldif(octets, &directory.base_dn) {
            Ok(book) => {
                let entries = if book.entries() == 1 { "1 entry".to_owned() } else { format!("{} entries", book.entries()) };
                self.directories.push(row(directory, &ldif.display().to_string(), &entries));
            }
            Err(errors) => {
                for error in errors {
                    self.problem(key.clone(), format!("{}: {error}", ldif.display()));
                }
            }
        }
    }

    fn look_at_keep(&mut self, config: &Config) {
        if let Some(file) = &config.cache.keep
            && let Err(error) = can_be_kept_in(file)
        {
            self.problem("cache.keep".to_owned(), format!("{}: {error}", file.display()));
        }
    }

    async fn look_at_controllers(&mut self, directory: &DirectoryConfig, upstream: &Upstream, config: &Config) {
        let key_of = |key: &str| format!("directory.{}.{key}", directory.name);
        let key = key_of(if upstream.discover.is_some() { "discover" } else { "servers" });
        let examined = match examine(upstream, &config.groups_of(directory), &config.limits).await {
            Ok(examined) => examined,
            Err(error @ ExamineError::Trust(_)) => return self.problem(key_of("ca"), error.to_string()),
            Err(error @ ExamineError::Discover(_)) => return self.problem(key, error.to_string()),
        };
        for name in examined.refused {
            let why = format!("{name} is named by DNS, but not asked: it is not within the domain, nor in `within`");
            self.warnings.push(Problem { line: None, key: key.clone(), why });
        }
        for server in examined.servers {
            let shown = match server.found {
                Ok(found) => {
                    if !found.holds(&directory.base_dn) {
                        let contexts = found.naming_contexts.join("; ");
                        let why = format!("{}: does not hold {}: its naming contexts are {contexts}", server.server, directory.base);
                        self.problem(key.clone(), why);
                    }
                    for group in &found.missing_groups {
                        let names = |access: &&Access| access.groups().iter().any(|named| named.name == *group);
                        let access = config.accesses.iter().position(|access| names(&access)).unwrap_or_default();
                        let why = format!("{}: {group} is not there, or the service account cannot read it", server.server);
                        self.problem(format!("access[{access}].clients"), why);
                    }
                    described(&found)
                }
                Err(why) => {
                    self.problem(key.clone(), why);
                    "failed".to_owned()
                }
            };
            self.directories.push(row(directory, &server.server, &shown));
        }
    }

    fn problem(&mut self, key: String, why: String) {
        self.problems.push(Problem { line: None, key, why });
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for directory in &self.directories {
            writeln!(f, "{directory}")?;
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        match (self.problems.len(), self.warnings.len()) {
            (0, 0) => writeln!(f, "The configuration is fine."),
            (0, warnings) => writeln!(f, "The configuration is fine, with {}.", counted(warnings, "warning")),
            (problems, 0) => writeln!(f, "{}.", counted(problems, "problem")),
            (problems, warnings) => writeln!(f, "{} and {}.", counted(problems, "problem"), counted(warnings, "warning")),
        }
    }
}

fn row(directory: &DirectoryConfig, where_from: &str, what: &str) -> String {
    format!("{:<24} {where_from:<40} {what}", format!("directory.{}", directory.name))
}

fn described(found: &Found) -> String {
    let mut text = format!("ok in {} ms", found.took.as_millis());
    let bound = if found.bound { ", bound" } else { ", not bound" };
    let kind = if found.active_directory { ", Active Directory" } else { "" };
    let paging = if found.paging { "" } else { ", without paged results" };
    // Writing to a String cannot fail.
    let _ = write!(text, "{bound}{kind}{paging}");
    text
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
        assert_eq!(Report::default().to_string(), "The configuration is fine.\n");
        let report = Report { directories: Vec::new(), problems: vec![problem("a"), problem("b")], warnings: vec![problem("c")] };
        assert_eq!(
            report.to_string(),
            "line 3: cache.ttl: a\nline 3: cache.ttl: b\nwarning: line 3: cache.ttl: c\n2 problems and 1 warning.\n"
        );
    }
}
