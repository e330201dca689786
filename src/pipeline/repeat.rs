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
use tokio::time::Instant;

/// Repeated searches of one batch that have been answered and are not on record yet.
#[derive(Debug, Default)]
pub struct Hits {
    /// Of all of them; `None` while there are none.
    code: Option<ResultCode>,
    count: u32,
    entries: u32,
}

impl Pipeline {
    /// Appends the answer to a search that was asked before, without allocation or waiting; `false` where it must be [begun](Self::begin). What
    /// was answered is in `hits`, for [`Pipeline::record_hits`].
    pub fn repeat(
        &self,
        spelling: &Spelling<'_>,
        message_id: ClientMessageId,
        received_at: Instant,
        hits: &mut Hits,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.is_read(OperationKind::Search) {
            return false;
        }
        let found = self.cache.look_up_again(spelling, received_at);
        let found = found.or_else(|| KEY.with_borrow_mut(|key| self.cache.look_up_by_form(spelling, key, received_at)));
        let Some(found) = found else { return false };
        let answer = found.answer();
        if answer.len() > delivery::PIECE {
            return false;
        }
        answer.write(message_id.wire(), out);
        if hits.code != Some(answer.code()) {
            self.record_hits(hits, received_at);
            hits.code = Some(answer.code());
        }
        hits.count += 1;
        hits.entries = hits.entries.saturating_add(answer.entry_count());
        true
    }

    /// Puts a batch on record, and empties it.
    pub fn record_hits(&self, hits: &mut Hits, received_at: Instant) {
        let Hits { code, count, entries } = std::mem::take(hits);
        if let Some(code) = code {
            let outcome = Outcome { kind: OperationKind::Search, served: Served::Hit, code, entries, took: received_at.elapsed() };
            self.metrics.operations(&outcome, count);
        }
    }
}
