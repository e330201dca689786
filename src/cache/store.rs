//! Where answers are kept: weighed by octets, found by their whole key, outdated by generation.
//!
//! An invalidation does not look for entries: it moves the directory's generation, and what was asked for before is not found any more. That
//! takes the same short time however much is kept, and no fill in flight can bring an outdated answer back. The deadlines stored with an
//! answer decide how good it is; what has expired or is outdated gives its memory back in a sweep now and then, or when room is needed.
//!
//! Before the answers by key stands the first level ([`super::repeats`]): the same answers by the octets that asked for them. It finds only
//! what is kept here at that moment, and leaves all but a fresh answer to the slow way.

use super::Hashing;
use super::answer::Answer;
use super::freshness::{Deadlines, Freshness};
pub use super::history::Generation;
use super::history::{Histories, History};
use super::repeats::{Repeats, Spelled, Spelling};
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
    Fresh(Answer),
    /// Serve it, and ask again in the background; said to one asker every few seconds.
    RefreshDue(Answer),
    /// Ask; serve this only if the directory fails or dawdles.
    Stale(Answer),
    /// Ask.
    Miss,
}

/// The answers that are kept.
pub struct Store {
    kept: Cache<Box<[u8]>, Arc<Kept>, Weigh, Hashing, Leaving>,
    repeats: Repeats,
    hashing: Hashing,
    histories: Arc<Histories>,
    capacity: u64,
    longest: Duration,
    began_at: Instant,
    /// In which an answer was stored last.
    minute: AtomicU64,
    sweeps: Sweeps,
}

/// An answer and what decides whether it is served.
pub(super) struct Kept {
    answer: Answer,
    generation: Generation,
    /// Of the same directory: asked at each look-up, so it is at hand.
    history: Arc<History>,
    deadlines: Deadlines,
    stored_at: Instant,
    /// From when on the next asker is told to refresh, in milliseconds after `stored_at`.
    refresh_from: AtomicU64,
    /// It was replaced or thrown out.
    gone: AtomicBool,
    /// The store's minute when it was last found by its key.
    found_in: AtomicU64,
    /// The hash of the spelling that found it last by its key.
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
        Self::hashing_by(Hashing::random(), capacity, directories, longest)
    }

    /// The same, with a hash of one's own.
    pub fn hashing_by(hashing: Hashing, capacity: u64, directories: usize, longest: Duration) -> Self {
        Self::before(Arc::new(Histories::new(directories)), hashing, capacity, longest)
    }

    /// The same store for other bounds, with the answers of this one: itself where the bounds are the same. There are directories up to
    /// that number.
    pub fn succeeding(self: &Arc<Self>, capacity: u64, directories: usize, longest: Duration) -> Arc<Self> {
        self.histories.make_room(directories);
        if (capacity, longest) == (self.capacity, self.longest) {
            return Arc::clone(self);
        }
        let successor = Self::before(Arc::clone(&self.histories), self.hashing.clone(), capacity, longest);
        for (key, kept) in self.kept.iter() {
            if kept.answer.weight() <= successor.keep_limit() {
                successor.kept.insert(key, Arc::new(kept.elsewhere()));
            }
        }
        Arc::new(successor)
    }

    fn before(histories: Arc<Histories>, hashing: Hashing, capacity: u64, longest: Duration) -> Self {
        let for_repeats = capacity / REPEATS_PART;
        let kept = Cache::with_options(options(capacity - for_repeats, EXPECTED_OCTETS), Weigh, hashing.clone(), Leaving);
        Self {
            kept,
            repeats: Repeats::new(for_repeats, hashing.clone()),
            hashing,
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
        let answer = kept.answer.clone();
        match kept.deadlines.judge(now) {
            Freshness::Fresh => {
                self.found(&kept, spelling.map(|spelling| self.spelled(spelling)).as_ref());
                Lookup::Fresh(answer)
            }
            Freshness::RefreshDue if kept.claims_refresh(now) => Lookup::RefreshDue(answer),
            Freshness::RefreshDue => Lookup::Fresh(answer),
            Freshness::Stale => Lookup::Stale(answer),
            Freshness::Expired => Lookup::Miss,
        }
    }

    /// What [`Store::look_up`] would call fresh.
    pub(crate) fn look_up_fresh(&self, key: &[u8], spelled: &Spelled<'_>, now: Instant) -> Option<Again> {
        let kept = self.kept.get(key)?;
        let is_good = kept.generation.is_of(&kept.history) && kept.deadlines.judge(now) == Freshness::Fresh;
        is_good.then(|| {
            self.found(&kept, Some(spelled));
            Again(kept)
        })
    }

    /// What was answered to the same octets before, if that is what [`Store::look_up`] would call fresh. Once in each minute in which anything is
    /// stored it is not found here, so that the store knows what is in use when it must throw something out.
    pub fn look_up_again(&self, spelled: &Spelled<'_>, now: Instant) -> Option<Again> {
        let kept = self.repeats.find(spelled)?;
        let is_good = !kept.gone.load(Ordering::Acquire)
            && kept.generation.is_of(&kept.history)
            && kept.deadlines.judge(now) == Freshness::Fresh
            && kept.found_in.load(Ordering::Relaxed) == self.minute.load(Ordering::Relaxed);
        is_good.then_some(Again(kept))
    }

    /// That spelling, to be looked up here.
    pub fn spelled<'a>(&self, spelling: &Spelling<'a>) -> Spelled<'a> {
        self.repeats.spelled(spelling)
    }

    /// A fresh answer was found by its key, by a search in that spelling.
    fn found(&self, kept: &Arc<Kept>, spelled: Option<&Spelled<'_>>) {
        kept.found_in.store(self.minute.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Some(spelled) = spelled {
            self.note(spelled, kept);
        }
    }

    /// Remembers a spelling that comes a second time: what comes once only is not worth an allocation.
    fn note(&self, spelled: &Spelled<'_>, kept: &Arc<Kept>) {
        if kept.spelled.swap(spelled.hash(), Ordering::Relaxed) == spelled.hash()
            && !self.repeats.find(spelled).is_some_and(|known| Arc::ptr_eq(&known, kept))
        {
            self.repeats.remember(spelled, kept);
        }
    }

    /// Where the history of a directory (`None`: of all) stands; taken before a request leaves.
    pub fn generation(&self, directory: Option<usize>) -> Generation {
        self.histories.generation(directory)
    }

    /// Keeps a complete answer that was asked for at `generation`, unless a write overtook it, it is too large, or its lifetime is zero.
    /// `jitter` is from 0 to 1. Says whether it was kept.
    pub fn insert(&self, key: &[u8], answer: &Answer, generation: Generation, lifetimes: &Lifetimes, jitter: f64, now: Instant) -> bool {
        if answer.weight() > self.keep_limit() || generation != self.generation(generation.directory) {
            return false;
        }
        let Some(deadlines) = Deadlines::new(lifetimes, answer.entry_count() > 0, jitter, now) else { return false };
        let now_after = milliseconds(now.saturating_duration_since(self.began_at));
        self.minute.store(now_after / MINUTE, Ordering::Relaxed);
        self.sweep_when_due(now_after, now);
        let history = self.histories.of(generation.directory);
        // A write between the question above and this line does no harm: the generation is asked again at each look-up.
        self.kept.insert(key.into(), Arc::new(Kept::new(answer.clone(), generation, history, deadlines, now)));
        true
    }

    /// Gives back the memory of what nobody can be served any more, one shard's lock at a time.
    fn sweep_when_due(&self, now_after: u64, now: Instant) {
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
            if !stays {
                kept.gone.store(true, Ordering::Release);
            }
            stays
        });
    }

    /// What could still be served at `now`, and for how long.
    pub(crate) fn remaining(&self, now: Instant) -> impl Iterator<Item = Record> {
        self.kept.iter().filter(|(_, kept)| kept.generation.is_of(&kept.history)).filter_map(move |(key, kept)| {
            let (fresh_for, stale_for) = kept.deadlines.remaining(now)?;
            let answer = kept.answer.clone();
            Some(Record { key, directory: kept.generation.directory, fresh_for, stale_for, answer })
        })
    }

    /// Takes in what [`Store::remaining`] gave, now or before a restart. Says whether it was kept.
    pub(crate) fn restore(&self, record: Record, now: Instant) -> bool {
        let Record { key, directory, fresh_for, stale_for, answer } = record;
        if stale_for.is_zero() || answer.weight() > self.keep_limit() {
            return false;
        }
        let deadlines = Deadlines::restored((fresh_for, stale_for), now);
        let (generation, history) = (self.generation(directory), self.histories.of(directory));
        self.kept.insert(key, Arc::new(Kept::new(answer, generation, history, deadlines, now)));
        true
    }

    /// What could be served at `now`, with its key.
    pub fn held(&self, now: Instant) -> impl Iterator<Item = (Box<[u8]>, Held)> {
        self.kept.iter().filter_map(move |(key, kept)| Some((key, kept.held(now)?)))
    }

    /// Throws out the answers under the keys that go. Says how many of them could be served at `now`.
    pub fn throw_out(&self, goes: impl Fn(&[u8]) -> bool, now: Instant) -> usize {
        let mut count = 0;
        // Looked at without a lock that a hit would wait for; what is marked is not found by its spelling any more.
        for (_, kept) in self.kept.iter().filter(|(key, _)| goes(key)) {
            kept.gone.store(true, Ordering::Release);
            count += usize::from(kept.held(now).is_some());
        }
        self.keep_those(|kept| !kept.gone.load(Ordering::Acquire));
        count
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

    /// The most octets of one answer that is kept: a hundredth of the capacity, and less than 2 GiB.
    pub fn keep_limit(&self) -> usize {
        usize::try_from(self.capacity / 100).unwrap_or(usize::MAX).min(MOST_KEPT)
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

/// An answer that is kept, from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Since it was stored, or read from the cache's file.
    pub age: Duration,
    /// It is not past its time.
    pub is_fresh: bool,
    /// How long it may still be served.
    pub left: Duration,
    /// Its entries.
    pub entries: u32,
    /// Memory for it, without its key.
    pub octets: usize,
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
    const fn new(answer: Answer, generation: Generation, history: Arc<History>, deadlines: Deadlines, stored_at: Instant) -> Self {
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

    /// From outside; `None` where it may not be served at `now`.
    fn held(&self, now: Instant) -> Option<Held> {
        let (fresh_for, left) = self.deadlines.remaining(now).filter(|_| self.generation.is_of(&self.history))?;
        let age = now.saturating_duration_since(self.stored_at);
        Some(Held { age, is_fresh: !fresh_for.is_zero(), left, entries: self.answer.entry_count(), octets: self.answer.weight() })
    }

    /// The same answer in another store.
    fn elsewhere(&self) -> Self {
        Self::new(self.answer.clone(), self.generation, Arc::clone(&self.history), self.deadlines, self.stored_at)
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

/// Of one answer: its places are told in numbers of 32 bits, and so must be those of the message that turns out to be too much.
const MOST_KEPT: usize = (u32::MAX / 2) as usize;
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
/// In milliseconds.
const MINUTE: u64 = 60_000;
/// Between two attempts to refresh one answer.
const REFRESH_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
