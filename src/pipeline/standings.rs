//! Who counts as the same asker: a small number for all whose searches mean the same, so that a repeated search needs no decision.
//!
//! What a search means depends on its asker in two ways only: which accesses are for them, and under whose name it runs where it runs as the
//! client. Both are known once a session's identity is; a number given for them is never given for anything else, neither here nor in the
//! pipeline that takes this one's place.

use super::{Client, Pipeline};
use crate::cache::Standing;
use crate::config::SearchAs;
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};

/// The standings given so far.
#[derive(Debug)]
pub(super) struct Standings {
    /// The first number; what is below belongs to the pipelines before.
    first: u64,
    given: Mutex<HashMap<Box<[u8]>, Standing, foldhash::quality::RandomState>>,
}

impl Standings {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { first: 1, given: Mutex::default() }
    }

    /// None yet, and none of the same numbers.
    pub(super) fn succeeding(&self) -> Self {
        Self { first: self.first.saturating_add(MOST), given: Mutex::default() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The number for what `description` says; `None` when there are too many.
    fn number(&self, description: &[u8]) -> Option<Standing> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&standing) = given.get(description) {
            return Some(standing);
        }
        let count = u64::try_from(given.len()).ok().filter(|&count| count < MOST)?;
        let standing = Standing(NonZeroU64::new(self.first + count)?);
        given.insert(description.into(), standing);
        Some(standing)
    }

    const fn gave(&self, standing: Standing) -> bool {
        standing.0.get() >= self.first && standing.0.get() - self.first < MOST
    }
}

impl Pipeline {
    /// The client's standing; good as long as its identity is, and in this pipeline only ([`Pipeline::gave`]). Who may leave a group, and so an
    /// access, has none.
    pub fn standing(&self, client: &Client) -> Option<Standing> {
        if self.groups_matter(&client.identity) {
            return None;
        }
        let mut description = Vec::with_capacity(64);
        description.extend(self.accesses.fitting(&client.asker()).map(u8::from));
        if self.stations.iter().any(|station| station.search_as == SearchAs::Client) {
            description.push(u8::from(client.has_credentials()));
            description.extend_from_slice(client.identity.owner().as_bytes());
        }
        self.standings.number(&description)
    }

    /// That standing is one of this pipeline's.
    pub const fn gave(&self, standing: Standing) -> bool {
        self.standings.gave(standing)
    }
}

/// Standings of one pipeline: as many as there are principals under whose names searches run, or, else, sets of accesses.
const MOST: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_stands_for_one_description() {
        let standings = Standings::new();
        let number = standings.number(b"a").unwrap();
        assert_eq!(standings.number(b"a"), Some(number));
        assert_ne!(standings.number(b"b"), Some(number));
        assert!(standings.gave(number));
    }

    #[test]
    fn no_pipeline_gives_a_number_of_the_one_before() {
        let before = Standings::new();
        let after = before.succeeding();
        let number = before.number(b"a").unwrap();
        assert_ne!(after.number(b"a"), Some(number));
        assert!(!after.gave(number));
    }

    #[test]
    fn there_is_an_end_of_numbers() {
        let standings = Standings::new();
        let given = (0..=MOST).filter_map(|number| standings.number(&number.to_be_bytes())).count();
        assert_eq!(u64::try_from(given), Ok(MOST));
        assert!(standings.number(&0u64.to_be_bytes()).is_some(), "what was given stays");
    }
}
