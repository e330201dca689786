//! One fill: the searches that together answer one client's search, run one after another, their answers concatenated and cut.
//!
//! In: directories and operations. Out: a stream of replies as from one directory ([`Fill::next`]), with at most the wanted number of
//! entries, one SearchResultDone at its end, and no reference. Used by the cache's flights, and directly for searches that are not cached.

use crate::directory::{Directory, DirectoryError, Operation, Replies, Reply};
use std::sync::Arc;

/// A list of searches under way.
#[derive(Debug)]
pub struct Fill {
    waiting: std::vec::IntoIter<(Arc<dyn Directory>, Operation)>,
    running: Option<Replies>,
    entries_wanted: Option<u32>,
}

impl Fill {
    /// The searches to run, in order; none: success without entries. All have the same deadline. `entries_wanted` is for all of them
    /// together.
    pub fn new(searches: Vec<(Arc<dyn Directory>, Operation)>, entries_wanted: Option<u32>) -> Self {
        Self { waiting: searches.into_iter(), running: None, entries_wanted }
    }

    /// The next reply; after [`Reply::Done`] or an error it is not called again. When more entries come than wanted the answer is cut, and
    /// its end says sizeLimitExceeded(4). noSuchObject(32) from one of several searches counts as no entries.
    ///
    /// Not cancel safe: a reply may be lost. Dropping the fill abandons what runs.
    ///
    /// # Errors
    /// When a directory gives no answer, or not before the operation's deadline.
    pub async fn next(&mut self) -> Result<Reply, DirectoryError> {
        todo!()
    }
}
