//! The cache key: which searches mean the same.

use crate::ldap::message::Search;

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The access that allowed the search (index in the configuration).
    pub access: usize,
    /// The principal under whose name it runs, where it does not run under the service account.
    pub principal: Option<&'a str>,
}

/// Can the search be answered from the cache?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyed {
    /// The key was appended.
    Cacheable,
    /// A control that the key does not understand: `out` holds nothing of use.
    NotCacheable,
}

/// Appends the key of `search`: equal keys only for searches that mean the same to the same owner. No allocation beyond `out`'s growth.
///
/// `directory` is as [`crate::access::Grant::directory`]. `controls` are the contents of the client's controls element; paged results is
/// left out, since the whole answer is kept and paged downstream.
pub fn write_key(out: &mut Vec<u8>, owner: Owner<'_>, directory: Option<usize>, search: &Search<'_>, controls: Option<&[u8]>) -> Keyed {
    todo!()
}
