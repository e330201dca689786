//! A search that was asked before, by somebody of the same standing: in the same octets, or with another filter in the same form. It is found as it
//! came, or by its form and its filter, and written at once.
//!
//! That takes the place of decoding, deciding and keying, and comes to the same: what is found is what the slow way would find fresh, or nothing is.
//! Where somebody reads whom and what a search is about, every search takes the slow way.

use super::search::KEY;
use super::{Pipeline, delivery};
use crate::cache::Spelling;
use crate::ldap::ResultCode;
use crate::outcome::{OperationKind, Outcome, Served};
use crate::session::ClientMessageId;
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

/// Repeated searches that came together: answered one by one, and put on record together when this is dropped.
#[derive(Debug)]
pub struct Hits<'a> {
    pipeline: &'a Pipeline,
    received_at: Instant,
    /// Of all that are not on record yet; `None` while there are none.
    code: Option<ResultCode>,
    count: u32,
    entries: u32,
}

impl Pipeline {
    /// For the repeated searches among what came then.
    pub const fn hits(&self, received_at: Instant) -> Hits<'_> {
        Hits { pipeline: self, received_at, code: None, count: 0, entries: 0 }
    }
}

impl Hits<'_> {
    /// Appends the answer to a search that was asked before, without allocation or waiting; `false` where it must be
    /// [begun](Pipeline::begin).
    pub fn answer(&mut self, spelling: &Spelling<'_>, message_id: ClientMessageId, out: &mut Vec<u8>) -> bool {
        if self.pipeline.is_read(OperationKind::Search) {
            return false;
        }
        let (cache, now) = (&self.pipeline.cache, self.received_at);
        let spelled = cache.spelled(spelling);
        let found = cache.look_up_again(&spelled, now);
        let found = found.or_else(|| KEY.with_borrow_mut(|key| cache.look_up_by_form(&spelled, key, now)));
        let Some(found) = found else { return false };
        let answer = found.answer();
        if answer.len() > delivery::PIECE {
            return false;
        }
        answer.write(message_id.wire(), out);
        if self.code != Some(answer.code()) {
            self.record();
            (self.code, self.count, self.entries) = (Some(answer.code()), 0, 0);
        }
        self.count += 1;
        self.entries = self.entries.saturating_add(answer.entry_count());
        true
    }

    fn record(&self) {
        let &Hits { pipeline, received_at, code, count, entries } = self;
        if let Some(code) = code {
            let outcome = Outcome { kind: OperationKind::Search, served: Served::Hit, code, entries, took: took(received_at) };
            pipeline.metrics.operations(&outcome, count);
        }
    }
}

/// How long it took to answer what came then. Of those that a thread answers within a [`MOMENT`] the first is timed and stands for them all: under
/// load, reading the clock takes as long as counting, and alone every one is timed.
fn took(received_at: Instant) -> Duration {
    match TIMED.get() {
        Some((until, took)) if received_at < until => took,
        _ => {
            let took = received_at.elapsed();
            TIMED.set(Some((received_at + MOMENT, took)));
            took
        }
    }
}

thread_local! {
    /// What was timed last, and until when it stands for others.
    static TIMED: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

const MOMENT: Duration = Duration::from_millis(1);

impl Drop for Hits<'_> {
    fn drop(&mut self) {
        self.record();
    }
}
