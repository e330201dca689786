//! The extended operations that a session answers by itself: StartTLS (RFC 4511 section 4.14), "Who am I?" (RFC 4532), Cancel (RFC 3909).

use super::{Accepted, AcceptedRequest, ClientMessageId, Session, State, Step};
use crate::identity::Identity;
use crate::ldap::ber::{BerError, Reader, tag};
use crate::ldap::dn::Dn;
use crate::ldap::message::Extended;
use crate::ldap::response::{write_extended_response, write_result};
use crate::ldap::{MessageId, ResultCode, oid};

impl Session {
    /// An ExtendedRequest on a session where it may be answered. `critical`: it carries a control that must be understood.
    pub(super) fn extended<'a>(
        &mut self,
        message_id: ClientMessageId,
        extended: Extended<'a>,
        controls: Option<&'a [u8]>,
        critical: bool,
        out: &mut Vec<u8>,
    ) -> Step<'a> {
        if extended.name == oid::PASSWORD_MODIFY {
            return self.run(Accepted { message_id, request: AcceptedRequest::Extended(extended), controls });
        }
        let answer = Answer { message_id, out };
        if critical && matches!(extended.name, oid::START_TLS | oid::WHO_AM_I | oid::CANCEL) {
            return answer.refuse(ResultCode::UNAVAILABLE_CRITICAL_EXTENSION, "no control goes with this operation");
        }
        match extended.name {
            oid::START_TLS => self.start_tls(&extended, answer),
            oid::WHO_AM_I => self.who_am_i(&extended, answer),
            oid::CANCEL => self.cancel(&extended, answer),
            // An unknown responseName stays absent (RFC 4511 section 4.12).
            _ => answer.refuse(ResultCode::PROTOCOL_ERROR, "unknown extended operation"),
        }
    }

    fn start_tls<'a>(&mut self, extended: &Extended<'_>, answer: Answer<'_>) -> Step<'a> {
        if extended.value.is_some() {
            return answer.refuse(ResultCode::PROTOCOL_ERROR, "StartTLS takes no value");
        }
        if self.tls {
            return answer.refuse(ResultCode::OPERATIONS_ERROR, "TLS is up already");
        }
        if !self.rules.start_tls {
            return answer.refuse(ResultCode::PROTOCOL_ERROR, "StartTLS is not offered here");
        }
        if self.pending.is_awaited() {
            return answer.refuse(ResultCode::OPERATIONS_ERROR, "operations are outstanding");
        }
        write_extended_response(answer.out, answer.message_id.wire(), ResultCode::SUCCESS, "", Some(oid::START_TLS), None);
        self.state = State::StartingTls;
        Step::StartTls
    }

    fn who_am_i<'a>(&self, extended: &Extended<'_>, answer: Answer<'_>) -> Step<'a> {
        if extended.value.is_some() {
            return answer.refuse(ResultCode::PROTOCOL_ERROR, "Who am I takes no value");
        }
        let authorization_id = authorization_id(&self.known.identity);
        write_extended_response(answer.out, answer.message_id.wire(), ResultCode::SUCCESS, "", None, Some(authorization_id.as_bytes()));
        Step::Continue
    }

    fn cancel<'a>(&mut self, extended: &Extended<'_>, answer: Answer<'_>) -> Step<'a> {
        let Ok(target) = cancel_id(extended.value) else {
            return answer.refuse(ResultCode::PROTOCOL_ERROR, "Cancel takes the messageID of an operation");
        };
        let Some(operation) = target.and_then(|target| self.pending.find(target)).copied() else {
            return answer.refuse(ResultCode::NO_SUCH_OPERATION, "no such operation is outstanding");
        };
        if !operation.stoppable {
            return answer.refuse(ResultCode::CANNOT_CANCEL, "a write that has begun runs to its end");
        }
        self.pending.end(operation.message_id);
        // The cancelled operation is answered before the Cancel, so that the client never waits for the wrong one.
        write_result(answer.out, operation.message_id.wire(), operation.response_tag, ResultCode::CANCELED, "");
        write_extended_response(answer.out, answer.message_id.wire(), ResultCode::SUCCESS, "", None, None);
        Step::Abandon(operation.message_id)
    }
}

/// Where an extended operation is answered.
struct Answer<'o> {
    message_id: ClientMessageId,
    out: &'o mut Vec<u8>,
}

impl Answer<'_> {
    fn refuse<'a>(self, code: ResultCode, diagnostic: &str) -> Step<'a> {
        write_extended_response(self.out, self.message_id.wire(), code, diagnostic, None, None);
        Step::Continue
    }
}

/// The authzId of RFC 4513 section 5.2.1.8: empty for nobody, `dn:` for a DN, `u:` for what else a directory takes as a name.
fn authorization_id(identity: &Identity) -> String {
    let name = identity.name();
    match identity {
        Identity::Anonymous => String::new(),
        Identity::Bound(_) if Dn::parse(name).is_ok() => format!("dn:{name}"),
        Identity::Bound(_) => format!("u:{name}"),
    }
}

/// The cancelID of RFC 3909 section 2.1; `None` for 0, which no operation has.
fn cancel_id(value: Option<&[u8]>) -> Result<Option<ClientMessageId>, BerError> {
    let mut value = Reader::new(value.unwrap_or_default());
    let mut fields = Reader::new(value.expect(tag::SEQUENCE)?.content);
    value.finish()?;
    let number = fields.integer(tag::INTEGER, MessageId::MAX)?;
    fields.finish()?;
    Ok(MessageId::new(number).and_then(ClientMessageId::new))
}
