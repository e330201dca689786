//! Finds an entry by its distinguished name: hashes in order, and the name itself as the proof.

use crate::ldap::dn::Dn;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The entries of a book by the hash of their normalised names.
#[derive(Debug)]
pub(super) struct Names {
    hashes: Box<[u64]>,
    ids: Box<[u32]>,
}

impl Names {
    /// Takes the names in the order of their ids.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a Dn>) -> Self {
        let mut pairs: Vec<(u64, u32)> = names.map(hash).zip(0..).collect();
        pairs.sort_unstable();
        let (hashes, ids): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        Self { hashes: hashes.into_boxed_slice(), ids: ids.into_boxed_slice() }
    }

    /// The entries that may have this name: nearly always one or none. The caller compares.
    pub(super) fn candidates(&self, name: &Dn) -> impl Iterator<Item = u32> {
        let wanted = hash(name);
        let from = self.hashes.partition_point(|hash| *hash < wanted);
        self.hashes.iter().zip(&self.ids).skip(from).take_while(move |(hash, _)| **hash == wanted).map(|(_, id)| *id)
    }

    /// The octets that it takes.
    pub(super) fn footprint(&self) -> u64 {
        self.ids.len() as u64 * 12
    }
}

/// The same in every process: nothing here depends on a random seed. A book's names come from its administrator.
fn hash(name: &Dn) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
