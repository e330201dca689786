//! Narrows a search to what an access shows: bases, attributes, filter, size limit.
//!
//! In: the search as received. Out: the [`Part`]s to run instead; the received octets where nothing had to change. A hidden attribute is
//! Undefined (RFC 4511 section 4.5.1.7), so exactly those entries match for which the filter is TRUE whatever the hidden values are. How a
//! server treats an attribute that it does not know must not matter for that: Samba, for one, takes it for FALSE, and then a
//! `(!(hidden=x))` would match everybody. The filter is therefore rewritten until it names nothing hidden.

use super::{Access, Grant};
use crate::ldap::filter::{Filter, FilterError};
use crate::ldap::message::{Scope, Search, SearchRequest};
use bytes::Bytes;
use std::sync::Arc;

/// One search to run for a narrowed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The directory that answers it (index in the configuration).
    pub directory: usize,
    /// The protocolOp: as received where nothing had to change.
    pub op: Bytes,
    /// The same, parsed.
    pub request: Arc<SearchRequest>,
}

impl Grant<'_> {
    /// The searches to run instead of `search`, their answers to be concatenated under one size limit ([`Grant::entries_wanted`]). None:
    /// nothing can match, answer success without entries.
    ///
    /// # Errors
    /// When the filter cannot be decoded: never for a search that was parsed.
    pub fn narrow(&self, search: &Search<'_>) -> Result<Vec<Part>, FilterError> {
        let asked = search.to_owned()?;
        let Some(filter) = self.access.narrow_filter(&asked.filter) else { return Ok(Vec::new()) };
        let request = SearchRequest {
            filter,
            attributes: self.access.narrow_attributes(&asked.attributes),
            size_limit: self.entries_wanted(asked.size_limit).unwrap_or(0),
            ..asked.clone()
        };
        let Some(inside) = self.inside else { return Ok(self.below(&request)) };
        // An alias could lead to an entry outside the access.
        let deref_aliases = if inside.is_whole { request.deref_aliases } else { NEVER_DEREF_ALIASES };
        let request = SearchRequest { deref_aliases, ..request };
        if request == asked {
            return Ok(vec![Part { directory: inside.directory, op: Bytes::copy_from_slice(search.op), request: Arc::new(request) }]);
        }
        Ok(vec![Part::rebuilt(inside.directory, request)])
    }

    /// Where the access has a filter: the search that must find one entry before a compare of `entry` may be sent, else the compare would
    /// tell about entries that the access hides. When it finds none the client is told noSuchObject(32).
    pub fn compare_guard(&self, entry: &str) -> Option<Part> {
        let (inside, filter) = (self.inside?, self.access.config.filter.clone()?);
        let request = SearchRequest {
            base_object: entry.to_owned(),
            scope: Scope::BaseObject,
            deref_aliases: NEVER_DEREF_ALIASES,
            size_limit: 0,
            time_limit: 0,
            types_only: false,
            filter,
            attributes: vec![NO_ATTRIBUTES.to_owned()],
        };
        Some(Part::rebuilt(inside.directory, request))
    }

    /// A search from above the access's bases becomes one at each of them.
    fn below(&self, request: &SearchRequest) -> Vec<Part> {
        let (scope, level) = match self.scope {
            Scope::WholeSubtree => (Scope::WholeSubtree, None),
            Scope::SingleLevel => (Scope::BaseObject, Some(self.base.depth() + 1)),
            Scope::BaseObject => return Vec::new(),
        };
        let bases = self.access.bases.iter().filter(|base| base.dn.is_under(&self.base));
        let on_level = bases.filter(|base| level.is_none_or(|level| base.dn.depth() == level));
        on_level
            .map(|base| {
                let deref_aliases = if base.is_whole { request.deref_aliases } else { NEVER_DEREF_ALIASES };
                let request = SearchRequest { base_object: base.text.clone(), scope, deref_aliases, ..request.clone() };
                Part::rebuilt(base.directory, request)
            })
            .collect()
    }
}

impl Part {
    fn rebuilt(directory: usize, request: SearchRequest) -> Self {
        Self { directory, op: request.encode().into(), request: Arc::new(request) }
    }
}

impl Access {
    /// The selection without what is hidden.
    fn narrow_attributes(&self, asked: &[String]) -> Vec<String> {
        let Some(allowed) = self.config.attributes.as_deref() else { return asked.to_vec() };
        if asked.is_empty() || asked.iter().any(|name| name == ALL_USER_ATTRIBUTES) {
            return allowed.to_vec();
        }
        let kept: Vec<String> = asked.iter().filter(|name| is_listed(allowed, name)).cloned().collect();
        if kept.is_empty() { vec![NO_ATTRIBUTES.to_owned()] } else { kept }
    }

    /// The filter to send; `None` when it can be true for no entry.
    fn narrow_filter(&self, asked: &Filter) -> Option<Filter> {
        let visible = match self.config.attributes.as_deref() {
            Some(allowed) if names_hidden(asked, allowed) => match without_hidden(asked, allowed, true) {
                Seen::Constant(false) => return None,
                Seen::Constant(true) => Filter::Present("objectClass".to_owned()),
                Seen::Filter(filter) => filter,
            },
            _ => asked.clone(),
        };
        Some(match &self.config.filter {
            Some(always) => Filter::And(vec![visible, always.clone()]),
            None => visible,
        })
    }
}

/// May this attribute be named in a filter or a compare under that list (`None`: all)?
pub(super) fn is_testable(allowed: Option<&[String]>, attribute: &str) -> bool {
    let Some(allowed) = allowed else { return true };
    let name = base_name(attribute);
    is_listed(allowed, name) || ALWAYS_TESTABLE.iter().any(|testable| testable.eq_ignore_ascii_case(name))
}

/// Is this attribute in the list, its options aside?
fn is_listed(allowed: &[String], attribute: &str) -> bool {
    let name = base_name(attribute);
    allowed.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

/// The description without options (`cn;lang-de`, `member;range=0-99`).
fn base_name(attribute: &str) -> &str {
    attribute.split_once(';').map_or(attribute, |(name, _)| name)
}

fn names_hidden(filter: &Filter, allowed: &[String]) -> bool {
    match filter {
        Filter::And(branches) | Filter::Or(branches) => branches.iter().any(|branch| names_hidden(branch, allowed)),
        Filter::Not(inner) => names_hidden(inner, allowed),
        leaf => is_hidden(leaf, allowed),
    }
}

fn is_hidden(leaf: &Filter, allowed: &[String]) -> bool {
    let attribute = match leaf {
        Filter::Equality(item) | Filter::GreaterOrEqual(item) | Filter::LessOrEqual(item) | Filter::Approx(item) => &item.attribute,
        Filter::Substrings(item) => &item.attribute,
        Filter::Present(attribute) => attribute,
        Filter::Extensible(item) => match &item.attribute {
            Some(attribute) => attribute,
            None => return true, // it looks at every attribute that the rule fits
        },
        Filter::And(_) | Filter::Or(_) | Filter::Not(_) => return false,
    };
    !is_testable(Some(allowed), attribute)
}

/// What is left of a filter.
enum Seen {
    /// The same for all entries.
    Constant(bool),
    /// Names nothing hidden.
    Filter(Filter),
}

/// Rewrites `filter` without its hidden leaves. With `want` true the outcome is TRUE exactly where the filter is TRUE; with `want` false it is
/// FALSE exactly where the filter is FALSE, which is what a surrounding NOT needs. A hidden leaf is neither, hence the opposite of `want`.
/// Recursion is as deep as the filter, which [`crate::ldap::filter::MAX_DEPTH`] bounds.
fn without_hidden(filter: &Filter, allowed: &[String], want: bool) -> Seen {
    match filter {
        Filter::And(branches) => fold(branches, allowed, want, true, Filter::And),
        Filter::Or(branches) => fold(branches, allowed, want, false, Filter::Or),
        Filter::Not(inner) => match without_hidden(inner, allowed, !want) {
            Seen::Constant(value) => Seen::Constant(!value),
            Seen::Filter(inner) => Seen::Filter(Filter::Not(Box::new(inner))),
        },
        leaf if is_hidden(leaf, allowed) => Seen::Constant(!want),
        leaf => Seen::Filter(leaf.clone()),
    }
}

/// Rewrites the branches of an AND or OR. `neutral` is the constant that may be left out: true in an AND, false in an OR; the other decides.
fn fold(branches: &[Filter], allowed: &[String], want: bool, neutral: bool, join: impl Fn(Vec<Filter>) -> Filter) -> Seen {
    let mut kept = Vec::with_capacity(branches.len());
    for branch in branches {
        match without_hidden(branch, allowed, want) {
            Seen::Constant(value) if value == neutral => {}
            Seen::Constant(value) => return Seen::Constant(value),
            Seen::Filter(filter) => kept.push(filter),
        }
    }
    match (kept.pop(), kept.is_empty()) {
        (None, _) => Seen::Constant(neutral),
        (Some(only), true) => Seen::Filter(only),
        (Some(last), false) => {
            kept.push(last);
            Seen::Filter(join(kept))
        }
    }
}

/// They say what kind of entry is wanted, and phones' filters are full of them.
const ALWAYS_TESTABLE: [&str; 2] = ["objectClass", "objectCategory"];
/// The selector of all user attributes (RFC 4511 section 4.5.1.8).
const ALL_USER_ATTRIBUTES: &str = "*";
/// The selector of none (RFC 4511 section 4.5.1.8).
const NO_ATTRIBUTES: &str = "1.1";
/// derefAliases neverDerefAliases (RFC 4511 section 4.5.1.3).
const NEVER_DEREF_ALIASES: u8 = 0;
