//! The searches to run for one that a client asked, and in whose turn.

use crate::cache::Fill;
use crate::directory::{Directory, Operation};
use crate::turns::{Turns, Whose};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    searches: Vec<(Arc<dyn Directory>, Operation)>,
    entries_wanted: Option<u32>,
    turns: Arc<Turns>,
    whose: Whose,
}

impl Errand {
    /// These searches, which together have at most so many entries, for that client.
    pub(super) fn new(
        searches: Vec<(Arc<dyn Directory>, Operation)>,
        entries_wanted: Option<u32>,
        turns: &Arc<Turns>,
        whose: Whose,
    ) -> Self {
        Self { searches, entries_wanted, turns: Arc::clone(turns), whose }
    }

    /// Sends the searches on their way, when the client's turn has come.
    pub(super) fn set_out(self) -> Fill {
        let turn = self.turns.ask(self.whose);
        Fill::new(self.searches, self.entries_wanted).in_turn(turn)
    }
}
