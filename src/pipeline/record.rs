//! The end of an operation: its one record, for the metrics, the log and the audit log.
//!
//! Whom and what it was about is written down at its beginning, and only where somebody reads it: a search from memory
//! does not pay for a log that is off.

use super::{AskedAt, Client, Pipeline};
use crate::ldap::ResultCode;
use crate::ldap::filter::Filter;
use crate::outcome::{OperationKind, Outcome, Served, Subject};
use crate::session::{AcceptedRequest, AnsweredBind};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;

/// The `tracing` target of the line that each finished operation leaves at debug level.
pub const OPERATIONS: &str = "redial::operation";

impl Pipeline {
    /// A Bind that the session answered by itself is on record like any other.
    pub fn bind_answered(&self, client: &Client, answered: &AnsweredBind<'_>, received_at: Instant) {
        let goes_on = matches!(answered.code, ResultCode::SUCCESS | ResultCode::SASL_BIND_IN_PROGRESS);
        let served = if goes_on { Served::Local } else { Served::Refused };
        let outcome = Outcome { kind: OperationKind::Bind, served, code: answered.code, entries: 0, took: received_at.elapsed() };
        // A certificate's name stands in no Bind.
        let name = if client.identity.is_anonymous() { answered.name } else { client.identity.name() };
        let subject = self.is_read(OperationKind::Bind).then(|| Box::new(subject_of(client, name, None, None)));
        self.record(&outcome, subject);
    }

    /// Whom and what an operation is about, where somebody reads it.
    pub(super) fn subject(&self, client: &Client, kind: OperationKind, request: &AcceptedRequest<'_>) -> Option<Box<Subject>> {
        self.is_read(kind).then(|| Box::new(subject_of_request(client, request)))
    }

    #[inline]
    pub(super) fn is_read(&self, kind: OperationKind) -> bool {
        self.audit.covers(kind) || (LevelFilter::current() >= LevelFilter::DEBUG && is_logged())
    }

    /// The one record of an operation.
    pub(super) fn record(&self, outcome: &Outcome, subject: Option<Box<Subject>>) {
        self.metrics.operation(outcome);
        tracing::debug!(
            target: OPERATIONS,
            operation = outcome.kind.name(),
            served = outcome.served.name(),
            code = outcome.code.name(),
            entries = outcome.entries,
            took_us = u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX),
            search = subject.as_deref().and_then(described).unwrap_or_default(),
        );
        if let Some(subject) = subject.filter(|_| self.audit.covers(outcome.kind)) {
            self.audit.note(subject, outcome);
        }
    }
}

// Out of line, so that a log that is off costs next to nothing.
#[inline(never)]
fn is_logged() -> bool {
    tracing::enabled!(target: OPERATIONS, tracing::Level::DEBUG)
}

/// Records an operation when it has ended; as abandoned when its future is dropped, since nobody waits for it any more.
pub(super) struct Recording {
    pipeline: Arc<Pipeline>,
    asked: AskedAt,
    subject: Option<Box<Subject>>,
    is_over: bool,
}

impl Recording {
    pub(super) const fn new(pipeline: Arc<Pipeline>, asked: AskedAt, subject: Option<Box<Subject>>) -> Self {
        Self { pipeline, asked, subject, is_over: false }
    }

    /// Where it runs.
    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// It has ended.
    pub(super) fn ended(mut self, outcome: &Outcome) {
        self.is_over = true;
        self.pipeline.record(outcome, self.subject.take());
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.is_over {
            self.pipeline.record(&self.asked.outcome(Served::Abandoned, ResultCode::CANCELED, 0), self.subject.take());
        }
    }
}

fn subject_of_request(client: &Client, request: &AcceptedRequest<'_>) -> Subject {
    let bound_as = client.identity.name();
    let (principal, target, filter) = match request {
        AcceptedRequest::Bind(bind) => (bind.name, None, None),
        AcceptedRequest::Search(search) => (bound_as, Some(search.base_object), Filter::decode(search.filter).ok()),
        AcceptedRequest::Compare(compare) => (bound_as, Some(compare.entry), None),
        AcceptedRequest::Write(write) => (bound_as, Some(write.target), None),
        AcceptedRequest::Extended(extended) => (bound_as, extended.whose_password(), None),
    };
    subject_of(client, principal, target, filter.map(|filter| filter.to_string()))
}

fn subject_of(client: &Client, principal: &str, target: Option<&str>, filter: Option<String>) -> Subject {
    Subject {
        peer: client.peer,
        listener: client.listener,
        principal: shortened(principal),
        target: target.map(shortened),
        filter: filter.as_deref().map(shortened),
    }
}

/// A search as a person reads it.
fn described(subject: &Subject) -> Option<String> {
    let filter = subject.filter.as_deref()?;
    Some(format!("{filter} under \"{}\"", subject.target.as_deref().unwrap_or_default()))
}

/// What a client sends is as long as it likes; what is kept of it for a log is not.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Of a name or a filter in a log; what a person or a directory writes is shorter.
const MOST_CHARACTERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_end_is_cut_between_characters() {
        assert_eq!(shortened("cn=Ada"), "cn=Ada");
        assert_eq!(shortened(&"ü".repeat(MOST_CHARACTERS)), "ü".repeat(MOST_CHARACTERS));
        assert_eq!(shortened(&"ü".repeat(200_000)), format!("{}…", "ü".repeat(MOST_CHARACTERS)));
    }
}
