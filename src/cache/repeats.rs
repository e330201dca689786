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
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

/// Who asks, as far as that decides what a search means: clients of one standing have the same accesses, and the same name where a search runs
/// under it. See [`crate::pipeline`]'s `standings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing(pub(crate) NonZeroU64);

/// A search without controls, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spelling<'a> {
    /// Who asks.
    pub standing: Standing,
    /// The protocolOp: all that stands behind the messageID.
    pub op: &'a [u8],
}

/// What spellings were answered with.
pub(super) struct Repeats {
    known: Cache<Owned, Weak<Kept>, Weigh, Hashing, DefaultLifecycle<Owned, Weak<Kept>>>,
    hashing: Hashing,
}

/// A [`Spelling`] that outlives its frame. The two hash alike.
#[derive(Hash, PartialEq, Eq)]
struct Owned {
    standing: Standing,
    op: Box<[u8]>,
}

impl Repeats {
    /// Takes up to `capacity` octets.
    pub(super) fn new(capacity: u64, hashing: Hashing) -> Self {
        let known = Cache::with_options(options(capacity, EXPECTED_OCTETS), Weigh, hashing.clone(), DefaultLifecycle::default());
        Self { known, hashing }
    }

    /// What that spelling was answered with, as long as the store has it.
    pub(super) fn find(&self, spelling: &Spelling<'_>) -> Option<Arc<Kept>> {
        self.known.get(spelling)?.upgrade()
    }

    /// Remembers what that spelling is answered with.
    pub(super) fn remember(&self, spelling: &Spelling<'_>, kept: &Arc<Kept>) {
        if spelling.op.len() <= LONGEST {
            self.known.insert(Owned { standing: spelling.standing, op: spelling.op.into() }, Arc::downgrade(kept));
        }
    }

    /// A number that two different spellings hardly ever share.
    pub(super) fn fingerprint(&self, spelling: &Spelling<'_>) -> u64 {
        self.hashing.hash_one(spelling)
    }

    /// Octets held.
    pub(super) fn weight(&self) -> u64 {
        self.known.weight()
    }
}

impl Equivalent<Owned> for Spelling<'_> {
    fn equivalent(&self, owned: &Owned) -> bool {
        self.standing == owned.standing && *self.op == *owned.op
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Owned, Weak<Kept>> for Weigh {
    fn weight(&self, spelling: &Owned, _: &Weak<Kept>) -> u64 {
        (spelling.op.len() + OVERHEAD) as u64
    }
}

/// Of a search that is remembered: phones send less than half of it.
const LONGEST: usize = 1024;
/// Octets that a spelling takes beyond its own: the map's nodes, and what is left of an answer that is known and no longer kept.
const OVERHEAD: usize = 320;
/// Of a spelling that is remembered, about.
const EXPECTED_OCTETS: u64 = 512;
