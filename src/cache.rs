//! Answers of searches, kept in memory and shared by everybody who may see them.
//!
//! - [`key`] says which requests mean the same, [`rules`] how long an answer is good for, [`freshness`] whether it still is;
//! - [`answer`] is the answer as octets, [`store`] keeps it, [`repeats`] knows the octets that it was asked for with, [`forms`] what
//!   searches have in common but their filters, and `history` which answers a write has outdated;
//! - [`fill`] brings a new answer from the directories, [`flight`] makes identical fills in flight one;
//! - [`keep`] and [`snapshot`] carry answers over a restart.
//!
//! [`SearchCache`] joins them for the pipeline:
//!
//! 1. [`SearchCache::look_up_again`] with the octets as they came: what was asked before in the same octets is written at once;
//! 2. otherwise [`SearchCache::look_up_by_form`]: of a search in a form that came before only the filter is read, and a hit is written at once;
//! 3. otherwise [`SearchCache::look_up`] with the key: a hit is written at once;
//! 4. otherwise [`SearchCache::fetch`]: the answer comes from the directories, once for all who want it, and is stored where it may be.
//!
//! What holds always: only complete answers are stored; what an invalidation overtook is not; nobody gets an answer under another's key.

pub mod answer;
mod fill;
mod flight;
pub mod forms;
mod freshness;
mod history;
pub(crate) mod keep;
pub mod key;
mod repeats;
pub(crate) mod rules;
#[cfg(test)]
mod scripted;
mod snapshot;
pub mod store;

pub use answer::Answer;
pub(crate) use fill::Fill;
pub(crate) use flight::Fetched;
pub use key::Question;
pub use repeats::{Spelled, Spelling, Standing};
pub use store::{Again, Held, Lookup, WriteUnderWay};

use crate::config::{self, Lifetimes};
use crate::ldap::filter::{Filter, FilterError};
use flight::Flights;
use foldhash::quality::{FixedState, SeedableRandomState};
use forms::Forms;
use rules::Rules;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use store::Store;
use tokio::time::Instant;

/// How what is kept is hashed, which decides where it lies, and so what gives way to what. Clients choose what is hashed, so this is keyed at random
/// ([`Hashing::random`]); a history that is to be played again, to the last answer that gives way, brings a key of its own.
pub type Hashing = SeedableRandomState;

/// The search cache of the whole program.
#[derive(Debug)]
pub(crate) struct SearchCache {
    store: Arc<Store>,
    flights: Arc<Flights>,
    forms: Forms,
    rules: Rules,
    hashing: Hashing,
}

impl SearchCache {
    /// An empty cache for that many directories.
    pub(crate) fn new(config: &config::Cache, directories: usize, hashing: Hashing) -> Self {
        let rules = Rules::new(config);
        let store = Arc::new(Store::hashing_by(hashing.clone(), config.capacity, directories, rules.longest()));
        let flights = Arc::new(Flights::new(Arc::clone(&store)));
        Self { store, flights, forms: Forms::hashing_by(hashing.clone()), rules, hashing }
    }

    /// The same cache under another configuration: what is kept stays, for as long as it was to be kept. There are directories up to that
    /// number.
    pub(crate) fn succeeding(&self, config: &config::Cache, directories: usize) -> Self {
        let rules = Rules::new(config);
        let store = self.store.succeeding(config.capacity, directories, rules.longest());
        let is_same = Arc::ptr_eq(&store, &self.store);
        let flights = if is_same { Arc::clone(&self.flights) } else { Arc::new(Flights::new(Arc::clone(&store))) };
        Self { store, flights, forms: Forms::hashing_by(self.hashing.clone()), rules, hashing: self.hashing.clone() }
    }

    /// That spelling, for [`SearchCache::look_up_again`] and [`SearchCache::look_up_by_form`].
    pub(crate) fn spelled<'a>(&self, spelling: &Spelling<'a>) -> Spelled<'a> {
        self.store.spelled(spelling)
    }

    /// What was answered to the same octets before and may be served as it is. No allocation, no waiting.
    pub(crate) fn look_up_again(&self, spelled: &Spelled<'_>, now: Instant) -> Option<Again> {
        self.store.look_up_again(spelled, now)
    }

    /// What was answered to a search that came in another spelling before, if this one is of a form that came before and what is kept may be
    /// served as it is. Its key is left in `key`. No waiting, and no allocation but the one that remembers a spelling when it comes for the
    /// second time.
    pub(crate) fn look_up_by_form(&self, spelled: &Spelled<'_>, key: &mut Vec<u8>, now: Instant) -> Option<Again> {
        key.clear();
        self.forms.write_key(key, spelled.spelling())?;
        self.store.look_up_fresh(key, spelled, now)
    }

    /// What is known under `key`, which was asked for in that `spelling`. No waiting, and no allocation but those that remember a form or a
    /// spelling when it comes for the second time.
    pub(crate) fn look_up(&self, key: &[u8], spelling: Option<&Spelling<'_>>, now: Instant) -> Lookup {
        if let Some(spelling) = spelling {
            self.forms.learn(spelling, key);
        }
        self.store.look_up(key, spelling, now)
    }

    /// Gives memory back: what is past its time, or else half of what is kept.
    pub(crate) fn relieve(&self) {
        self.store.relieve(Instant::now());
    }

    /// How long an answer to `filter`, the octets of one, is good for.
    ///
    /// # Errors
    /// As [`Filter::decode`].
    pub(crate) fn lifetimes(&self, filter: &[u8]) -> Result<Lifetimes, FilterError> {
        self.rules.lifetimes(filter)
    }

    /// The answer under `key` from the directories. Whoever asks first starts the fill, which goes on whatever becomes of them; everybody
    /// else waits for the same one. `directory` is the one that answers, `None` for a fill that may meet several.
    ///
    /// Cancel safe: the fill goes on and is stored.
    pub(crate) async fn fetch<F: FnOnce() -> Fill>(
        &self,
        key: &Arc<[u8]>,
        directory: Option<usize>,
        lifetimes: Lifetimes,
        start: F,
    ) -> Fetched<F> {
        self.flights.join(key, directory, lifetimes, start).await
    }

    /// Brings a new answer in the background, unless that is happening already.
    pub(crate) fn refresh(&self, key: &Arc<[u8]>, directory: Option<usize>, lifetimes: Lifetimes, start: impl FnOnce() -> Fill) {
        self.flights.start(key, directory, lifetimes, start);
    }

    /// A write is about to be sent to that directory. When what is returned is dropped, nothing learned before is served again; until then
    /// nothing that somebody learns is served after anything newer.
    pub(crate) fn write_begins(&self, directory: usize) -> WriteUnderWay {
        self.store.write_begins(directory)
    }

    /// Answers that could be served now to the questions that are `meant`, in an order of their own: the first `most` of those behind `after`.
    pub(crate) fn held(&self, meant: impl Fn(&Question) -> bool, after: Option<u64>, most: usize) -> BTreeMap<u64, (Question, Held)> {
        let mut found = BTreeMap::new();
        for (key, held) in self.store.held(Instant::now()) {
            let place = FixedState::default().hash_one(&key);
            let is_late = found.len() == most && found.last_key_value().is_some_and(|(last, _)| place > *last);
            if is_late || after.is_some_and(|after| place <= after) {
                continue;
            }
            if let Some(question) = Question::read(&key).filter(&meant) {
                found.insert(place, (question, held));
                if found.len() > most {
                    found.pop_last();
                }
            }
        }
        found
    }

    /// Forgets the answers to the questions that go; what is being asked of these at the moment is not kept. Says how many it were. Blocks for as
    /// long as it takes to look at each answer.
    pub(crate) fn drop_those(&self, goes: impl Fn(&Question) -> bool) -> usize {
        let goes = |key: &[u8]| Question::read(key).is_some_and(|question| goes(&question));
        self.flights.disown(goes);
        self.store.throw_out(goes, Instant::now())
    }

    /// There is a rule of that name.
    pub(crate) fn has_rule(&self, name: &str) -> bool {
        self.rules.has(name)
    }

    /// The rule that decides how long answers to `filter` are kept; `None`: the defaults do.
    pub(crate) fn rule(&self, filter: &Filter) -> Option<&str> {
        self.rules.fitting(filter).map(|rule| rule.name.as_str())
    }

    /// A read of that directory has ended that did not come through here, and its answer has been given to nobody yet.
    pub(crate) fn read_ended(&self, directory: usize) {
        self.store.read_ended(Some(directory));
    }

    /// A fill that is not shared; its end counts as any other read's.
    pub(crate) fn unshared(&self, fill: Fill, directory: Option<usize>) -> Fill {
        fill.watched_by(&self.store, directory)
    }

    /// Forms of searches that are known.
    pub(crate) fn forms(&self) -> usize {
        self.forms.count()
    }

    /// Searches that somebody is being asked for the cache.
    pub(crate) fn under_way(&self) -> usize {
        self.flights.under_way()
    }

    /// Entries and octets held now, approximately.
    pub(crate) fn holds(&self) -> (u64, u64) {
        self.store.holds()
    }
}
