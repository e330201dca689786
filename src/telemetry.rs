//! Logs: `tracing` to standard error, as text or as JSON lines.
//!
//! The level comes from `--log`, else from `RUST_LOG`, else it is `info`. DNs, filters and names are logged at `debug` only, secrets never.

use std::io::{IsTerminal, stderr};
use thiserror::Error;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not begin.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The level or filter makes no sense.
    #[error("`{directives}` is no log level: {reason} (try `info`, `debug`, or `info,redial::upstream=debug`)")]
    BadDirectives {
        /// As given.
        directives: String,
        /// What is wrong with it.
        reason: ParseError,
    },
    /// Something in this process logs already.
    #[error("logging has begun already: {0}")]
    AlreadyBegun(#[from] TryInitError),
}

/// Begins to log. `level` is what `--log` says, and comes before `RUST_LOG`.
///
/// # Errors
/// When the level makes no sense, or logging has begun before.
pub fn begin(level: Option<&str>, format: Format) -> Result<(), TelemetryError> {
    begin_with(level, format, tracing_subscriber::layer::Identity::new())
}

/// As [`begin`], with one more layer that sees every event whatever the level.
///
/// # Errors
/// As [`begin`].
pub fn begin_with(level: Option<&str>, format: Format, more: impl Layer<Registry> + Send + Sync) -> Result<(), TelemetryError> {
    let directives = level.map(str::to_owned).or_else(|| std::env::var(EnvFilter::DEFAULT_ENV).ok()).unwrap_or_default();
    let filter = filter(&directives)?;
    let lines = fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    tracing_subscriber::registry().with(more).with(lines.with_filter(filter)).try_init()?;
    Ok(())
}

fn filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(directives)
        .map_err(|reason| TelemetryError::BadDirectives { directives: directives.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_the_level_is_info() {
        assert_eq!(filter("").unwrap().max_level_hint(), Some(LevelFilter::INFO));
    }

    #[test]
    fn a_level_and_a_module_can_be_named() {
        assert_eq!(filter("debug").unwrap().max_level_hint(), Some(LevelFilter::DEBUG));
        assert_eq!(filter("warn,redial::upstream=trace").unwrap().max_level_hint(), Some(LevelFilter::TRACE));
    }

    #[test]
    fn nonsense_is_refused_with_what_was_written() {
        let error = filter("redial=loud").unwrap_err().to_string();
        assert!(error.contains("`redial=loud`"), "{error}");
    }
}
