//! Which controller of a directory takes the writes, and until when reads follow them there: pure, the clock is an argument.
//!
//! Writes go to one controller, the *home*, as long as it takes them: two that took writes at the same time would not know of each other's.
//! From the moment that a write is handed over until [`PINNED`] after its end, reads of the whole directory go to the home too, since the
//! others may not have the write yet. Where that cannot be had, because the home is down or has moved, [`Pin::is_behind`] says so.

use std::time::Duration;
use tokio::time::Instant;

/// Where the writes and reads of one directory go.
#[derive(Debug, Default)]
pub(crate) struct Pin {
    home: Option<usize>,
    writes_under_way: usize,
    /// Something was written at the home, and not all others may have it.
    pinned_until: Option<Instant>,
    /// Something was written elsewhere, and the home may not have it.
    behind_until: Option<Instant>,
}

impl Pin {
    /// The server that took the last write, or is to take the next.
    pub(crate) const fn home(&self) -> Option<usize> {
        self.home
    }

    /// Writes go to `server` from now on. What an earlier home has taken may be unknown there for a while.
    pub(crate) fn settle(&mut self, server: usize) {
        if self.home.replace(server).is_some_and(|before| before != server) {
            self.behind_until = self.behind_until.max(self.pinned_until);
        }
    }

    /// A write is about to be handed over.
    pub(crate) const fn write_begins(&mut self) {
        self.writes_under_way += 1;
    }

    /// A write that began has ended at `server`. Nobody knows of one whose answer stayed away: it may have changed something.
    pub(crate) fn write_ended(&mut self, server: usize, may_have_changed: bool, now: Instant) {
        self.writes_under_way = self.writes_under_way.saturating_sub(1);
        if may_have_changed {
            let until = if self.home == Some(server) { &mut self.pinned_until } else { &mut self.behind_until };
            *until = (*until).max(Some(now + PINNED));
        }
    }

    /// The server that reads are to go to; `None`: any.
    pub(crate) fn reads_from(&self, now: Instant) -> Option<usize> {
        let is_pinned = self.writes_under_way > 0 || self.pinned_until.max(self.behind_until).is_some_and(|until| now < until);
        self.home.filter(|_| is_pinned)
    }

    /// An answer of `server` may lack a write that has ended.
    pub(crate) fn is_behind(&self, server: usize, now: Instant) -> bool {
        self.behind_until.is_some_and(|until| now < until) || self.reads_from(now).is_some_and(|home| home != server)
    }
}

/// So long reads follow a write: Active Directory tells the first partner of its site after 15 s and each further one 3 s later, which makes
/// 30 s enough for a site of six. OpenLDAP's `syncrepl` needs less; between sites it may be minutes, which no proxy can wait for.
pub(crate) const PINNED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(server: usize, now: Instant) -> Pin {
        let mut pin = Pin::default();
        pin.settle(server);
        pin.write_begins();
        pin.write_ended(server, true, now);
        pin
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn before_the_first_write_reads_go_anywhere() {
        let (pin, now) = (Pin::default(), Instant::now());
        assert_eq!((pin.home(), pin.reads_from(now), pin.is_behind(1, now)), (None, None, false));
    }

    #[test]
    fn reads_follow_a_write_for_30_s_and_the_home_stays() {
        let now = Instant::now();
        let pin = written(1, now);
        assert_eq!(pin.reads_from(now + seconds(30) - Duration::from_nanos(1)), Some(1));
        assert_eq!(pin.reads_from(now + seconds(30)), None);
        assert_eq!(pin.home(), Some(1));
    }

    #[test]
    fn reads_follow_while_a_write_is_under_way_however_long_and_not_after_a_refusal() {
        let now = Instant::now();
        let mut pin = Pin::default();
        pin.settle(0);
        pin.write_begins();
        pin.write_begins();
        assert_eq!(pin.reads_from(now + seconds(1000)), Some(0));
        pin.write_ended(0, false, now);
        assert_eq!(pin.reads_from(now), Some(0), "the other goes on");
        pin.write_ended(0, false, now);
        assert_eq!(pin.reads_from(now), None);
    }

    #[test]
    fn an_answer_from_elsewhere_is_behind_while_reads_are_pinned() {
        let now = Instant::now();
        let pin = written(1, now);
        assert!(pin.is_behind(0, now) && !pin.is_behind(1, now));
        assert!(!pin.is_behind(0, now + seconds(30)));
    }

    #[test]
    fn a_new_home_is_behind_until_the_old_ones_writes_have_travelled() {
        let now = Instant::now();
        let mut pin = written(0, now);
        pin.settle(1);
        pin.write_begins();
        pin.write_ended(1, true, now + seconds(20));
        assert!(pin.is_behind(1, now + seconds(29)));
        assert!(!pin.is_behind(1, now + seconds(30)));
        assert_eq!(pin.reads_from(now + seconds(49)), Some(1));
        assert!(pin.is_behind(0, now + seconds(49)));
    }

    #[test]
    fn a_write_that_ends_where_home_no_longer_is_leaves_the_new_home_behind() {
        let now = Instant::now();
        let mut pin = Pin::default();
        pin.settle(0);
        pin.write_begins();
        pin.settle(1);
        pin.write_ended(0, true, now);
        assert_eq!(pin.reads_from(now), Some(1));
        assert!(pin.is_behind(1, now + seconds(29)) && !pin.is_behind(1, now + seconds(30)));
    }
}
