//! `redial hash-password`: the Argon2id hash of a password, for an `[[account]]`.

use super::{Failure, print};
use crate::identity::accounts;
use crate::secret::Secret;
use clap::Args;
use std::io::{IsTerminal, Read, Write, stderr, stdin};
use zeroize::Zeroizing;

/// What `redial hash-password` takes: nothing, since arguments are seen by everybody on the machine.
#[derive(Debug, Args)]
pub(crate) struct Arguments {}

/// Reads a password from standard input (without echo where that is a terminal) and prints its hash.
///
/// # Errors
/// When there is no password, or it cannot be read.
pub(crate) async fn run(_arguments: &Arguments) -> Result<(), Failure> {
    let password = if stdin().is_terminal() { asked()? } else { piped(stdin().lock())? };
    let hash = accounts::hash(&password).map_err(Failure::fault)?;
    print(&format!("{hash}\n"))
}

/// Asked twice, since nobody sees what is typed.
fn asked() -> Result<Secret, Failure> {
    let ask = |prompt: &str| -> Result<Zeroizing<String>, Failure> {
        write!(stderr(), "{prompt}").and_then(|()| stderr().flush()).map_err(Failure::fault)?;
        rpassword::read_password().map(Zeroizing::new).map_err(Failure::fault)
    };
    let first = ask("Password: ")?;
    let second = ask("Again: ")?;
    if *first != *second {
        return Err(Failure::configuration("the two passwords differ"));
    }
    secret(first.as_bytes())
}

/// The first line.
fn piped(input: impl Read) -> Result<Secret, Failure> {
    let mut octets = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    input.take(LONGEST as u64 + 1).read_to_end(&mut octets).map_err(Failure::fault)?;
    if octets.len() > LONGEST {
        return Err(Failure::configuration(format_args!("a password has at most {LONGEST} octets")));
    }
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    secret(line.strip_suffix(b"\r").unwrap_or(line))
}

fn secret(octets: &[u8]) -> Result<Secret, Failure> {
    if octets.is_empty() {
        return Err(Failure::configuration("an empty password would never be accepted (RFC 4513 section 5.1.2)"));
    }
    Ok(Secret::new(octets))
}

/// In octets. No phone takes a password that is nearly as long.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        assert_eq!(piped(&b"pa ss\r\nmore"[..]).unwrap().expose(), b"pa ss");
        assert_eq!(piped(&b"pass"[..]).unwrap().expose(), b"pass");
    }

    #[test]
    fn an_empty_or_endless_password_is_refused() {
        assert!(matches!(piped(&b"\n"[..]), Err(Failure::Configuration(_))));
        assert!(matches!(piped(std::io::repeat(b'x')), Err(Failure::Configuration(_))));
    }
}
