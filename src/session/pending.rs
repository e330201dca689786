//! Operations in flight, by messageID (RFC 4511 sections 4.1.1.1 and 4.11).
//!
//! An operation that is abandoned loses its messageID at once, so that the client may use it again. A write is not stopped by that,
//! since nobody could tell how far it got: it runs on silently, and still counts against the session's limit.

use super::ClientMessageId;

/// One operation that waits for its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InFlight {
    /// The client's name for it.
    pub(super) message_id: ClientMessageId,
    /// The tag of the response that ends it.
    pub(super) response_tag: u8,
    /// It may be stopped half way.
    pub(super) stoppable: bool,
}

/// All operations in flight on one session. At most a few dozen, so a list is searched faster than a map.
#[derive(Debug, Default)]
pub(super) struct Pending {
    named: Vec<InFlight>,
    silent: usize,
}

impl Pending {
    /// Notes the beginning of an operation whose messageID is not in flight.
    pub(super) fn begin(&mut self, operation: InFlight) {
        debug_assert!(!self.contains(operation.message_id), "the session refuses duplicates");
        self.named.push(operation);
    }

    /// Notes the end of an operation: what it was, unless it is not in flight (any more).
    pub(super) fn end(&mut self, message_id: ClientMessageId) -> Option<InFlight> {
        let position = self.named.iter().position(|operation| operation.message_id == message_id)?;
        Some(self.named.swap_remove(position))
    }

    /// Takes an operation's name away: what it was, unless it is not in flight. One that cannot be stopped is counted until
    /// [`Pending::silent_ended`].
    pub(super) fn abandon(&mut self, message_id: ClientMessageId) -> Option<InFlight> {
        let operation = self.end(message_id)?;
        if !operation.stoppable {
            self.silent += 1;
        }
        Some(operation)
    }

    /// [`Pending::abandon`] for every one.
    pub(super) fn abandon_all(&mut self) {
        self.silent += self.named.iter().filter(|operation| !operation.stoppable).count();
        self.named.clear();
    }

    /// An abandoned operation that could not be stopped has ended.
    pub(super) fn silent_ended(&mut self) {
        self.silent = self.silent.saturating_sub(1);
    }

    /// The operation under that name, if there is one.
    pub(super) fn find(&self, message_id: ClientMessageId) -> Option<&InFlight> {
        self.named.iter().find(|operation| operation.message_id == message_id)
    }

    /// That messageID is in flight.
    pub(super) fn contains(&self, message_id: ClientMessageId) -> bool {
        self.find(message_id).is_some()
    }

    /// The client waits for an answer.
    pub(super) const fn is_awaited(&self) -> bool {
        !self.named.is_empty()
    }

    /// How many run, with those that the client gave up.
    pub(super) const fn len(&self) -> usize {
        self.named.len() + self.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::MessageId;
    use crate::ldap::envelope::op;

    fn id(number: u32) -> ClientMessageId {
        ClientMessageId::new(MessageId::new(number).unwrap()).unwrap()
    }

    fn search(number: u32) -> InFlight {
        InFlight { message_id: id(number), response_tag: op::SEARCH_RESULT_DONE, stoppable: true }
    }

    fn write(number: u32) -> InFlight {
        InFlight { message_id: id(number), response_tag: op::MODIFY_RESPONSE, stoppable: false }
    }

    #[test]
    fn an_operation_ends_once() {
        let mut pending = Pending::default();
        pending.begin(search(1));
        assert_eq!(pending.end(id(1)), Some(search(1)));
        assert_eq!(pending.end(id(1)), None);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn an_abandoned_search_is_gone_at_once() {
        let mut pending = Pending::default();
        pending.begin(search(1));
        assert_eq!(pending.abandon(id(1)), Some(search(1)));
        assert!(!pending.contains(id(1)));
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn an_abandoned_write_counts_until_it_has_ended() {
        let mut pending = Pending::default();
        pending.begin(write(1));
        pending.begin(search(2));
        pending.abandon_all();
        assert!(!pending.contains(id(1)) && !pending.contains(id(2)));
        assert!(!pending.is_awaited());
        assert_eq!(pending.len(), 1);
        pending.silent_ended();
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn abandoning_what_is_not_in_flight_changes_nothing() {
        let mut pending = Pending::default();
        pending.begin(write(1));
        assert_eq!(pending.abandon(id(2)), None);
        assert_eq!(pending.len(), 1);
    }
}
