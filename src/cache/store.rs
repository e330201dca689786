//! Where answers are kept: weighed by octets, found by their whole key, outdated by generation.
//!
//! An invalidation does not look for entries: it moves the directory's generation, and what was asked for before is not found any more. That
//! takes the same short time however much is kept, and no fill in flight can bring an outdated answer back. The deadlines stored with an
//! answer decide how good it is; the expiry of the map underneath only frees memory, by a clock of its own.

use super::answer::Answer;
use super::freshness::{Deadlines, Freshness};
pub use super::history::Generation;
use super::history::{Histories, History};
use crate::config::Lifetimes;
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What the cache knows under a key.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// Serve it.
    Fresh(Arc<Answer>),
    /// Serve it, and ask again in the background; said to one asker every few seconds.
    RefreshDue(Arc<Answer>),
    /// Ask; serve this only if the directory fails or dawdles.
    Stale(Arc<Answer>),
    /// Ask.
    Miss,
}

/// The answers that are kept.
pub struct Store {
    kept: Cache<Box<[u8]>, Arc<Kept>, foldhash::quality::RandomState>,
    histories: Arc<Histories>,
    capacity: u64,
    longest: Duration,
}

/// An answer and what decides whether it is served.
struct Kept {
    answer: Arc<Answer>,
    generation: Generation,
    /// Of the same directory: asked at each look-up, so it is at hand.
    history: Arc<History>,
    deadlines: Deadlines,
    stored_at: Instant,
    /// From when on the next asker is told to refresh, in milliseconds after `stored_at`.
    refresh_from: AtomicU64,
}

/// A write under way. When it is dropped without a word, it may have changed something, and the cache forgets its directory.
#[derive(Debug)]
pub struct WriteUnderWay {
    store: Arc<Store>,
    directory: usize,
    may_have_changed: bool,
}

impl WriteUnderWay {
    /// It was clearly refused, or never left.
    pub fn changed_nothing(mut self) {
        self.may_have_changed = false;
    }
}

impl Drop for WriteUnderWay {
    fn drop(&mut self) {
        self.store.histories.write_ended(self.directory, self.may_have_changed);
    }
}

impl Store {
    /// Holds up to `capacity` octets of answers from that many directories. After `longest` no answer may be served any more, whatever its
    /// own deadlines, so its memory is freed.
    pub fn new(capacity: u64, directories: usize, longest: Duration) -> Self {
        Self::before(Arc::new(Histories::new(directories)), capacity, longest)
    }

    /// The same store for other bounds, with the answers of this one: itself where the bounds are the same. There are directories up to
    /// that number.
    pub fn succeeding(self: &Arc<Self>, capacity: u64, directories: usize, longest: Duration) -> Arc<Self> {
        self.histories.make_room(directories);
        if (capacity, longest) == (self.capacity, self.longest) {
            return Arc::clone(self);
        }
        let successor = Self::before(Arc::clone(&self.histories), capacity, longest);
        for (key, kept) in &self.kept {
            if kept.answer.weight() <= successor.keep_limit() {
                successor.kept.insert((*key).clone(), kept);
            }
        }
        successor.kept.run_pending_tasks();
        Arc::new(successor)
    }

    fn before(histories: Arc<Histories>, capacity: u64, longest: Duration) -> Self {
        let kept = Cache::<Box<[u8]>, Arc<Kept>>::builder()
            .max_capacity(capacity)
            .weigher(|key, kept| weight(key, kept))
            // One expiry for all: an expiry per entry would make the map's housekeeping, which some hits do, allocate.
            .time_to_live(longest)
            .build_with_hasher(foldhash::quality::RandomState::default());
        Self { kept, histories, capacity, longest }
    }

    /// What is known under `key`.
    pub fn look_up(&self, key: &[u8], now: Instant) -> Lookup {
        let Some(kept) = self.kept.get(key) else { return Lookup::Miss };
        if !kept.generation.is_of(&kept.history) {
            return Lookup::Miss;
        }
        let answer = Arc::clone(&kept.answer);
        match kept.deadlines.judge(now) {
            Freshness::Fresh => Lookup::Fresh(answer),
            Freshness::RefreshDue if kept.claims_refresh(now) => Lookup::RefreshDue(answer),
            Freshness::RefreshDue => Lookup::Fresh(answer),
            Freshness::Stale => Lookup::Stale(answer),
            Freshness::Expired => Lookup::Miss,
        }
    }

    /// Where the history of a directory (`None`: of all) stands; taken before a request leaves.
    pub fn generation(&self, directory: Option<usize>) -> Generation {
        self.histories.generation(directory)
    }

    /// Keeps a complete answer that was asked for at `generation`, unless a write overtook it, it is too large, or its lifetime is zero.
    /// `jitter` is from 0 to 1. Says whether it was kept.
    pub fn insert(
        &self,
        key: &[u8],
        answer: &Arc<Answer>,
        generation: Generation,
        lifetimes: &Lifetimes,
        jitter: f64,
        now: Instant,
    ) -> bool {
        if answer.weight() > self.keep_limit() || generation != self.generation(generation.directory) {
            return false;
        }
        let Some(deadlines) = Deadlines::new(lifetimes, answer.entry_count() > 0, jitter, now) else { return false };
        let history = self.histories.of(generation.directory);
        let kept = Kept { answer: Arc::clone(answer), generation, history, deadlines, stored_at: now, refresh_from: AtomicU64::default() };
        // A write between the question above and this line does no harm: the generation is asked again at each look-up.
        self.kept.insert(key.into(), Arc::new(kept));
        // The map counts the new entry, and makes room for it, in its housekeeping: now, and not in somebody's hit.
        self.kept.run_pending_tasks();
        true
    }

    /// Nothing that was asked of that directory before now is served again.
    pub fn invalidate_directory(&self, directory: usize) {
        self.histories.moves_on(directory);
    }

    /// A write is about to be sent to that directory. It has ended when what is returned is dropped.
    pub fn write_begins(self: &Arc<Self>, directory: usize) -> WriteUnderWay {
        self.histories.write_begins(directory);
        WriteUnderWay { store: Arc::clone(self), directory, may_have_changed: true }
    }

    /// A read of that directory (`None`: of several) has ended, and its answer has been given to nobody yet.
    pub fn read_ended(&self, directory: Option<usize>) {
        self.histories.read_ended(directory);
    }

    /// The most octets of one answer that is kept: a hundredth of the capacity.
    pub fn keep_limit(&self) -> usize {
        usize::try_from(self.capacity / 100).unwrap_or(usize::MAX)
    }

    /// Answers and octets held. The sweeping that is due is done first; what a write has outdated counts until it expires.
    pub fn holds(&self) -> (u64, u64) {
        self.kept.run_pending_tasks();
        (self.kept.entry_count(), self.kept.weighted_size())
    }
}

impl std::fmt::Debug for Store {
    /// How much, not what: answers are people's names and numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (entries, octets) = self.holds();
        f.debug_struct("Store")
            .field("entries", &entries)
            .field("octets", &octets)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// True for one asker every [`REFRESH_AGAIN`]: a refresh that failed is tried again, but not by each hit.
    fn claims_refresh(&self, now: Instant) -> bool {
        let now = milliseconds(now.saturating_duration_since(self.stored_at));
        let from = self.refresh_from.load(Ordering::Relaxed);
        let next = now.saturating_add(milliseconds(REFRESH_AGAIN));
        now >= from && self.refresh_from.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn weight(key: &[u8], kept: &Kept) -> u32 {
    u32::try_from(key.len() + kept.answer.weight() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Octets that an entry takes beyond its key and answer: the map's nodes, its timer and policy, [`Kept`], and the allocator's rounding.
const ENTRY_OVERHEAD: usize = 640;
/// Between two attempts to refresh one answer.
const REFRESH_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::answer::AnswerBuilder;
    use crate::ldap::message::ResultCode;

    const LIFETIMES: Lifetimes =
        Lifetimes { ttl: Duration::from_secs(100), empty_ttl: Duration::from_secs(10), stale: Duration::from_secs(1000), refresh: 0.8 };

    fn answer(octets: usize) -> Arc<Answer> {
        let mut builder = AnswerBuilder::default();
        builder.push_entry(&vec![0x64; octets]);
        Arc::new(builder.finish(ResultCode::SUCCESS, &[0x65, 0]))
    }

    fn store() -> Store {
        Store::new(1 << 20, 2, seconds(2_000))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn is_found(store: &Store, key: &[u8], now: Instant) -> bool {
        matches!(store.look_up(key, now), Lookup::Fresh(_))
    }

    #[test]
    fn an_answer_is_found_by_its_whole_key() {
        let (store, now) = (store(), Instant::now());
        let kept = answer(10);
        assert!(store.insert(b"key", &kept, store.generation(Some(0)), &LIFETIMES, 0.0, now));
        let Lookup::Fresh(found) = store.look_up(b"key", now) else { panic!("it was just stored") };
        assert!(Arc::ptr_eq(&found, &kept));
        assert!(!is_found(&store, b"ke", now) && !is_found(&store, b"keys", now) && !is_found(&store, b"", now));
    }

    #[test]
    fn time_decides_how_good_it_is() {
        let (store, now) = (store(), Instant::now());
        assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        assert!(matches!(store.look_up(b"key", now + seconds(79)), Lookup::Fresh(_)));
        assert!(matches!(store.look_up(b"key", now + seconds(80)), Lookup::RefreshDue(_)));
        assert!(matches!(store.look_up(b"key", now + seconds(100)), Lookup::Stale(_)));
        assert!(matches!(store.look_up(b"key", now + seconds(1100)), Lookup::Miss));
    }

    #[test]
    fn one_asker_every_few_seconds_is_told_to_refresh() {
        let (store, now) = (store(), Instant::now());
        assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        let due = |after: u64| matches!(store.look_up(b"key", now + seconds(after)), Lookup::RefreshDue(_));
        assert_eq!([due(80), due(80), due(84), due(85), due(86), due(95)], [true, false, false, true, false, true]);
    }

    #[test]
    fn an_invalidation_hides_what_was_asked_before() {
        let (store, now) = (store(), Instant::now());
        for directory in [0, 1] {
            assert!(store.insert(&[directory], &answer(10), store.generation(Some(directory.into())), &LIFETIMES, 0.0, now));
        }
        assert!(store.insert(b"both", &answer(10), store.generation(None), &LIFETIMES, 0.0, now));
        store.invalidate_directory(1);
        assert!(is_found(&store, &[0], now));
        assert!(!is_found(&store, &[1], now));
        assert!(!is_found(&store, b"both", now));
        assert!(matches!(store.look_up(&[1], now + seconds(200)), Lookup::Miss), "nor as a stale one");
    }

    #[test]
    fn a_fill_that_a_write_overtook_is_not_kept() {
        let (store, now) = (store(), Instant::now());
        let (one, all) = (store.generation(Some(0)), store.generation(None));
        store.invalidate_directory(0);
        assert!(!store.insert(b"key", &answer(10), one, &LIFETIMES, 0.0, now));
        assert!(!store.insert(b"key", &answer(10), all, &LIFETIMES, 0.0, now));
        assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        assert!(is_found(&store, b"key", now));
    }

    #[test]
    fn an_overtaken_fill_does_not_replace_a_newer_answer() {
        let (store, now) = (store(), Instant::now());
        let before = store.generation(Some(0));
        store.invalidate_directory(0);
        let newer = answer(10);
        assert!(store.insert(b"key", &newer, store.generation(Some(0)), &LIFETIMES, 0.0, now));
        assert!(!store.insert(b"key", &answer(10), before, &LIFETIMES, 0.0, now));
        let Lookup::Fresh(found) = store.look_up(b"key", now) else { panic!("the newer one stays") };
        assert!(Arc::ptr_eq(&found, &newer));
    }

    #[test]
    fn more_than_a_hundredth_of_the_capacity_is_not_kept() {
        let (store, now) = (Store::new(1_000_000, 1, seconds(2_000)), Instant::now());
        assert!(!store.insert(b"large", &answer(10_000), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        assert!(store.insert(b"small", &answer(9_000), store.generation(Some(0)), &LIFETIMES, 0.0, now));
    }

    #[test]
    fn a_lifetime_of_zero_is_not_kept() {
        let (store, now) = (store(), Instant::now());
        let lifetimes = Lifetimes { ttl: Duration::ZERO, ..LIFETIMES };
        assert!(!store.insert(b"key", &answer(10), store.generation(Some(0)), &lifetimes, 0.0, now));
        let empty = Arc::new(AnswerBuilder::default().finish(ResultCode::SUCCESS, &[0x65, 0]));
        assert!(store.insert(b"empty", &empty, store.generation(Some(0)), &lifetimes, 0.0, now), "the other lifetime is not zero");
    }

    #[test]
    fn the_capacity_counts_octets_and_holds() {
        let (store, now) = (Store::new(200_000, 1, seconds(2_000)), Instant::now());
        for number in 0u32..2_000 {
            store.insert(&number.to_be_bytes(), &answer(1_000), store.generation(Some(0)), &LIFETIMES, 0.0, now);
        }
        let (entries, octets) = store.holds();
        assert!(octets <= 200_000, "{octets} octets");
        assert!((50..200).contains(&entries), "{entries} entries");
    }

    #[test]
    fn under_other_bounds_the_answers_stay_and_their_histories_go_on() {
        let (store, now) = (Arc::new(Store::new(1_000_000, 2, seconds(2_000))), Instant::now());
        for directory in [0u8, 1] {
            assert!(store.insert(&[directory], &answer(10), store.generation(Some(directory.into())), &LIFETIMES, 0.0, now));
        }
        assert!(store.insert(b"large", &answer(9_000), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        assert!(Arc::ptr_eq(&store, &store.succeeding(1_000_000, 3, seconds(2_000))), "the same bounds");
        let write = store.write_begins(1);
        let smaller = store.succeeding(500_000, 3, seconds(2_000));
        assert!(matches!(smaller.look_up(&[0], now), Lookup::Fresh(_)));
        assert!(matches!(smaller.look_up(&[1], now), Lookup::Fresh(_)));
        assert!(matches!(smaller.look_up(b"large", now), Lookup::Miss), "over a hundredth of the capacity");
        drop(write);
        assert!(matches!(smaller.look_up(&[1], now), Lookup::Miss), "a write that began before ends after");
        assert!(smaller.insert(b"new", &answer(10), smaller.generation(Some(2)), &LIFETIMES, 0.0, now));
        smaller.invalidate_directory(2);
        assert!(matches!(smaller.look_up(b"new", now), Lookup::Miss), "a directory that came later has a history");
    }
}
