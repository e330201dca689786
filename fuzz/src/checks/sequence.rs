//! Any sequence of what may happen to a session.

use redial::identity::{Identity, Principal};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::frame::frame_length;
use redial::ldap::{Envelope, MessageId};
use redial::session::{ClientMessageId, Session, SessionRules, Step};
use std::collections::HashMap;
use std::sync::Arc;

/// Octets are read as what happens: a request arrives, well-formed or not, or an operation ends. Each request has one last response at most, no
/// response goes out that nobody waits for, nobody is somebody without a Bind that succeeded, and after the end nothing is said.
pub fn session(octets: &[u8]) {
    let Some((&rules, mut rest)) = octets.split_first() else { return };
    let rules = SessionRules {
        max_pending: 4,
        start_tls: rules & 1 != 0,
        tls_required: rules & 3 == 3,
        plain_passwords: rules & 4 != 0,
        external: rules & 8 != 0,
    };
    let mut watched = Watched { session: Session::new(rules, false), waiting: HashMap::new(), binding: None, bound: false, ended: false };
    while let Some(event) = Event::read(&mut rest) {
        watched.meets(event);
        if watched.ended {
            return;
        }
    }
}

enum Event<'a> {
    /// An LDAPMessage with this messageID and protocolOp.
    Request(u8, &'a [u8]),
    /// Octets that are framed as one.
    Frame(&'a [u8]),
    Finishes(u8),
    Binds(u8),
    BreaksOff(u8),
    SilentEnds,
}

impl<'a> Event<'a> {
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let (&[kind, argument], behind) = rest.split_first_chunk()?;
        *rest = behind;
        let id = argument % 7;
        Some(match kind % 16 {
            0 => Self::Finishes(id),
            1 => Self::Binds(id),
            2 => Self::BreaksOff(id),
            3 => Self::SilentEnds,
            4..=7 => Self::Frame(take(rest, argument.into())),
            request => Self::Request(id, REQUESTS.get(usize::from(request) - 8).copied().unwrap_or_default()),
        })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, behind) = rest.split_at(count.min(rest.len()));
    *rest = behind;
    taken
}

struct Watched {
    session: Session,
    /// The requests that wait for their last response.
    waiting: HashMap<u32, u8>,
    binding: Option<u32>,
    bound: bool,
    ended: bool,
}

impl Watched {
    fn meets(&mut self, event: Event<'_>) {
        let mut out = Vec::new();
        match event {
            Event::Finishes(id) => {
                let Some(id) = client_id(id) else { return };
                let number = id.wire().number();
                if self.session.finished(id) {
                    assert!(self.waiting.remove(&number).is_some());
                    if self.binding == Some(number) {
                        self.binding = None;
                    }
                }
            }
            Event::Binds(id) => {
                let Some(id) = client_id(id) else { return };
                let number = id.wire().number();
                let principal = Principal::of_redial("cn=a".to_owned());
                let accepted = self.session.bind_finished(id, Identity::Bound(Arc::new(principal)));
                assert_eq!(accepted, self.binding == Some(number), "only the Bind under way makes somebody");
                if accepted {
                    self.waiting.remove(&number);
                    self.binding = None;
                    self.bound = true;
                }
            }
            Event::BreaksOff(id) => {
                let Some(id) = client_id(id) else { return };
                self.session.broke_off(id, &mut out);
                if self.binding == Some(id.wire().number()) {
                    self.binding = None;
                }
            }
            Event::SilentEnds => self.session.silent_ended(),
            Event::Request(id, op) => {
                let mut message = Vec::new();
                write_envelope(&mut message, MessageId::new(id.into()).unwrap_or(MessageId::UNSOLICITED), op, None);
                self.receives(&message, &mut out);
            }
            Event::Frame(octets) => {
                if let Ok(Some(length)) = frame_length(octets, octets.len())
                    && let Some(frame) = octets.get(..length)
                {
                    self.receives(frame, &mut out);
                }
            }
        }
        self.hears(&out);
        assert_eq!(!self.session.identity().is_anonymous(), self.bound);
        assert!(self.binding.is_none() || !self.session.may_receive());
    }

    fn receives(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        if !self.session.may_receive() {
            return;
        }
        let envelope = Envelope::parse(frame).ok();
        if let Some(envelope) = &envelope {
            let number = envelope.message_id.number();
            let is_new = number != 0 && !self.waiting.contains_key(&number);
            if is_new && envelope.op_tag == op::BIND_REQUEST {
                self.waiting.clear();
                self.bound = false;
            }
            if is_new && !matches!(envelope.op_tag, op::ABANDON_REQUEST | op::UNBIND_REQUEST) {
                self.waiting.insert(number, envelope.op_tag);
            }
        }
        match self.session.receive(frame, out) {
            Step::Close => self.ended = true,
            Step::StartTls => {
                assert!(self.waiting.len() <= 1, "nothing is in flight when TLS begins");
                self.hears(out);
                out.clear();
                self.session.tls_started();
            }
            Step::AbandonAllThenRun(accepted) => self.binding = Some(accepted.message_id.wire().number()),
            Step::Abandon(target) => drop(self.waiting.remove(&target.wire().number())),
            Step::Continue | Step::Run(_) | Step::AbandonAll(_) => {}
        }
        if self.ended {
            assert!(!self.session.may_receive());
        }
    }

    /// Whole LDAPMessages, each the last response to a request that waits for one, or a notification.
    fn hears(&mut self, mut out: &[u8]) {
        while !out.is_empty() {
            let Ok(Some(length)) = frame_length(out, out.len()) else { panic!("what goes out is no LDAPMessage: {out:02x?}") };
            let (message, behind) = out.split_at(length);
            let Ok(envelope) = Envelope::parse(message) else { panic!("what goes out is malformed: {message:02x?}") };
            let number = envelope.message_id.number();
            assert!(number == 0 || self.waiting.remove(&number).is_some(), "a response to {number}, which nobody waits for");
            out = behind;
        }
    }
}

fn client_id(number: u8) -> Option<ClientMessageId> {
    ClientMessageId::new(MessageId::new(number.into())?)
}

/// Requests, well-formed: a search, a delete, Binds with and without a password, by SASL PLAIN, StartTLS, Abandon of 1, Unbind.
const REQUESTS: [&[u8]; 8] = [
    b"\x63\x1b\x04\x00\x0a\x01\x02\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x02\x63\x6e\x30\x04\x04\x02\x63\x6e",
    b"\x4a\x04cn=a",
    b"\x60\x0c\x02\x01\x03\x04\x04cn=a\x80\x01p",
    b"\x60\x07\x02\x01\x03\x04\x00\x80\x00",
    b"\x60\x14\x02\x01\x03\x04\x00\xa3\x0d\x04\x05PLAIN\x04\x04\x00a\x00p",
    b"\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
    b"\x50\x01\x01",
    b"\x42\x00",
];
