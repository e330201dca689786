//! Logs: `tracing` to standard error, as text or as JSON lines.
//!
//! The level comes from `--log`, else from `RUST_LOG`, else it is `info`. DNs, filters and names are logged at `debug` only, secrets never: not even
//! where a bug ends a task in the middle of one.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, stderr};
use std::panic;
use thiserror::Error;
use tokio::task::JoinError;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
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
    tracing_subscriber::registry().with(lines(level, format)?).try_init()?;
    tell_of_panics();
    Ok(())
}

/// As [`begin`], with one more layer. It must filter for itself: a layer that wants everything makes every event of every crate be put
/// together, on the hot path too, only to be thrown away.
///
/// # Errors
/// As [`begin`].
pub fn begin_with(level: Option<&str>, format: Format, more: impl Layer<Registry> + Send + Sync) -> Result<(), TelemetryError> {
    tracing_subscriber::registry().with(more).with(lines(level, format)?).try_init()?;
    tell_of_panics();
    Ok(())
}

/// From now on a panic is a line of the log. Its message is shown where it stands in the source as it is; one that was put together may hold what
/// was received, a name or a password: `&text[..5]` alone would show the text.
fn tell_of_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(its message may hold what was received)");
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(trace));
        tracing::error!(place, trace, "a bug of Redial's has ended a task: {message}");
    }));
}

/// What may be said of a task that did not come to its end: its panic's message may hold what was received, and the log has the place.
pub fn broke_off(error: &JoinError) -> &'static str {
    if error.is_panic() { "a bug of Redial's has ended its task" } else { "its task was ended" }
}

/// The layer that writes lines, and wants to hear of nothing else.
fn lines<S>(level: Option<&str>, format: Format) -> Result<impl Layer<S>, TelemetryError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let directives = level.map(str::to_owned).or_else(|| std::env::var(EnvFilter::DEFAULT_ENV).ok()).unwrap_or_default();
    let filter = filter(&directives)?;
    let lines = fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    Ok(lines.with_filter(filter))
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

    #[tokio::test]
    async fn what_a_task_said_in_its_panic_is_not_told() {
        let received = String::from("a password");
        let ended = tokio::spawn(async move { panic!("at {received}") }).await;
        assert_eq!(broke_off(&ended.unwrap_err()), "a bug of Redial's has ended its task");
        let ended = tokio::spawn(std::future::pending::<()>());
        ended.abort();
        assert_eq!(broke_off(&ended.await.unwrap_err()), "its task was ended");
    }

    #[test]
    fn without_a_word_the_level_is_info() {
        assert_eq!(filter("").unwrap().max_level_hint(), Some(LevelFilter::INFO));
    }

    #[test]
    fn at_info_nobody_puts_together_what_is_said_at_debug() {
        let subscriber = tracing_subscriber::registry().with(lines(Some("info"), Format::Text).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            assert!(tracing::enabled!(tracing::Level::INFO));
            assert!(!tracing::enabled!(target: crate::pipeline::OPERATIONS, tracing::Level::DEBUG));
        });
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
