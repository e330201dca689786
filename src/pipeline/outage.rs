//! When does a directory's outage begin, and when is it over? Told to the log once each, however many stale answers stand in.

use super::Pipeline;
use crate::ldap::ResultCode;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// The outages of all directories, by number; `None`: of searches across several.
#[derive(Debug, Default)]
pub(super) struct Outages(Mutex<HashMap<Option<usize>, Outage>>);

impl Pipeline {
    /// A stale answer stands in for one of that directory's, for this reason.
    pub(super) fn stale_stands_in(&self, directory: Option<usize>, why: &dyn std::fmt::Display) {
        if self.outages.of(directory, |outage| outage.stale(Instant::now())) {
            let directory = self.directory_name(directory);
            warn!(directory, %why, "the directory fails or dawdles: answers past their time stand in");
        }
    }

    /// The directory has answered a search.
    pub(super) fn directory_answered(&self, directory: Option<usize>) {
        if let Some(Over { lasted, stale }) = self.outages.of(directory, |outage| outage.answered(Instant::now())) {
            let directory = self.directory_name(directory);
            info!(directory, ?lasted, stale, "the directory answers again: no answer past its time stands in");
        }
    }

    fn directory_name(&self, number: Option<usize>) -> &str {
        let station = self.stations.iter().find(|station| Some(station.number) == number);
        station.map_or("several", |station| &station.config.name)
    }
}

impl Outages {
    fn of<T>(&self, directory: Option<usize>, look: impl FnOnce(&mut Outage) -> T) -> T {
        look(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(directory).or_default())
    }
}

/// One directory, as far as stale answers show it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    since: Instant,
    last_stale: Instant,
    stale: u64,
}

/// An outage that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    /// From the first stale answer to the last.
    pub(super) lasted: Duration,
    /// Answers that stood in.
    pub(super) stale: u64,
}

impl Outage {
    /// A stale answer stands in for one of the directory's; says whether an outage begins by it.
    pub(super) fn stale(&mut self, now: Instant) -> bool {
        let under_way = self.under_way.get_or_insert(UnderWay { since: now, last_stale: now, stale: 0 });
        under_way.last_stale = now;
        under_way.stale += 1;
        under_way.stale == 1
    }

    /// The directory has answered; says what is over by it. A directory that fails one search and answers the next is in one outage, not many.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Over> {
        let over = self.under_way.take_if(|under_way| now.saturating_duration_since(under_way.last_stale) >= QUIET)?;
        Some(Over { lasted: over.last_stale - over.since, stale: over.stale })
    }
}

/// A result that says more of the server than of the question: a stale answer is better.
pub(super) const fn is_failure(code: ResultCode) -> bool {
    matches!(
        code,
        ResultCode::OPERATIONS_ERROR
            | ResultCode::PROTOCOL_ERROR
            | ResultCode::TIME_LIMIT_EXCEEDED
            | ResultCode::ADMIN_LIMIT_EXCEEDED
            | ResultCode::BUSY
            | ResultCode::UNAVAILABLE
            | ResultCode::UNWILLING_TO_PERFORM
            | ResultCode::OTHER
    )
}

/// So long no stale answer stood in before an outage is over.
const QUIET: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_begins_once_and_is_over_once() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        assert_eq!(outage.answered(now), None);
        let begun = (0..100).filter(|second| outage.stale(now + seconds(*second))).count();
        assert_eq!(begun, 1);
        assert_eq!(outage.answered(now + seconds(129)), Some(Over { lasted: seconds(99), stale: 100 }));
        assert_eq!(outage.answered(now + seconds(130)), None);
        assert!(outage.stale(now + seconds(140)), "the next one");
    }

    #[test]
    fn answers_in_between_end_no_outage() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        assert!(outage.stale(now));
        for second in (1..100).step_by(2) {
            assert_eq!(outage.answered(now + seconds(second)), None);
            assert!(!outage.stale(now + seconds(second + 1)));
        }
    }
}
