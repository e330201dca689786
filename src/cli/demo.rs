//! `redial demo`: The proxy in front of an embedded phonebook, on loopback.

use super::Failure;
use clap::Args;

/// What `redial demo` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The port for LDAP and StartTLS on 127.0.0.1; LDAPS takes the next one
    #[arg(long, default_value_t = 3890)]
    pub port: u16,
}

/// The proxy in front of an embedded phonebook, on loopback.
///
/// # Errors
/// As [`Failure`] says.
pub async fn run(_arguments: &Arguments) -> Result<(), Failure> {
    Err(Failure::fault("not written yet"))
}
