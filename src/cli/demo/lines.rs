//! A line on standard output for each search, as it happens. Only the demo shows filters: elsewhere they are logged at debug, if at all.

use crate::pipeline::OPERATIONS;
use std::fmt::{Debug, Display, Formatter};
use std::io::{Write, stdout};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer};

/// The layer that prints them.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    Lines.with_filter(Targets::new().with_target(OPERATIONS, LevelFilter::DEBUG))
}

#[derive(Debug)]
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        if line.operation == "search" {
            // Whoever closed standard output does not want the lines.
            let _ = writeln!(stdout().lock(), "{line}");
        }
    }
}

/// What is shown of a search.
#[derive(Debug, Default)]
struct Line {
    operation: String,
    served: String,
    code: String,
    entries: u64,
    took_us: u64,
    /// Filter and base.
    search: String,
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "entries" => self.entries = value,
            "took_us" => self.took_us = value,
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_u64(field, u64::try_from(value).unwrap_or_default());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.record_u64(field, u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = match field.name() {
            "operation" => &mut self.operation,
            "served" => &mut self.served,
            "code" => &mut self.code,
            "search" => &mut self.search,
            _ => return,
        };
        value.clone_into(text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { served, took_us, entries, search, .. } = self;
        let noun = if *entries == 1 { "entry" } else { "entries" };
        write!(f, "{served:<9} {took_us:>7} µs {entries:>5} {noun:<7}  {search}")?;
        if self.code != "success" {
            write!(f, "  {}", self.code)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    /// Keeps what [`Lines`] would print.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push(line.to_string());
        }
    }

    fn printed(event: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), event);
        kept.0.lock().unwrap().clone()
    }

    #[test]
    fn a_search_is_one_line_with_its_filter() {
        let lines = printed(|| {
            tracing::debug!(
                target: OPERATIONS, operation = "search", served = "hit", code = "success", entries = 3_u32, took_us = 37_u64,
                search = "(|(cn=mü*)(sn=mü*)) under \"dc=demo\""
            );
        });
        assert_eq!(lines, [r#"hit            37 µs     3 entries  (|(cn=mü*)(sn=mü*)) under "dc=demo""#]);
    }

    #[test]
    fn what_went_wrong_stands_at_the_end() {
        let lines = printed(|| {
            tracing::debug!(
                target: OPERATIONS, operation = "search", served = "miss", code = "sizeLimitExceeded", entries = 1_u64, took_us = 912_u128,
                search = %"(cn=*)"
            );
        });
        assert_eq!(lines, ["miss          912 µs     1 entry    (cn=*)  sizeLimitExceeded"]);
    }
}
