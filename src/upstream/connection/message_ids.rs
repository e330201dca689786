//! The messageIDs of one connection to a controller (RFC 4511 section 4.1.1.1), pure.
//!
//! A fresh one for each request, and for each that arrives the operation that it belongs to. An id that was abandoned is remembered for a
//! while, since its answer may be on the way already (section 4.11). What holds always: an id is given out once, until all others have been;
//! never zero; never one that is outstanding or remembered.

use crate::ldap::MessageId;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// A messageID that Redial chose towards a controller; never zero. Not to be mixed up with a client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UpstreamMessageId(MessageId);

impl UpstreamMessageId {
    /// The messageID for the envelope.
    pub(crate) const fn wire(self) -> MessageId {
        self.0
    }
}

/// What is outstanding on one connection, by messageID.
#[derive(Debug)]
pub(crate) struct MessageIds<T> {
    last: u32,
    /// In the order of their numbers, so that what is done for all is done in the same order each time.
    outstanding: BTreeMap<UpstreamMessageId, T>,
    abandoned: HashSet<UpstreamMessageId>,
    /// The same in the order of their abandonment; may hold some that are forgotten already.
    abandoned_in_order: VecDeque<UpstreamMessageId>,
}

/// Whom a message is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Addressee<'a, T> {
    /// This operation.
    Operation(UpstreamMessageId, &'a mut T),
    /// An operation that was abandoned: nobody wants it, and nobody is to blame.
    Abandoned(UpstreamMessageId),
    /// Nothing that was asked, or something that was answered already: the server cannot be trusted any more.
    Nobody,
}

impl<T> MessageIds<T> {
    /// Nothing is outstanding yet.
    pub(crate) fn new() -> Self {
        Self { last: 0, outstanding: BTreeMap::new(), abandoned: HashSet::new(), abandoned_in_order: VecDeque::new() }
    }

    /// Nothing is outstanding.
    pub(crate) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// A fresh messageID for a request that has no answer (Abandon, Unbind).
    pub(crate) fn unanswered(&mut self) -> UpstreamMessageId {
        loop {
            self.last = if self.last >= MessageId::MAX { 1 } else { self.last + 1 };
            if let Some(id) = MessageId::new(self.last).map(UpstreamMessageId)
                && !self.outstanding.contains_key(&id)
                && !self.abandoned.contains(&id)
            {
                return id;
            }
        }
    }

    /// A fresh messageID for `operation`, which is outstanding from now on.
    pub(crate) fn begin(&mut self, operation: T) -> UpstreamMessageId {
        let id = self.unanswered();
        self.outstanding.insert(id, operation);
        id
    }

    /// Whom a message with this id is for.
    pub(crate) fn addressee(&mut self, id: MessageId) -> Addressee<'_, T> {
        let id = UpstreamMessageId(id);
        match self.outstanding.get_mut(&id) {
            Some(operation) => Addressee::Operation(id, operation),
            None if self.abandoned.contains(&id) => Addressee::Abandoned(id),
            None => Addressee::Nobody,
        }
    }

    /// The operation under this id, if it is outstanding.
    pub(crate) fn operation(&mut self, id: UpstreamMessageId) -> Option<&mut T> {
        self.outstanding.get_mut(&id)
    }

    /// Its last response has come: from now on the id is nobody's.
    pub(crate) fn end(&mut self, id: UpstreamMessageId) -> Option<T> {
        self.outstanding.remove(&id)
    }

    /// Nobody waits for it any more, but responses may still come.
    pub(crate) fn abandon(&mut self, id: UpstreamMessageId) -> Option<T> {
        let operation = self.outstanding.remove(&id)?;
        self.abandoned.insert(id);
        self.abandoned_in_order.push_back(id);
        if self.abandoned_in_order.len() > MAX_ABANDONED
            && let Some(oldest) = self.abandoned_in_order.pop_front()
        {
            self.abandoned.remove(&oldest);
        }
        Some(operation)
    }

    /// The last response to an abandoned operation has come after all.
    pub(crate) fn forget(&mut self, id: UpstreamMessageId) {
        self.abandoned.remove(&id);
    }

    /// The outstanding ones that `predicate` holds for.
    pub(crate) fn matching(&self, predicate: impl Fn(&T) -> bool) -> Vec<UpstreamMessageId> {
        self.outstanding.iter().filter(|(_, operation)| predicate(operation)).map(|(id, _)| *id).collect()
    }

    /// The outstanding ones.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &T> {
        self.outstanding.values()
    }

    /// All that are outstanding, taken out.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.outstanding).into_values()
    }
}

/// Abandoned ids that are remembered on one connection. A controller need not answer an abandoned operation, so most stay until the ring is
/// full: at ten type-ahead keys a second that takes half an hour, longer than any answer is late.
const MAX_ABANDONED: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn wire<T>(ids: &mut MessageIds<T>, operation: T) -> u32 {
        ids.begin(operation).wire().number()
    }

    #[test]
    fn ids_are_fresh_and_never_zero() {
        let mut ids = MessageIds::new();
        assert_eq!(wire(&mut ids, 'a'), 1);
        assert_eq!(wire(&mut ids, 'b'), 2);
        let ended = ids.begin('c');
        assert_eq!(ids.end(ended), Some('c'));
        assert_eq!(wire(&mut ids, 'd'), 4, "an id that has ended is not the next one again");
    }

    #[test]
    fn after_the_last_id_the_first_free_one_follows() {
        let mut ids = MessageIds::new();
        let first = ids.begin('a');
        let second = ids.begin('b');
        ids.abandon(second);
        ids.last = MessageId::MAX - 1;
        assert_eq!(wire(&mut ids, 'y'), MessageId::MAX);
        assert_eq!(wire(&mut ids, 'z'), 3, "1 is outstanding, 2 is abandoned");
        assert_eq!(ids.end(first), Some('a'));
    }

    #[test]
    fn an_id_is_nobodys_once_it_has_ended() {
        let mut ids = MessageIds::new();
        let id = ids.begin('a');
        assert_eq!(ids.addressee(id.wire()), Addressee::Operation(id, &mut 'a'));
        ids.end(id);
        assert_eq!(ids.addressee(id.wire()), Addressee::Nobody);
    }

    #[test]
    fn an_abandoned_id_is_known_until_its_last_response() {
        let mut ids = MessageIds::new();
        let id = ids.begin('a');
        assert_eq!(ids.abandon(id), Some('a'));
        assert_eq!(ids.addressee(id.wire()), Addressee::Abandoned(id));
        ids.forget(id);
        assert_eq!(ids.addressee(id.wire()), Addressee::Nobody);
        assert_eq!(ids.abandon(id), None);
    }

    #[test]
    fn the_memory_of_abandoned_ids_is_bounded() {
        let mut ids = MessageIds::new();
        let first = ids.begin(());
        ids.abandon(first);
        for _ in 0..MAX_ABANDONED {
            let id = ids.begin(());
            ids.abandon(id);
        }
        assert_eq!(ids.addressee(first.wire()), Addressee::Nobody);
        assert_eq!(ids.abandoned.len(), MAX_ABANDONED);
        assert_eq!(ids.abandoned_in_order.len(), MAX_ABANDONED);
    }
}
