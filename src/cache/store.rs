//! Where answers are kept: weighed by octets, found by their whole key, outdated by generation.
//!
//! An invalidation does not look for entries: it moves the directory's generation, and what was asked for before is not found any more. That
//! takes the same short time however much is kept, and no fill in flight can bring an outdated answer back. The deadlines stored with an
//! answer decide how good it is; what has expired or is outdated gives its memory back in a sweep now and then, or when room is needed.
//!
//! Before the answers by key stands the first level ([`super::repeats`]): the same answers by the octets that asked for them. It finds only
//! what is kept here at that moment, and leaves all but a fresh answer to the slow way.

use super::answer::Answer;
use super::freshness::{Deadlines, Freshness};
pub use super::history::Generation;
use super::history::{Histories, History};
use super::repeats::{Repeats, Spelling};
use super::snapshot::Record;
use crate::config::Lifetimes;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, Options, OptionsBuilder, Weighter};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    kept: Cache<Box<[u8]>, Arc<Kept>, Weigh, foldhash::quality::RandomState, Leaving>,
    repeats: Repeats,
    histories: Arc<Histories>,
    capacity: u64,
    longest: Duration,
    began_at: Instant,
    /// Of the last look-up by key.
    minute: AtomicU64,
    sweeps: Sweeps,
}

/// An answer and what decides whether it is served.
pub(super) struct Kept {
    answer: Arc<Answer>,
    generation: Generation,
    /// Of the same directory: asked at each look-up, so it is at hand.
    history: Arc<History>,
    deadlines: Deadlines,
    stored_at: Instant,
    /// From when on the next asker is told to refresh, in milliseconds after `stored_at`.
    refresh_from: AtomicU64,
    /// It was replaced or thrown out.
    gone: AtomicBool,
    /// The minute in which it was last found by its key.
    found_in: AtomicU64,
    /// The fingerprint of the spelling that found it last by its key.
    spelled: AtomicU64,
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
    /// Holds up to `capacity` octets of answers from that many directories, and of what they were asked with. After `longest` no answer may
    /// be served any more, whatever its own deadlines.
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
        for (key, kept) in self.kept.iter() {
            if kept.answer.weight() <= successor.keep_limit() {
                successor.kept.insert(key, Arc::new(kept.elsewhere()));
            }
        }
        Arc::new(successor)
    }

    fn before(histories: Arc<Histories>, capacity: u64, longest: Duration) -> Self {
        let for_repeats = capacity / REPEATS_PART;
        let random = foldhash::quality::RandomState::default();
        let kept = Cache::with_options(options(capacity - for_repeats, EXPECTED_OCTETS), Weigh, random, Leaving);
        Self {
            kept,
            repeats: Repeats::new(for_repeats),
            histories,
            capacity,
            longest,
            began_at: Instant::now(),
            minute: AtomicU64::default(),
            sweeps: Sweeps { every: milliseconds(longest / 4).max(1_000), next: AtomicU64::new(0) },
        }
    }

    /// What is known under `key`. Where the search came in a `spelling` that may be remembered, and comes in it again, the first level will know.
    pub fn look_up(&self, key: &[u8], spelling: Option<&Spelling<'_>>, now: Instant) -> Lookup {
        let Some(kept) = self.kept.get(key) else { return Lookup::Miss };
        if !kept.generation.is_of(&kept.history) {
            return Lookup::Miss;
        }
        let answer = Arc::clone(&kept.answer);
        match kept.deadlines.judge(now) {
            Freshness::Fresh => {
                kept.found_in.store(self.minute(now), Ordering::Relaxed);
                if let Some(spelling) = spelling {
                    self.note(spelling, &kept);
                }
                Lookup::Fresh(answer)
            }
            Freshness::RefreshDue if kept.claims_refresh(now) => Lookup::RefreshDue(answer),
            Freshness::RefreshDue => Lookup::Fresh(answer),
            Freshness::Stale => Lookup::Stale(answer),
            Freshness::Expired => Lookup::Miss,
        }
    }

    /// What was answered to the same octets before, if that is what [`Store::look_up`] would call fresh. Once a minute, if others are looked
    /// up by key at all, it is not found here, so that the store knows what is in use when it must throw something out.
    pub fn look_up_again(&self, spelling: &Spelling<'_>, now: Instant) -> Option<Again> {
        let kept = self.repeats.find(spelling)?;
        let is_good = !kept.gone.load(Ordering::Acquire)
            && kept.generation.is_of(&kept.history)
            && kept.deadlines.judge(now) == Freshness::Fresh
            && kept.found_in.load(Ordering::Relaxed) == self.minute.load(Ordering::Relaxed);
        is_good.then_some(Again(kept))
    }

    /// The minute of `now`, noted for the first level.
    fn minute(&self, now: Instant) -> u64 {
        let minute = now.saturating_duration_since(self.began_at).as_secs() / 60;
        self.minute.store(minute, Ordering::Relaxed);
        minute
    }

    /// Remembers a spelling that comes a second time: what comes once only is not worth an allocation.
    fn note(&self, spelling: &Spelling<'_>, kept: &Arc<Kept>) {
        let fingerprint = self.repeats.fingerprint(spelling);
        if kept.spelled.swap(fingerprint, Ordering::Relaxed) == fingerprint
            && !self.repeats.find(spelling).is_some_and(|known| Arc::ptr_eq(&known, kept))
        {
            self.repeats.remember(spelling, kept);
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
        self.sweep_when_due(now);
        let history = self.histories.of(generation.directory);
        // A write between the question above and this line does no harm: the generation is asked again at each look-up.
        self.kept.insert(key.into(), Arc::new(Kept::new(Arc::clone(answer), generation, history, deadlines, now)));
        true
    }

    /// Gives back the memory of what nobody can be served any more, one shard's lock at a time.
    fn sweep_when_due(&self, now: Instant) {
        let now_after = milliseconds(now.saturating_duration_since(self.began_at));
        let due = self.sweeps.next.load(Ordering::Relaxed);
        let next = now_after.saturating_add(self.sweeps.every);
        if now_after >= due && self.sweeps.next.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.keep_those(|kept| kept.deadlines.judge(now) != Freshness::Expired && kept.generation.is_of(&kept.history));
        }
    }

    /// Gives memory back: what is past its time, or, where there is nothing of that kind, every second answer.
    pub fn relieve(&self, now: Instant) {
        let is_good = |kept: &Kept| {
            matches!(kept.deadlines.judge(now), Freshness::Fresh | Freshness::RefreshDue) && kept.generation.is_of(&kept.history)
        };
        let held = self.kept.len();
        self.keep_those(is_good);
        if self.kept.len() == held {
            let is_second = Cell::new(false);
            self.keep_those(|_| is_second.replace(!is_second.get()));
        }
    }

    fn keep_those(&self, stays: impl Fn(&Kept) -> bool) {
        self.kept.retain(|_, kept| {
            let stays = stays(kept);
            kept.gone.store(!stays, Ordering::Release);
            stays
        });
    }

    /// What could still be served at `now`, and for how long.
    pub fn remaining(&self, now: Instant) -> impl Iterator<Item = Record> {
        self.kept.iter().filter(|(_, kept)| kept.generation.is_of(&kept.history)).filter_map(move |(key, kept)| {
            let (fresh_for, stale_for) = kept.deadlines.remaining(now)?;
            let answer = Arc::clone(&kept.answer);
            Some(Record { key, directory: kept.generation.directory, fresh_for, stale_for, answer })
        })
    }

    /// Takes in what [`Store::remaining`] gave, now or before a restart. Says whether it was kept.
    pub fn restore(&self, record: Record, now: Instant) -> bool {
        let Record { key, directory, fresh_for, stale_for, answer } = record;
        if stale_for.is_zero() || answer.weight() > self.keep_limit() {
            return false;
        }
        let deadlines = Deadlines::restored((fresh_for, stale_for), now);
        let (generation, history) = (self.generation(directory), self.histories.of(directory));
        self.kept.insert(key, Arc::new(Kept::new(answer, generation, history, deadlines, now)));
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

    /// Answers, and octets held for them. What has expired or is outdated counts until it is swept.
    pub fn holds(&self) -> (u64, u64) {
        (self.kept.len() as u64, self.kept.weight() + self.repeats.weight())
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

/// An answer that the first level found.
pub struct Again(Arc<Kept>);

impl Again {
    /// The answer.
    pub fn answer(&self) -> &Answer {
        &self.0.answer
    }
}

impl Kept {
    const fn new(answer: Arc<Answer>, generation: Generation, history: Arc<History>, deadlines: Deadlines, stored_at: Instant) -> Self {
        Self {
            answer,
            generation,
            history,
            deadlines,
            stored_at,
            refresh_from: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            found_in: AtomicU64::new(u64::MAX),
            spelled: AtomicU64::new(0),
        }
    }

    /// The same answer in another store.
    fn elsewhere(&self) -> Self {
        Self::new(Arc::clone(&self.answer), self.generation, Arc::clone(&self.history), self.deadlines, self.stored_at)
    }

    /// True for one asker every [`REFRESH_AGAIN`]: a refresh that failed is tried again, but not by each hit.
    fn claims_refresh(&self, now: Instant) -> bool {
        let now = milliseconds(now.saturating_duration_since(self.stored_at));
        let from = self.refresh_from.load(Ordering::Relaxed);
        let next = now.saturating_add(milliseconds(REFRESH_AGAIN));
        now >= from && self.refresh_from.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// When memory is given back next, in milliseconds.
struct Sweeps {
    every: u64,
    next: AtomicU64,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Box<[u8]>, Arc<Kept>> for Weigh {
    fn weight(&self, key: &Box<[u8]>, kept: &Arc<Kept>) -> u64 {
        (key.len() + kept.answer.weight() + ENTRY_OVERHEAD) as u64
    }
}

/// Marks what leaves the map, before anybody can find what came in its place, and drops it when the map's lock is free again.
#[derive(Clone)]
struct Leaving;

impl Lifecycle<Box<[u8]>, Arc<Kept>> for Leaving {
    type RequestState = Vec<Arc<Kept>>;

    fn on_evict(&self, leaving: &mut Self::RequestState, _: Box<[u8]>, kept: Arc<Kept>) {
        kept.gone.store(true, Ordering::Release);
        leaving.push(kept);
    }
}

/// A map for `capacity` octets in entries of about so many.
pub(super) fn options(capacity: u64, expected_octets: u64) -> Options {
    let expected = usize::try_from(capacity / expected_octets).unwrap_or(MOST_EXPECTED).clamp(SHARDS * 32, MOST_EXPECTED);
    let mut builder = OptionsBuilder::new();
    builder.weight_capacity(capacity).estimated_items_capacity(expected).shards(SHARDS);
    #[expect(clippy::expect_used, reason = "it fails only where one of the two that must be set is not")]
    builder.build().expect("the capacity and the expected number are set")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Octets that an entry takes beyond its key and answer: the map's nodes, [`Kept`], and the allocator's rounding.
const ENTRY_OVERHEAD: usize = 512;
/// Of the capacity, the first level has one part in so many.
const REPEATS_PART: u64 = 16;
/// Locks. Few enough that one answer of [`Store::keep_limit`] fits the part of the capacity behind each.
const SHARDS: usize = 32;
/// Of an answer and its key, about.
const EXPECTED_OCTETS: u64 = 2048;
/// Entries that a map remembers to have thrown out lately: half as many as this.
const MOST_EXPECTED: usize = 1 << 20;
/// Between two attempts to refresh one answer.
const REFRESH_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Standing;
    use crate::cache::answer::AnswerBuilder;
    use crate::ldap::message::ResultCode;
    use proptest::prelude::*;
    use std::num::NonZeroU64;

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
        matches!(store.look_up(key, None, now), Lookup::Fresh(_))
    }

    #[test]
    fn an_answer_is_found_by_its_whole_key() {
        let (store, now) = (store(), Instant::now());
        let kept = answer(10);
        assert!(store.insert(b"key", &kept, store.generation(Some(0)), &LIFETIMES, 0.0, now));
        let Lookup::Fresh(found) = store.look_up(b"key", None, now) else { panic!("it was just stored") };
        assert!(Arc::ptr_eq(&found, &kept));
        assert!(!is_found(&store, b"ke", now) && !is_found(&store, b"keys", now) && !is_found(&store, b"", now));
    }

    #[test]
    fn time_decides_how_good_it_is() {
        let (store, now) = (store(), Instant::now());
        assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        assert!(matches!(store.look_up(b"key", None, now + seconds(79)), Lookup::Fresh(_)));
        assert!(matches!(store.look_up(b"key", None, now + seconds(80)), Lookup::RefreshDue(_)));
        assert!(matches!(store.look_up(b"key", None, now + seconds(100)), Lookup::Stale(_)));
        assert!(matches!(store.look_up(b"key", None, now + seconds(1100)), Lookup::Miss));
    }

    #[test]
    fn one_asker_every_few_seconds_is_told_to_refresh() {
        let (store, now) = (store(), Instant::now());
        assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        let due = |after: u64| matches!(store.look_up(b"key", None, now + seconds(after)), Lookup::RefreshDue(_));
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
        assert!(matches!(store.look_up(&[1], None, now + seconds(200)), Lookup::Miss), "nor as a stale one");
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
        let Lookup::Fresh(found) = store.look_up(b"key", None, now) else { panic!("the newer one stays") };
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
        assert!(matches!(smaller.look_up(&[0], None, now), Lookup::Fresh(_)));
        assert!(matches!(smaller.look_up(&[1], None, now), Lookup::Fresh(_)));
        assert!(matches!(smaller.look_up(b"large", None, now), Lookup::Miss), "over a hundredth of the capacity");
        drop(write);
        assert!(matches!(smaller.look_up(&[1], None, now), Lookup::Miss), "a write that began before ends after");
        assert!(smaller.insert(b"new", &answer(10), smaller.generation(Some(2)), &LIFETIMES, 0.0, now));
        smaller.invalidate_directory(2);
        assert!(matches!(smaller.look_up(b"new", None, now), Lookup::Miss), "a directory that came later has a history");
    }

    #[derive(Debug, Clone)]
    enum Event {
        /// Of that search, in that spelling.
        Asked(u8, u8),
        /// An answer to that search came.
        Came(u8),
        Written(usize),
        Passed(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            6 => (0u8..6, 0u8..2).prop_map(|(search, spelling)| Event::Asked(search, spelling)),
            2 => (0u8..6).prop_map(Event::Came),
            1 => (0usize..2).prop_map(Event::Written),
            1 => prop_oneof![0u64..3, 50u64..100, 900u64..1200].prop_map(Event::Passed),
        ];
        prop::collection::vec(event, 0..120)
    }

    fn standing() -> Standing {
        Standing(NonZeroU64::MIN)
    }

    #[test]
    fn the_second_time_a_spelling_comes_it_is_remembered() {
        let (store, now) = (store(), Instant::now());
        let spelling = Spelling { standing: standing(), op: b"as it came" };
        assert!(store.insert(b"key", &answer(10), store.generation(Some(0)), &LIFETIMES, 0.0, now));
        let mut known = Vec::new();
        for _ in 0..3 {
            known.push(store.look_up_again(&spelling, now).is_some());
            assert!(matches!(store.look_up(b"key", Some(&spelling), now), Lookup::Fresh(_)));
        }
        assert_eq!(known, [false, false, true]);
        let other = Spelling { standing: Standing(NonZeroU64::MAX), ..spelling };
        assert!(store.look_up_again(&other, now).is_none(), "somebody else's");
        assert!(store.look_up_again(&Spelling { op: b"as it cam", ..spelling }, now).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_the_first_level_finds_is_what_the_key_finds_fresh(events in events()) {
            // So small that answers are thrown out.
            let (store, mut now) = (Store::new(60_000, 2, seconds(2_000)), Instant::now());
            for event in events {
                match event {
                    Event::Asked(search, spelling) => {
                        let spelling = Spelling { standing: standing(), op: &[search, spelling] };
                        let again = store.look_up_again(&spelling, now).map(|again| std::ptr::from_ref(again.answer()));
                        let by_key = store.look_up(&[search], Some(&spelling), now);
                        if let Some(again) = again {
                            let Lookup::Fresh(answer) = by_key else { panic!("{by_key:?}") };
                            prop_assert!(std::ptr::eq(again, Arc::as_ptr(&answer)));
                        }
                    }
                    Event::Came(search) => {
                        let generation = store.generation(Some(usize::from(search % 2)));
                        store.insert(&[search], &answer(400), generation, &LIFETIMES, 0.0, now);
                    }
                    Event::Written(directory) => store.invalidate_directory(directory),
                    Event::Passed(time) => now += seconds(time),
                }
            }
        }
    }
}
