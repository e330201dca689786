//! One client's LDAP session as a state machine (RFC 4511 sections 3.1, 4.1.1.1, 4.2.1, 4.11, 4.14; RFC 4513 section 4), pure.
//!
//! In: whole frames, and word of what became of the operations started. Out: [`Step`]s for the connection to carry out, and the responses
//! that the session gives by itself, appended to `out`. It never waits, reads no clock and knows no socket.
//!
//! What holds always: the session is anonymous from the moment a Bind arrives until that Bind has succeeded; while a Bind or StartTLS is under way no
//! further frame is taken; no two operations in flight share a messageID; no response is let out for an abandoned operation.

pub mod pending;

use crate::identity::Identity;
use crate::ldap::MessageId;
use crate::ldap::control::Control;
use crate::ldap::message::{Bind, Compare, Extended, ResultCode, Search, Write};

/// A messageID that a client chose; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientMessageId(MessageId);

impl ClientMessageId {
    /// A client's messageID, unless it is the one for unsolicited notifications.
    pub fn new(id: MessageId) -> Option<Self> {
        (id != MessageId::UNSOLICITED).then_some(Self(id))
    }

    /// The messageID for the response's envelope.
    pub const fn wire(self) -> MessageId {
        self.0
    }
}

/// What a session may do, decided by its listener.
#[derive(Debug, Clone, Copy)]
pub struct SessionRules {
    /// Operations in flight at once; beyond it the socket is not read.
    pub max_pending: usize,
    /// StartTLS is offered.
    pub start_tls: bool,
    /// Nothing but StartTLS and Unbind before TLS: confidentialityRequired(13).
    pub tls_required: bool,
    /// A password may come without TLS.
    pub plain_passwords: bool,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    rules: SessionRules,
    identity: Identity,
    // further fields: TLS up or not, state (Ready, Binding, StartingTls, Closing), pending::Pending
}

/// An operation for the pipeline.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// Under which messageID its responses go out.
    pub message_id: ClientMessageId,
    /// What is asked.
    pub request: AcceptedRequest<'a>,
    /// The contents of the controls element, well-formed, at most [`crate::ldap::control::MAX_CONTROLS`].
    pub controls: Option<&'a [u8]>,
}

/// The requests that a session does not answer by itself.
#[derive(Debug, Clone, Copy)]
pub enum AcceptedRequest<'a> {
    /// A simple bind, version 3, name and password both there; no frame is taken until [`Session::bind_finished`].
    Bind(Bind<'a>),
    /// A search.
    Search(Search<'a>),
    /// A compare.
    Compare(Compare<'a>),
    /// A write.
    Write(Write<'a>),
    /// An extended operation that the session does not do by itself: Password Modify. Unknown ones were refused with
    /// protocolError(2).
    Extended(Extended<'a>),
}

/// What the connection does after a frame.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing: what there was to say is in `out`.
    Continue,
    /// Start this operation, and call [`Session::finished`] (or [`Session::bind_finished`]) when it ends.
    Run(Accepted<'a>),
    /// Stop that operation; nothing more of it goes out. Responses, where there are any (Cancel), are in `out`.
    Abandon(ClientMessageId),
    /// A Bind arrived: stop all operations in flight (RFC 4511 section 4.2.1), then run it.
    AbandonAllThenRun(Accepted<'a>),
    /// A Bind arrived that the session answered by itself (anonymous, refused): stop all operations in flight; the answer is in `out`.
    AbandonAll,
    /// The StartTLS response is in `out`: write it, and if no further octet had been received, start the handshake, else close.
    StartTls,
    /// Write `out`, then close. All operations in flight are stopped.
    Close,
}
// impl Session { new(rules, tls: bool), receive(&mut self, frame, out) -> Step, may_receive() -> bool, tls_started(), finished(id) -> bool,
// bind_finished(id, Result<Identity, ()>), identity(), is_idle() ... } is written beside this.

/// Used by the notice that the connection writes for errors below the session (framing).
pub const FRAMING_ERROR: ResultCode = ResultCode::PROTOCOL_ERROR;

/// Names a control for a log line.
pub fn control_name<'a>(control: &Control<'a>) -> &'a str {
    control.oid
}
