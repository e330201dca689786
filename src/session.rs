//! One client's LDAP session as a state machine (RFC 4511 sections 3.1, 4.1.1.1, 4.2.1, 4.11, 4.14; RFC 4513 section 4), pure.
//!
//! In: whole frames, and word of what became of the operations started. Out: [`Step`]s for the connection to carry out, and the responses
//! that the session gives by itself, appended to `out`. It never waits, reads no clock and knows no socket.
//!
//! What holds always: the session is anonymous from the moment a Bind arrives until that Bind has succeeded; while a Bind or StartTLS is under way no
//! further frame is taken; no two operations in flight share a messageID; no response is let out for an abandoned operation.

mod bind;
mod extended;
mod pending;

use self::bind::BindVerdict;
use self::pending::{InFlight, Pending};
use crate::cache::Standing;
use crate::identity::revocation::Revocation;
use crate::identity::{Identity, Principal};
use crate::ldap::ber::BerError;
use crate::ldap::control::parse_controls;
use crate::ldap::envelope::op;
use crate::ldap::frame::Frame;
use crate::ldap::message::{Bind, Compare, Extended, Request, RequestError, Search, Write, WriteKind};
use crate::ldap::response::{response_tag, write_notice_of_disconnection, write_result, write_sasl_challenge};
use crate::ldap::{Envelope, MessageId, ResultCode, oid};
use std::sync::Arc;

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
    pub max_pending: u32,
    /// StartTLS is offered.
    pub start_tls: bool,
    /// Nothing but StartTLS and Unbind before TLS: confidentialityRequired(13).
    pub tls_required: bool,
    /// A password may come without TLS.
    pub plain_passwords: bool,
    /// SASL EXTERNAL is offered to clients with a certificate.
    pub external: bool,
}

/// What a session runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// No TLS.
    Clear,
    /// TLS.
    Tls,
    /// TLS, with a client certificate that was verified and names somebody.
    Certified,
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
    /// A simple bind (or what came as SASL PLAIN), version 3, name and password both there; no frame is taken until
    /// [`Session::bind_finished`].
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
    /// Start this operation, and call [`Session::finished`] when it ends.
    Run(Accepted<'a>),
    /// Stop that operation; nothing more of it goes out. Responses, where there are any (Cancel), are in `out`. One that
    /// [runs to its end](AcceptedRequest::runs_to_its_end) is not stopped but only silenced: call [`Session::silent_ended`] when it ends.
    Abandon(ClientMessageId),
    /// A Bind arrived: stop or silence all operations in flight (RFC 4511 section 4.2.1), then run it, and call
    /// [`Session::bind_finished`] when it ends.
    AbandonAllThenRun(Accepted<'a>),
    /// A Bind arrived that the session answered by itself (anonymous, EXTERNAL, refused): stop or silence all operations in flight; the answer is in `out`,
    /// and this is what it says to whom.
    AbandonAll(AnsweredBind<'a>),
    /// The StartTLS response is in `out`: write it, and if no further octet had been received, start the handshake, else close.
    StartTls,
    /// Write `out`, then close. All operations in flight are stopped.
    Close,
}

/// A Bind that the session answered by itself.
#[derive(Debug, Clone, Copy)]
pub struct AnsweredBind<'a> {
    /// The name in it, as far as there is one.
    pub name: &'a str,
    /// What the client was told.
    pub code: ResultCode,
}

impl AcceptedRequest<'_> {
    /// Once begun it is not stopped by Abandon, Bind or the end of the connection: nobody could tell how far it got, and what it
    /// changed must be known to the cache.
    pub const fn runs_to_its_end(&self) -> bool {
        matches!(self, Self::Write(_) | Self::Extended(_))
    }

    const fn response_tag(&self) -> u8 {
        match self {
            Self::Bind(_) => op::BIND_RESPONSE,
            Self::Search(_) => op::SEARCH_RESULT_DONE,
            Self::Compare(_) => op::COMPARE_RESPONSE,
            Self::Extended(_) => op::EXTENDED_RESPONSE,
            Self::Write(write) => match write.kind {
                WriteKind::Modify => op::MODIFY_RESPONSE,
                WriteKind::Add => op::ADD_RESPONSE,
                WriteKind::Delete => op::DELETE_RESPONSE,
                WriteKind::ModifyDn => op::MODIFY_DN_RESPONSE,
            },
        }
    }
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    rules: SessionRules,
    known: Known,
    tls: bool,
    /// Whom the client's certificate names, if it has one.
    certificate: Option<Arc<Principal>>,
    state: State,
    pending: Pending,
}

/// Who the client is, and the standing that goes with that; somebody else has none until it is said again.
#[derive(Debug, Default)]
struct Known {
    identity: Identity,
    standing: Option<Standing>,
}

impl From<Identity> for Known {
    fn from(identity: Identity) -> Self {
        Self { identity, standing: None }
    }
}

/// What the session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next request.
    Ready,
    /// The end of a Bind; no frame is taken.
    Binding(ClientMessageId),
    /// The end of the TLS handshake; no frame is taken.
    StartingTls,
    /// Nothing: the last word has been said.
    Closed,
}

impl Session {
    /// A session at connect: anonymous. `tls`: TLS is up already (LDAPS).
    pub fn new(rules: SessionRules, tls: bool) -> Self {
        Self { rules, known: Known::default(), tls, certificate: None, state: State::Ready, pending: Pending::default() }
    }

    /// Takes one whole frame; to be called while [`Session::may_receive`] only.
    pub fn receive<'a>(&mut self, frame: &'a [u8], out: &mut Vec<u8>) -> Step<'a> {
        debug_assert!(self.may_receive(), "a frame for a session that takes none");
        let Ok(envelope) = Envelope::parse(frame) else {
            return self.disconnect(ResultCode::PROTOCOL_ERROR, "not an LDAPMessage", out);
        };
        if envelope.op_tag == op::UNBIND_REQUEST {
            self.state = State::Closed;
            return Step::Close;
        }
        let Some(message_id) = ClientMessageId::new(envelope.message_id) else {
            return self.disconnect(ResultCode::PROTOCOL_ERROR, "messageID 0 is the server's", out);
        };
        if self.pending.contains(message_id) {
            return self.disconnect(ResultCode::PROTOCOL_ERROR, "this messageID is in flight already", out);
        }
        if envelope.op_tag == op::BIND_REQUEST {
            self.known = Known::default();
            self.pending.abandon_all();
        }
        match Request::parse(&envelope) {
            Ok(request) => self.request(message_id, request, &envelope, out),
            Err(RequestError::NotARequest(_)) => self.disconnect(ResultCode::PROTOCOL_ERROR, "not a request", out),
            Err(error) => self.refuse(message_id, envelope.op_tag, error.result_code(), &error.to_string(), out),
        }
    }

    /// The messageID in a frame and the octets behind it, if the session would let a search begin under it; to be called while
    /// [`Session::may_receive`] only. What is answered at once need not be told to the session.
    #[inline]
    pub fn repeatable<'a>(&self, frame: Frame<'a>) -> Option<(ClientMessageId, &'a [u8])> {
        let (message_id, behind) = Envelope::split(frame.contents).ok()?;
        let message_id = ClientMessageId::new(message_id)?;
        let may = (self.tls || !self.rules.tls_required) && !self.pending.contains(message_id);
        may.then_some((message_id, behind))
    }

    /// The standing that was [set](Self::set_standing) since the client became who it is.
    pub const fn standing(&self) -> Option<Standing> {
        self.known.standing
    }

    /// The standing of the client as it is: forgotten with its identity.
    pub const fn set_standing(&mut self, standing: Option<Standing>) {
        self.known.standing = standing;
    }

    /// May a frame be taken now? If not, the socket is not read.
    pub fn may_receive(&self) -> bool {
        self.state == State::Ready && self.pending.len() < self.rules.max_pending as usize
    }

    /// May a response of that operation, which is not its last, go out?
    pub fn may_answer(&self, message_id: ClientMessageId) -> bool {
        self.state == State::Binding(message_id) || self.pending.contains(message_id)
    }

    /// An operation has ended; a Bind that ends this way has failed. May its last response go out?
    pub fn finished(&mut self, message_id: ClientMessageId) -> bool {
        self.pending.end(message_id).is_some() || self.bind_finished(message_id, Identity::Anonymous)
    }

    /// A Bind has ended, and the client is `identity` now: anonymous if it failed. May its response go out?
    pub fn bind_finished(&mut self, message_id: ClientMessageId, identity: Identity) -> bool {
        if self.state != State::Binding(message_id) {
            return false;
        }
        self.known = identity.into();
        self.state = State::Ready;
        true
    }

    /// An operation came to its end without a last response, by a fault of ours: the session gives one.
    pub fn broke_off(&mut self, message_id: ClientMessageId, out: &mut Vec<u8>) {
        let response_tag = if self.bind_finished(message_id, Identity::Anonymous) {
            op::BIND_RESPONSE
        } else if let Some(operation) = self.pending.end(message_id) {
            operation.response_tag
        } else {
            return;
        };
        write_result(
            out,
            message_id.wire(),
            response_tag,
            ResultCode::OTHER,
            "the operation broke off here; whether it took effect is unknown",
        );
    }

    /// An operation that was silenced has ended.
    pub fn silent_ended(&mut self) {
        self.pending.silent_ended();
    }

    /// The handshake that [`Step::StartTls`] asked for has succeeded.
    pub fn tls_started(&mut self) {
        debug_assert_eq!(self.state, State::StartingTls);
        self.tls = true;
        self.state = State::Ready;
    }

    /// The client's certificate was verified and names that principal: EXTERNAL proves it from now on.
    pub fn certified(&mut self, principal: Arc<Principal>) {
        debug_assert!(self.tls, "certificates come with TLS");
        self.certificate = Some(principal);
    }

    /// Says why the session ends and ends it; nothing if it has ended already. Responses that are still wanted must have gone out before.
    pub fn notice(&mut self, code: ResultCode, diagnostic: &str, out: &mut Vec<u8>) {
        if self.state != State::Closed {
            write_notice_of_disconnection(out, code, diagnostic);
            self.state = State::Closed;
        }
    }

    /// Whoever the client has proved to be, it is nobody from here on, and the session ends.
    pub fn revoked(&mut self, why: Revocation, out: &mut Vec<u8>) {
        self.known = Known::default();
        self.pending.abandon_all();
        self.notice(why.code(), why.diagnostic(), out);
    }

    /// Who the client is.
    pub const fn identity(&self) -> &Identity {
        &self.known.identity
    }

    /// What it runs over.
    pub const fn security(&self) -> Security {
        match (self.tls, &self.certificate) {
            (false, _) => Security::Clear,
            (true, None) => Security::Tls,
            (true, Some(_)) => Security::Certified,
        }
    }

    /// The client waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.state == State::Ready && !self.pending.is_awaited()
    }

    fn request<'a>(&mut self, message_id: ClientMessageId, request: Request<'a>, envelope: &Envelope<'a>, out: &mut Vec<u8>) -> Step<'a> {
        // Criticality means nothing on a request without a response (RFC 4511 section 4.1.11), so its controls are not even read.
        match request {
            Request::Unbind => return Step::Close,
            Request::Abandon(target) => return self.abandon(target),
            Request::Bind(_) | Request::Search(_) | Request::Write(_) | Request::Compare(_) | Request::Extended(_) => {}
        }
        let is_start_tls = matches!(request, Request::Extended(Extended { name: oid::START_TLS, .. }));
        if self.rules.tls_required && !self.tls && !is_start_tls {
            return self.refuse(message_id, envelope.op_tag, ResultCode::CONFIDENTIALITY_REQUIRED, "StartTLS first", out);
        }
        let critical = match parse_controls(envelope.controls) {
            Ok(controls) => controls.iter().any(|control| control.critical),
            Err(error) => {
                let code = if error == BerError::TooMany { ResultCode::ADMIN_LIMIT_EXCEEDED } else { ResultCode::PROTOCOL_ERROR };
                return self.refuse(message_id, envelope.op_tag, code, &format!("controls: {error}"), out);
            }
        };
        let controls = envelope.controls;
        match request {
            Request::Bind(bind) => self.bind(message_id, &bind, controls, critical, out),
            Request::Search(search) => self.run(Accepted { message_id, request: AcceptedRequest::Search(search), controls }),
            Request::Compare(compare) => self.run(Accepted { message_id, request: AcceptedRequest::Compare(compare), controls }),
            Request::Write(write) => self.run(Accepted { message_id, request: AcceptedRequest::Write(write), controls }),
            Request::Extended(extended) => self.extended(message_id, extended, controls, critical, out),
            Request::Unbind | Request::Abandon(_) => Step::Continue,
        }
    }

    fn bind<'a>(
        &mut self,
        message_id: ClientMessageId,
        bind: &Bind<'a>,
        controls: Option<&'a [u8]>,
        critical: bool,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        let id = message_id.wire();
        let (code, diagnostic) = match bind::judge(bind, &self.rules, self.tls) {
            BindVerdict::Verify(bind) => {
                self.state = State::Binding(message_id);
                return Step::AbandonAllThenRun(Accepted { message_id, request: AcceptedRequest::Bind(bind), controls });
            }
            BindVerdict::AwaitsMessage => {
                write_sasl_challenge(out, id);
                return Step::AbandonAll(AnsweredBind { name: bind.name, code: ResultCode::SASL_BIND_IN_PROGRESS });
            }
            BindVerdict::Refused(code, diagnostic) => (code, diagnostic),
            BindVerdict::Anonymous | BindVerdict::External(_) if critical => {
                (ResultCode::UNAVAILABLE_CRITICAL_EXTENSION, "no control goes with this bind")
            }
            BindVerdict::Anonymous => (ResultCode::SUCCESS, ""),
            BindVerdict::External(authorization) => match bind::judge_external(authorization, self.certificate.as_ref()) {
                Ok(principal) => {
                    self.known = Identity::Bound(Arc::clone(principal)).into();
                    (ResultCode::SUCCESS, "")
                }
                Err(refused) => refused,
            },
        };
        write_result(out, id, op::BIND_RESPONSE, code, diagnostic);
        Step::AbandonAll(AnsweredBind { name: bind.name, code })
    }

    /// Unknown and ended operations, and messageID 0, are passed over in silence (RFC 4511 section 4.11). A Bind or StartTLS is never
    /// among the pending.
    fn abandon<'a>(&mut self, target: MessageId) -> Step<'a> {
        let abandoned = ClientMessageId::new(target).and_then(|target| self.pending.abandon(target));
        abandoned.map_or(Step::Continue, |operation| Step::Abandon(operation.message_id))
    }

    fn run<'a>(&mut self, accepted: Accepted<'a>) -> Step<'a> {
        let Accepted { message_id, request, .. } = accepted;
        self.pending.begin(InFlight { message_id, response_tag: request.response_tag(), stoppable: !request.runs_to_its_end() });
        Step::Run(accepted)
    }

    /// Refuses a request in its own response; one that has none, and cannot be understood, ends the session.
    fn refuse<'a>(
        &mut self,
        message_id: ClientMessageId,
        request_tag: u8,
        code: ResultCode,
        diagnostic: &str,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        let Some(response_tag) = response_tag(request_tag) else {
            return self.disconnect(code, diagnostic, out);
        };
        write_result(out, message_id.wire(), response_tag, code, diagnostic);
        if request_tag == op::BIND_REQUEST { Step::AbandonAll(AnsweredBind { name: "", code }) } else { Step::Continue }
    }

    fn disconnect<'a>(&mut self, code: ResultCode, diagnostic: &str, out: &mut Vec<u8>) -> Step<'a> {
        self.notice(code, diagnostic, out);
        Step::Close
    }
}
