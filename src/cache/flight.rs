//! Single flight: identical searches in flight become one.
//!
//! A flight is a task of its own that runs a [`Fill`] to its end and stores the answer; it survives whoever asked first. A result that grows
//! past what the cache would keep stops being shared: who asked first gets what was gathered and the rest of the stream.

use super::answer::{Answer, AnswerBuilder};
use super::fill::Fill;
use super::store::Store;
use crate::config::Lifetimes;
use crate::directory::DirectoryError;
use std::sync::Arc;

/// What a fetch brought.
#[derive(Debug)]
pub enum Fetched {
    /// The complete answer, asked for by this caller.
    Answer(Arc<Answer>),
    /// The complete answer, asked for by somebody else who wanted the same.
    Coalesced(Arc<Answer>),
    /// Too large to keep: what was gathered, and the stream that brings the rest.
    Overflow(Box<Overflow>),
    /// Too large to share, and somebody else has the stream: run a [`Fill`] of your own.
    NotShared,
    /// The directory gave no answer.
    Failed(DirectoryError),
}

/// A result that is too large to keep, in the middle of coming.
#[derive(Debug)]
pub struct Overflow {
    /// What has come.
    pub gathered: AnswerBuilder,
    /// What is still to come.
    pub rest: Fill,
}

/// The fills in flight.
#[derive(Debug)]
pub struct Flights {
    store: Arc<Store>,
}

impl Flights {
    /// None yet; answers go into `store`.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Joins the flight for `key`, or starts it. See [`super::SearchCache::fetch`].
    pub async fn join(&self, key: &[u8], directory: Option<usize>, lifetimes: Lifetimes, start: impl FnOnce() -> Fill + Send) -> Fetched {
        todo!()
    }

    /// Starts the flight for `key` unless it is under way. See [`super::SearchCache::refresh`].
    pub fn start(&self, key: &[u8], directory: Option<usize>, lifetimes: Lifetimes, start: impl FnOnce() -> Fill + Send) {
        todo!()
    }
}
