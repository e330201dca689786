//! The answer to a search: which entries, which of their attributes, and the result that ends it.
//!
//! An answer is a set of entries over a shared [`Store`], so it takes little memory however large it is; its SearchResultEntries are
//! put together one at a time by copying what the store has encoded already.

use super::attribute::Description;
use super::bitset::Bitset;
use super::store::{Store, Within};
use crate::ldap::ber::{self, Reader, tag};
use crate::ldap::envelope::op;
use crate::ldap::message::ResultCode;
use crate::ldap::response;
use std::sync::Arc;

/// The answer to a search. As an iterator it yields the SearchResultEntry protocolOps, tag and length included, in display order.
#[derive(Debug, Clone)]
pub struct BookAnswer {
    store: Arc<Store>,
    entries: Bitset,
    within: Within,
    selection: Selection,
    /// Ids below this have been written.
    next: u32,
    /// How many more are wanted.
    left: u32,
    result: BookResult,
}

/// The result that ends an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookResult {
    /// resultCode.
    pub code: ResultCode,
    /// matchedDN: the closest entry above one that is missing.
    pub matched_dn: String,
    /// diagnosticMessage.
    pub diagnostic: &'static str,
}

impl BookResult {
    pub(super) const fn new(code: ResultCode, diagnostic: &'static str) -> Self {
        Self { code, matched_dn: String::new(), diagnostic }
    }

    /// The protocolOp of a response that is an LDAPResult, such as SearchResultDone.
    pub fn encode(&self, response_tag: u8) -> Vec<u8> {
        let mut out = Vec::new();
        response::write_result_op(&mut out, response_tag, self.code, &self.matched_dn, self.diagnostic);
        out
    }
}

impl BookAnswer {
    /// The first `wanted` of the entries; sizeLimitExceeded(4) if there are more.
    pub(super) fn new(store: Arc<Store>, entries: Bitset, within: Within, selection: Selection, wanted: Option<u32>) -> Self {
        let mut answer = Self {
            store,
            entries,
            within,
            selection,
            next: 0,
            left: wanted.unwrap_or(u32::MAX),
            result: BookResult::new(ResultCode::SUCCESS, ""),
        };
        if wanted.is_some() && answer.has_more_than_wanted() {
            answer.result = BookResult::new(ResultCode::SIZE_LIMIT_EXCEEDED, "more entries match than were wanted");
        }
        answer
    }

    /// No entries, and the reason.
    pub(super) fn refused(store: Arc<Store>, result: BookResult) -> Self {
        let entries = Bitset::nobody(0);
        Self { store, entries, within: Within::Everything, selection: Selection::default(), next: 0, left: 0, result }
    }

    /// More entries match than were wanted.
    pub(super) fn is_cut(&self) -> bool {
        self.result.code == ResultCode::SIZE_LIMIT_EXCEEDED
    }

    /// How it ends. Known from the beginning.
    pub const fn result(&self) -> &BookResult {
        &self.result
    }

    /// The SearchResultDone protocolOp.
    pub fn done(&self) -> Vec<u8> {
        self.result.encode(op::SEARCH_RESULT_DONE)
    }

    /// Appends the next SearchResultEntry protocolOp; `false` when there is none.
    pub fn write_next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.left == 0 {
            return false;
        }
        let Some(id) = self.store.next_within(&self.entries, &self.within, self.next) else { return false };
        self.left -= 1;
        self.next = id + 1;
        self.selection.write_entry(&self.store, id, out);
        true
    }

    fn has_more_than_wanted(&self) -> bool {
        if let Within::Everything = self.within {
            return self.entries.len() > self.left;
        }
        let mut from = 0;
        for _ in 0..=self.left {
            match self.store.next_within(&self.entries, &self.within, from) {
                Some(id) => from = id + 1,
                None => return false,
            }
        }
        true
    }
}

impl Iterator for BookAnswer {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.write_next(&mut out).then_some(out)
    }
}

/// Which attributes are returned (RFC 4511 section 4.5.1.8), and whether with values.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    /// By the attributes of the store.
    chosen: Vec<bool>,
    types_only: bool,
}

impl Selection {
    /// Reads the selectors: names, `*`, `+` (RFC 3673) and `1.1`. An empty list is `*`; what is unknown is ignored.
    pub(super) fn new(store: &Store, selectors: &[String], types_only: bool) -> Self {
        let all_user = selectors.is_empty() || selectors.iter().any(|selector| selector == "*");
        let all_operational = selectors.iter().any(|selector| selector == "+");
        let mut chosen: Vec<_> =
            store.attributes.iter().map(|attribute| if attribute.is_operational { all_operational } else { all_user }).collect();
        for selector in selectors {
            for (kind, _) in store.attributes_of(&Description::fold(selector)).into_iter().flatten() {
                if let Some(choice) = chosen.get_mut(kind as usize) {
                    *choice = true;
                }
            }
        }
        Self { chosen, types_only }
    }

    /// Appends a SearchResultEntry: two walks over the encoded attributes, one to measure and one to copy.
    fn write_entry(&self, store: &Store, id: u32, out: &mut Vec<u8>) {
        let mut attributes = Reader::new(store.encoded(id));
        let Ok(object_name) = attributes.element() else { return };
        let length = self.chosen_of(store, id, attributes).map(<[u8]>::len).sum::<usize>();
        let whole = object_name.raw.len() + 1 + ber::length_of_length(length) + length;
        out.reserve(whole + 8);
        ber::write_header(out, op::SEARCH_RESULT_ENTRY, whole);
        out.extend_from_slice(object_name.raw);
        ber::write_header(out, tag::SEQUENCE, length);
        self.chosen_of(store, id, attributes).for_each(|attribute| out.extend_from_slice(attribute));
    }

    fn chosen_of<'a>(&'a self, store: &'a Store, id: u32, mut attributes: Reader<'a>) -> impl Iterator<Item = &'a [u8]> {
        store.kinds(id).iter().filter_map(move |kind| {
            let attribute = attributes.element().ok()?;
            if !self.chosen.get(*kind as usize).is_some_and(|choice| *choice) {
                return None;
            }
            if !self.types_only {
                return Some(attribute.raw);
            }
            store.attributes.get(*kind as usize).map(|known| &*known.types_only)
        })
    }
}
