//! The commands: arguments in, an exit code and what is printed out.
//!
//! Each command is a file with its `Arguments` and a `run`. None of them ends the process: they return a [`Failure`], and `main.rs` makes
//! an exit code of it. Reports go to standard output, failures to standard error, and nothing secret to either.

mod check;
mod demo;
mod explain;
mod hash_password;
mod healthcheck;
mod phones;
mod reloading;
mod seal;
mod serve;
mod supervisor;

use clap::{Parser, Subcommand};
use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};
use thiserror::Error;

/// What was asked on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "redial",
    version,
    about,
    after_help = "Exit codes: 0 fine, 64 bad configuration or arguments, 70 a fault of redial's own."
)]
pub struct Arguments {
    /// Which command.
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    Serve(serve::Arguments),
    /// Run the proxy on loopback in front of an embedded phonebook, and print searches to try
    Demo(demo::Arguments),
    /// Show every problem of a configuration at once, each with its remedy
    Check(check::Arguments),
    /// Show which access, rule, lifetime, key and servers a search would meet
    Explain(explain::Arguments),
    /// Make the hash of a password, for an `[[account]]` of a phone
    HashPassword(hash_password::Arguments),
    /// Ask a running redial for its health: for a container's health check
    Healthcheck(healthcheck::Arguments),
    /// Measure an LDAP server with a swarm that behaves like phones
    Phones(Box<phones::Arguments>),
}

impl Arguments {
    /// Carries out the command.
    ///
    /// # Errors
    /// As the command says; see [`Failure`].
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Check(arguments) => check::run(arguments).await,
            Command::Explain(arguments) => explain::run(arguments).await,
            Command::HashPassword(arguments) => hash_password::run(arguments).await,
            Command::Healthcheck(arguments) => healthcheck::run(arguments).await,
            Command::Phones(arguments) => phones::run(arguments).await,
        }
    }
}

/// Why a command did not succeed, by whose fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// The configuration or the arguments are wrong; the text says what to change. Empty where the report has said it already.
    #[error("{0}")]
    Configuration(String),
    /// Something failed that no configuration can mend, or not as far as we know.
    #[error("{0}")]
    Fault(String),
}

impl Failure {
    /// Bad configuration or arguments, as sysexits.h numbers it: EX_USAGE.
    pub const CONFIGURATION: u8 = 64;
    /// Our own fault: EX_SOFTWARE.
    pub const FAULT: u8 = 70;

    /// A failure that the administrator can mend.
    pub fn configuration(why: impl Display) -> Self {
        Self::Configuration(why.to_string())
    }

    /// A failure of ours, or of the machine.
    pub fn fault(why: impl Display) -> Self {
        Self::Fault(why.to_string())
    }

    /// The process's exit code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => Self::CONFIGURATION,
            Self::Fault(_) => Self::FAULT,
        }
    }
}

/// Writes a report to standard output.
///
/// # Errors
/// When it cannot be written.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        // Whoever reads has seen enough: `redial check | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Failure::fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_failure_knows_its_exit_code() {
        assert_eq!(Failure::configuration("x").exit_code(), 64);
        assert_eq!(Failure::fault("x").exit_code(), 70);
    }
}
