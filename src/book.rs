//! A phonebook in memory: the embedded directory, and later the mirror of one.
//!
//! Entries go in once, from LDIF or from anywhere else; searches and compares come out, answered as RFC 4511 says, with no controller
//! and no lock. [`Book`] itself is pure; [`serve`] makes it a [`crate::directory::Directory`]. It never changes, never holds a
//! password, and never spends more on one search than a bounded piece of work. Read on in this order: [`store`] (the
//! layout), [`mod@column`] (one attribute, searchable), [`evaluate`] (filters), [`answer`], [`build`], [`ldif`].

mod answer;
mod attribute;
mod bitset;
mod build;
mod column;
mod evaluate;
mod extensible;
mod fold;
mod ldif;
mod names;
mod pattern;
mod serve;
mod store;
mod tree;

pub use answer::{BookAnswer, BookResult};
pub use build::{EntryError, EntryProblem};
pub use ldif::{LdifError, LdifProblem, MAX_ERRORS};
pub use store::Entry;

use crate::ldap::dn::Dn;
use crate::ldap::message::{ResultCode, SearchRequest};
use answer::Selection;
use attribute::{Description, Matching};
use bitset::Bitset;
use column::Found;
use std::sync::Arc;
use store::{Part, Store};

/// A phonebook. Cheap to clone: the clones share the entries.
#[derive(Debug, Clone)]
pub struct Book {
    store: Arc<Store>,
    /// How many searches may work at length at once.
    workers: Arc<tokio::sync::Semaphore>,
}

impl Book {
    /// Reads the phonebook of the naming context `base` from LDIF (RFC 2849).
    ///
    /// # Errors
    /// Every problem of the text, each with its line. If the text is sound, every problem of its entries: a name that is none,
    /// stands twice, is not under the base, or hangs in the air; a missing base entry.
    pub fn from_ldif(text: impl AsRef<[u8]>, base: &Dn) -> Result<Self, Vec<LdifError>> {
        let (lines, entries): (Vec<_>, Vec<_>) = ldif::parse(text.as_ref())?.into_iter().unzip();
        Self::from_entries(base, &entries).map_err(|errors| {
            let in_file = |error: EntryError| {
                let line = lines.get(error.entry).copied().unwrap_or(1);
                LdifError { line, problem: error.problem.into() }
            };
            errors.into_iter().take(MAX_ERRORS).map(in_file).collect()
        })
    }

    /// Makes a phonebook of entries, in any order. In one whose base is the root ([`Dn::ROOT`]) every attribute is a user attribute.
    ///
    /// # Errors
    /// Every problem of the entries.
    pub fn from_entries(base: &Dn, entries: &[Entry]) -> Result<Self, Vec<EntryError>> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let store = Store::build(base.clone(), entries, FIRST)?;
        Ok(Self { store: Arc::new(store), workers: Arc::new(tokio::sync::Semaphore::new(workers)) })
    }

    /// The naming context.
    pub fn base(&self) -> &Dn {
        &self.store.base
    }

    /// How many entries it holds.
    pub fn entries(&self) -> u32 {
        self.store.size(Part::Whole)
    }

    /// The memory it takes, in octets.
    pub fn footprint(&self) -> u64 {
        self.store.footprint()
    }

    /// Answers a search with the first `entries_wanted` entries (or the request's own sizeLimit, if that is smaller).
    pub fn search(&self, request: &SearchRequest, entries_wanted: Option<u32>) -> BookAnswer {
        self.search_within(request, entries_wanted, self.work_limit()).unwrap_or_else(|| {
            let result = BookResult::new(ResultCode::ADMIN_LIMIT_EXCEEDED, "the filter asks for too much work");
            BookAnswer::refused(Arc::clone(&self.store), result)
        })
    }

    /// Compares a value with an entry's (RFC 4511 section 4.10): compareTrue(6), compareFalse(5), or why neither.
    pub fn compare(&self, entry: &str, attribute: &str, value: &[u8]) -> BookResult {
        let id = match self.find(entry) {
            Ok(id) => id,
            Err(result) => return result,
        };
        let asked = Description::fold(attribute);
        let Some(attributes) = self.store.attributes_of(&asked) else {
            return BookResult::new(ResultCode::UNDEFINED_ATTRIBUTE_TYPE, "no entry has this attribute");
        };
        let columns: Vec<_> = attributes.map(|(_, attribute)| &attribute.column).filter(|column| column.present().contains(id)).collect();
        if columns.is_empty() {
            return BookResult::new(ResultCode::NO_SUCH_ATTRIBUTE, "the entry does not have this attribute");
        }
        if columns.iter().all(|column| column.matching() == Matching::Opaque) {
            return BookResult::new(ResultCode::INAPPROPRIATE_MATCHING, "values of this attribute do not compare");
        }
        let mut same = Bitset::nobody(self.entries());
        for column in columns {
            column.add_entries(&Found::Range(column.equal(value)), &mut same);
        }
        BookResult::new(if same.contains(id) { ResultCode::COMPARE_TRUE } else { ResultCode::COMPARE_FALSE }, "")
    }

    /// Answers a search, unless that takes more than `work` octets read or written.
    fn search_within(&self, request: &SearchRequest, entries_wanted: Option<u32>, work: u64) -> Option<BookAnswer> {
        let base = match self.find(&request.base_object) {
            Ok(id) => id,
            Err(result) => return Some(BookAnswer::refused(Arc::clone(&self.store), result)),
        };
        let asked = (request.size_limit > 0).then_some(request.size_limit);
        let wanted = asked.into_iter().chain(entries_wanted).min();
        let within = self.store.within(base, request.scope);
        let selection = Selection::new(&self.store, &request.attributes, request.types_only);
        let answer = |part, work| {
            let entries = evaluate::evaluate(&self.store, part, &request.filter, work).ok()?;
            Some(BookAnswer::new(Arc::clone(&self.store), entries, within.clone(), selection.clone(), wanted))
        };
        let all = |work| answer(Part::Whole, work);
        if wanted.is_none() || self.store.size(Part::First) == 0 {
            return all(work);
        }
        // What many match, the first show; what few match, the scan of all does not take long.
        all(work.min(CHEAP)).or_else(|| answer(Part::First, work.min(CHEAP)).filter(BookAnswer::is_cut)).or_else(|| all(work))
    }

    /// No search may cost more than this, in octets read or written; two scans of everything always pass.
    fn work_limit(&self) -> u64 {
        WORK_LIMIT.max(2 * self.store.column_octets())
    }

    /// The entry of a name, or the result that says why there is none.
    fn find(&self, name: &str) -> Result<u32, BookResult> {
        let Ok(name) = Dn::parse(name) else {
            return Err(BookResult::new(ResultCode::INVALID_DN_SYNTAX, "not a distinguished name"));
        };
        self.store.find(&name).ok_or_else(|| {
            let matched_dn = self.closest_above(&name).unwrap_or_default().to_owned();
            BookResult { matched_dn, ..BookResult::new(ResultCode::NO_SUCH_OBJECT, "") }
        })
    }

    /// The closest entry above a name that is not there.
    fn closest_above(&self, name: &Dn) -> Option<&str> {
        if !name.is_under(&self.store.base) {
            return None;
        }
        let mut above = name.parent()?;
        loop {
            if let Some(id) = self.store.find(&above) {
                return self.store.name(id);
            }
            above = above.parent()?;
        }
    }
}

/// In octets read or written by one search: about 30 ms of one core.
const WORK_LIMIT: u64 = 32 << 20;

/// What is done at once: less than a scan of many entries.
const CHEAP: u64 = 256 << 10;

/// Entries that are looked at by themselves: of what one entry in eighty matches, they hold the fifty that phones want.
const FIRST: u32 = 4096;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
