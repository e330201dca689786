//! The first level: searches that come in the very octets that were asked before, by somebody who may see the same.
//!
//! A phone repeats itself octet for octet, and so do all phones of one model. What was found for the octets of a search is remembered under
//! them and under a [`Standing`], the number of everybody whose searches mean the same; a repeated search then needs neither be taken apart nor
//! decided on. Nothing can be found here that was not accepted once, and octets are compared in full.
//!
//! An answer is not kept here but only known: where the store no longer has it, or has another, it is not found.

use super::Hashing;
use super::store::{Kept, options};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

/// Who asks, as far as that decides what a search means: clients of one standing have the same accesses, and the same name where a search runs
/// under it. See [`crate::pipeline`]'s `standings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing(pub(crate) NonZeroU64);

/// A search without controls, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling<'a> {
    /// Who asks.
    pub standing: Standing,
    /// The protocolOp: all that stands behind the messageID.
    pub op: &'a [u8],
}

/// A [`Spelling`] and its hash, which a store makes once for all that it is asked about it.
#[derive(Debug, Clone, Copy)]
pub struct Spelled<'a> {
    spelling: Spelling<'a>,
    hash: u64,
}

/// What spellings were answered with.
pub(super) struct Repeats {
    known: Cache<Owned, Answered, Weigh, BuildHasherDefault<Hashed>>,
    hashing: Hashing,
}

/// What a spelling was answered with. The map has one that knows it, and gives out copies, which hold it: a copy that knew it too, and was
/// asked and forgotten then, would count its references twice more, which is as long as the look-up itself.
enum Answered {
    Known(Weak<Kept>),
    /// `None`: the store has given it back.
    Found(Option<Arc<Kept>>),
}

/// A [`Spelled`] that outlives its frame.
#[derive(PartialEq, Eq)]
struct Owned {
    standing: Standing,
    op: Box<[u8]>,
    hash: u64,
}

impl Repeats {
    /// Takes up to `capacity` octets.
    pub(super) fn new(capacity: u64, hashing: Hashing) -> Self {
        let options = options(capacity, EXPECTED_OCTETS);
        let known = Cache::with_options(options, Weigh, BuildHasherDefault::default(), DefaultLifecycle::default());
        Self { known, hashing }
    }

    /// That spelling, to be looked up here.
    #[inline]
    pub(super) fn spelled<'a>(&self, spelling: &Spelling<'a>) -> Spelled<'a> {
        Spelled { spelling: *spelling, hash: self.hashing.hash_one(spelling) }
    }

    /// What that spelling was answered with, as long as the store has it.
    pub(super) fn find(&self, spelled: &Spelled<'_>) -> Option<Arc<Kept>> {
        match self.known.get(spelled)? {
            Answered::Found(kept) => kept,
            Answered::Known(kept) => kept.upgrade(),
        }
    }

    /// Remembers what that spelling is answered with.
    pub(super) fn remember(&self, spelled: &Spelled<'_>, kept: &Arc<Kept>) {
        let &Spelled { spelling: Spelling { standing, op }, hash } = spelled;
        if op.len() <= LONGEST {
            self.known.insert(Owned { standing, op: op.into(), hash }, Answered::Known(Arc::downgrade(kept)));
        }
    }

    /// Octets held.
    pub(super) fn weight(&self) -> u64 {
        self.known.weight()
    }
}

impl Clone for Answered {
    fn clone(&self) -> Self {
        Self::Found(match self {
            Self::Known(kept) => kept.upgrade(),
            Self::Found(kept) => kept.clone(),
        })
    }
}

impl Hash for Spelling<'_> {
    /// Without the length, which would be hashed apart: it is in it by the octets.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.standing.hash(state);
        state.write(self.op);
    }
}

impl<'a> Spelled<'a> {
    /// What came.
    pub(super) const fn spelling(&self) -> &Spelling<'a> {
        &self.spelling
    }

    /// A number that two different spellings hardly ever share.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }
}

impl Equivalent<Owned> for Spelled<'_> {
    fn equivalent(&self, owned: &Owned) -> bool {
        self.spelling.standing == owned.standing && *self.spelling.op == *owned.op
    }
}

impl Hash for Spelled<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hash that something has already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, octets: &[u8]) {
        debug_assert!(octets.is_empty(), "what has its hash says nothing else");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Owned, Answered> for Weigh {
    fn weight(&self, spelling: &Owned, _: &Answered) -> u64 {
        (spelling.op.len() + OVERHEAD) as u64
    }
}

/// Of a search that is remembered: phones send less than half of it.
const LONGEST: usize = 1024;
/// Octets that a spelling takes beyond its own: the map's nodes, and what is left of an answer that is known and no longer kept.
const OVERHEAD: usize = 320;
/// Of a spelling that is remembered, about.
const EXPECTED_OCTETS: u64 = 512;
