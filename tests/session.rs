//! Each rule of a session as a sentence (RFC 4511, RFC 4513, RFC 3909, RFC 4532).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "session/properties.rs"]
mod properties;

use common::requests::{
    abandon, bind, bind_version, cancel, compare, delete, extended, frame, frame_with_control, said, sasl_bind, sasl_bind_with, search,
    unbind,
};
use redial::identity::{Identity, Principal};
use redial::ldap::ber::{Reader, tag, write_boolean, write_constructed, write_element, write_integer};
use redial::ldap::control::{parse_controls, write_control};
use redial::ldap::envelope::{op, write_envelope};
use redial::ldap::message::Authentication;
use redial::ldap::{Envelope, MessageId, ResultCode, oid};
use redial::session::{AcceptedRequest, ClientMessageId, Security, Session, SessionRules, Step};
use std::sync::Arc;

const RULES: SessionRules = SessionRules { max_pending: 4, start_tls: true, tls_required: false, plain_passwords: true, external: true };

fn somebody(name: &str) -> Identity {
    Identity::Bound(Arc::new(Principal::of_redial(name.to_owned())))
}

fn id(number: u32) -> ClientMessageId {
    ClientMessageId::new(MessageId::new(number).unwrap()).unwrap()
}

/// What follows the LDAPResult of the only message in `out`: responseName [10] and responseValue [11].
fn extended_parts(out: &[u8]) -> (Option<String>, Option<Vec<u8>>) {
    let envelope = Envelope::parse(out).unwrap();
    let mut fields = Reader::new(envelope.op_content);
    for _ in 0..3 {
        fields.element().unwrap();
    }
    let name = fields.optional(0x8a).unwrap().map(|name| String::from_utf8(name.content.to_vec()).unwrap());
    let value = fields.optional(0x8b).unwrap().map(|value| value.content.to_vec());
    fields.finish().unwrap();
    (name, value)
}

/// A session that a frame is given to, and what it said.
struct Talk {
    session: Session,
    out: Vec<u8>,
}

impl Talk {
    fn new(rules: SessionRules, tls: bool) -> Self {
        Self { session: Session::new(rules, tls), out: Vec::new() }
    }

    /// The name of the step that a frame leads to.
    fn take(&mut self, frame: &[u8]) -> &'static str {
        self.out.clear();
        name(&self.session.receive(frame, &mut self.out))
    }

    fn said(&self) -> Vec<(u32, u8, u32)> {
        said(&self.out)
    }

    fn bound(mut self, name: &str) -> Self {
        assert_eq!(self.take(&frame(100, &bind(name, "secret"))), "abandon all, run");
        assert!(self.session.bind_finished(id(100), somebody(name)));
        self
    }
}

fn talk() -> Talk {
    Talk::new(RULES, false)
}

fn name(step: &Step<'_>) -> &'static str {
    match step {
        Step::Continue => "continue",
        Step::Run(_) => "run",
        Step::Abandon(_) => "abandon",
        Step::AbandonAllThenRun(_) => "abandon all, run",
        Step::AbandonAll(_) => "abandon all",
        Step::StartTls => "start tls",
        Step::Close => "close",
    }
}

const NOTICE: u8 = op::EXTENDED_RESPONSE;

#[test]
fn what_is_not_an_ldap_message_ends_the_session_with_a_notice() {
    for octets in [
        &b"\x30\x00"[..],
        b"\x30\x03\x02\x01\x01",
        b"\x30\x05\x02\x01\x01\x42\x01",
        b"\x30\x06\x04\x01\x01\x50\x01\x01",
        b"\x30\x09\x02\x04\x80\x00\x00\x01\x50\x01\x01",
    ] {
        let mut talk = talk();
        assert_eq!(talk.take(octets), "close", "{octets:02x?}");
        assert_eq!(talk.said(), [(0, NOTICE, 2)]);
        assert_eq!(extended_parts(&talk.out), (Some(oid::NOTICE_OF_DISCONNECTION.to_owned()), None));
        assert!(!talk.session.may_receive());
    }
}

#[test]
fn message_id_0_from_a_client_ends_the_session() {
    let mut talk = talk();
    assert_eq!(talk.take(&frame(0, &search())), "close");
    assert_eq!(talk.said(), [(0, NOTICE, 2)]);
}

#[test]
fn a_response_from_a_client_ends_the_session() {
    for response in [op::BIND_RESPONSE, op::SEARCH_RESULT_DONE, op::EXTENDED_RESPONSE, op::INTERMEDIATE_RESPONSE] {
        let mut talk = talk();
        let mut done = Vec::new();
        redial::ldap::response::write_result_op(&mut done, response, ResultCode::SUCCESS, "", "");
        assert_eq!(talk.take(&frame(1, &done)), "close");
        assert_eq!(talk.said(), [(0, NOTICE, 2)]);
    }
}

#[test]
fn malformed_contents_are_refused_in_their_own_response_and_the_session_lives() {
    for (request, response) in [
        (op::SEARCH_REQUEST, op::SEARCH_RESULT_DONE),
        (op::MODIFY_REQUEST, op::MODIFY_RESPONSE),
        (op::ADD_REQUEST, op::ADD_RESPONSE),
        (op::MODIFY_DN_REQUEST, op::MODIFY_DN_RESPONSE),
        (op::COMPARE_REQUEST, op::COMPARE_RESPONSE),
        (op::EXTENDED_REQUEST, op::EXTENDED_RESPONSE),
    ] {
        let mut talk = talk();
        let mut malformed = Vec::new();
        write_constructed(&mut malformed, request, |out| write_boolean(out, tag::BOOLEAN, true));
        assert_eq!(talk.take(&frame(1, &malformed)), "continue", "{request:#04x}");
        assert_eq!(talk.said(), [(1, response, 2)]);
        assert!(talk.session.may_receive() && talk.session.is_idle());
    }
}

#[test]
fn a_malformed_abandon_ends_the_session_since_it_has_no_response() {
    let mut talk = talk();
    let mut malformed = Vec::new();
    write_element(&mut malformed, op::ABANDON_REQUEST, b"\xff\xff\xff\xff");
    assert_eq!(talk.take(&frame(1, &malformed)), "close");
    assert_eq!(talk.said(), [(0, NOTICE, 2)]);
}

#[test]
fn a_message_id_in_flight_may_not_be_used_again() {
    for second in [search(), bind("", ""), abandon(7), extended(oid::WHO_AM_I, None)] {
        let mut talk = talk();
        assert_eq!(talk.take(&frame(7, &search())), "run");
        assert_eq!(talk.take(&frame(7, &second)), "close");
        assert_eq!(talk.said(), [(0, NOTICE, 2)]);
    }
}

#[test]
fn a_message_id_may_be_used_again_after_its_last_response() {
    let mut talk = talk();
    assert_eq!(talk.take(&frame(7, &search())), "run");
    assert!(talk.session.finished(id(7)));
    assert_eq!(talk.take(&frame(7, &search())), "run");
}

#[test]
fn an_unknown_element_at_the_end_of_the_envelope_is_ignored() {
    let mut message = Vec::new();
    write_constructed(&mut message, tag::SEQUENCE, |out| {
        write_integer(out, tag::INTEGER, 5);
        out.extend_from_slice(&search());
        write_element(out, 0x8f, b"from the future");
    });
    assert_eq!(talk().take(&message), "run");
}

#[test]
fn search_compare_and_writes_are_for_the_pipeline() {
    let mut talk = talk();
    for (number, request) in (1..).zip([search(), compare(), delete()]) {
        assert_eq!(talk.take(&frame(number, &request)), "run");
        assert!(talk.out.is_empty());
    }
    let value = [];
    assert_eq!(talk.take(&frame(9, &extended(oid::PASSWORD_MODIFY, Some(&value)))), "run");
}

#[test]
fn no_frame_is_taken_while_as_many_operations_run_as_may() {
    let mut talk = talk();
    for number in 1..=4 {
        assert!(talk.session.may_receive());
        assert_eq!(talk.take(&frame(number, &search())), "run");
    }
    assert!(!talk.session.may_receive());
    assert!(talk.session.finished(id(2)));
    assert!(talk.session.may_receive());
}

#[test]
fn a_bind_with_name_and_password_is_verified_and_nothing_is_taken_meanwhile() {
    let mut talk = talk();
    assert_eq!(talk.take(&frame(1, &bind("cn=a", "secret"))), "abandon all, run");
    assert!(!talk.session.may_receive());
    assert!(!talk.session.is_idle());
    assert!(talk.session.bind_finished(id(1), somebody("cn=a")));
    assert_eq!(talk.session.identity().name(), "cn=a");
    assert!(talk.session.may_receive());
}

#[test]
fn a_bind_ends_what_is_outstanding_and_no_answer_of_it_goes_out() {
    let mut talk = talk();
    talk.take(&frame(1, &search()));
    talk.take(&frame(2, &delete()));
    assert_eq!(talk.take(&frame(3, &bind("cn=a", "secret"))), "abandon all, run");
    for number in [1, 2] {
        assert!(!talk.session.may_answer(id(number)));
        assert!(!talk.session.finished(id(number)));
    }
    assert!(talk.session.may_answer(id(3)));
}

#[test]
fn the_session_is_anonymous_from_the_moment_a_bind_arrives() {
    let mut talk = talk().bound("cn=a");
    talk.take(&frame(1, &bind("cn=b", "secret")));
    assert!(talk.session.identity().is_anonymous());
}

#[test]
fn a_failed_bind_leaves_the_session_anonymous() {
    let mut talk = talk().bound("cn=a");
    talk.take(&frame(1, &bind("cn=b", "wrong")));
    assert!(talk.session.bind_finished(id(1), Identity::Anonymous));
    assert!(talk.session.identity().is_anonymous());
    assert!(talk.session.may_receive());
}

#[test]
fn every_bind_that_the_session_refuses_leaves_it_anonymous() {
    let malformed = {
        let mut out = Vec::new();
        write_constructed(&mut out, op::BIND_REQUEST, |_| {});
        out
    };
    for (request, code) in [
        (bind("", ""), 0),
        (bind("cn=a", ""), 53),
        (bind("cn=a", "\0"), 53),
        (bind("", "secret"), 49),
        (bind_version(2, "cn=a", "secret"), 2),
        (sasl_bind("GSS-SPNEGO"), 7),
        (sasl_bind("DIGEST-MD5"), 7),
        (sasl_bind("PLAIN"), 13),
        (sasl_bind_with("PLAIN", Some(b"\0cn=a\0secret")), 13),
        (sasl_bind(""), 7),
        (malformed, 2),
    ] {
        let mut talk = talk().bound("cn=a");
        talk.take(&frame(1, &search()));
        assert_eq!(talk.take(&frame(2, &request)), "abandon all");
        assert_eq!(talk.said(), [(2, op::BIND_RESPONSE, code)]);
        assert!(talk.session.identity().is_anonymous());
        assert!(!talk.session.finished(id(1)));
        assert!(talk.session.is_idle());
    }
}

#[test]
fn sasl_plain_over_tls_runs_as_a_simple_bind() {
    let mut talk = Talk::new(RULES, true);
    let plain = frame(1, &sasl_bind_with("PLAIN", Some(b"cn=a\0cn=a\0secret")));
    let mut out = Vec::new();
    let Step::AbandonAllThenRun(accepted) = talk.session.receive(&plain, &mut out) else { panic!("somebody must verify it") };
    let AcceptedRequest::Bind(bind) = accepted.request else { panic!("it is a bind") };
    assert_eq!(bind.name, "cn=a");
    assert!(matches!(bind.authentication, Authentication::Simple(b"secret")));
    assert!(!talk.session.may_receive() && out.is_empty());
    assert!(talk.session.bind_finished(id(1), somebody("cn=a")));
    assert_eq!(talk.session.identity().name(), "cn=a");
}

#[test]
fn sasl_plain_over_tls_may_come_in_two_steps_and_is_nobody_between_them() {
    let mut talk = Talk::new(RULES, true).bound("cn=b");
    assert_eq!(talk.take(&frame(1, &sasl_bind("PLAIN"))), "abandon all");
    assert_eq!(talk.said(), [(1, op::BIND_RESPONSE, 14)]);
    assert!(talk.session.identity().is_anonymous() && talk.session.is_idle());
    assert_eq!(talk.take(&frame(2, &sasl_bind_with("PLAIN", Some(b"\0cn=a\0secret")))), "abandon all, run");
}

#[test]
fn sasl_plain_over_tls_that_proves_nothing_is_refused() {
    for (message, code) in [(&b"\0cn=a\0"[..], 49), (b"cn=b\0cn=a\0secret", 49), (b"cn=a\0secret", 2)] {
        let mut talk = Talk::new(RULES, true).bound("cn=a");
        assert_eq!(talk.take(&frame(1, &sasl_bind_with("PLAIN", Some(message)))), "abandon all");
        assert_eq!(talk.said(), [(1, op::BIND_RESPONSE, code)]);
        assert!(talk.session.identity().is_anonymous());
    }
}

#[test]
fn a_bind_response_that_comes_late_changes_nobody() {
    let mut talk = talk();
    talk.take(&frame(1, &bind("cn=a", "secret")));
    assert!(talk.session.bind_finished(id(1), Identity::Anonymous));
    assert!(!talk.session.bind_finished(id(1), somebody("cn=a")));
    assert!(talk.session.identity().is_anonymous());
}

#[test]
fn a_password_without_tls_is_refused_where_the_listener_says_so() {
    let rules = SessionRules { plain_passwords: false, ..RULES };
    let mut talk = Talk::new(rules, false);
    assert_eq!(talk.take(&frame(1, &bind("cn=a", "secret"))), "abandon all");
    assert_eq!(talk.said(), [(1, op::BIND_RESPONSE, 13)]);
    assert_eq!(Talk::new(rules, true).take(&frame(1, &bind("cn=a", "secret"))), "abandon all, run");
}

#[test]
fn where_tls_is_required_nothing_is_done_before_it() {
    let rules = SessionRules { tls_required: true, ..RULES };
    let mut talk = Talk::new(rules, false);
    for (request, response) in [
        (search(), op::SEARCH_RESULT_DONE),
        (compare(), op::COMPARE_RESPONSE),
        (delete(), op::DELETE_RESPONSE),
        (bind("", ""), op::BIND_RESPONSE),
        (bind("cn=a", "secret"), op::BIND_RESPONSE),
        (extended(oid::WHO_AM_I, None), op::EXTENDED_RESPONSE),
        (extended(oid::PASSWORD_MODIFY, None), op::EXTENDED_RESPONSE),
        (extended("1.2.3", None), op::EXTENDED_RESPONSE),
    ] {
        talk.take(&frame(1, &request));
        assert_eq!(talk.said(), [(1, response, 13)]);
    }
    assert_eq!(talk.take(&frame(1, &abandon(5))), "continue");
    assert!(talk.out.is_empty());
    assert_eq!(talk.take(&frame(1, &extended(oid::START_TLS, None))), "start tls");
    talk.session.tls_started();
    assert_eq!(talk.take(&frame(1, &search())), "run");
    assert_eq!(Talk::new(rules, false).take(&frame(1, &unbind())), "close");
}

#[test]
fn unbind_ends_the_session_without_a_word() {
    let mut talk = talk();
    talk.take(&frame(1, &search()));
    assert_eq!(talk.take(&frame(2, &unbind())), "close");
    assert!(talk.out.is_empty());
    assert!(!talk.session.may_receive());
    assert_eq!(Talk::new(RULES, false).take(&frame_with_control(2, &unbind(), "1.2.3", true)), "close");
}

#[test]
fn an_abandoned_search_gets_no_response() {
    let mut talk = talk();
    talk.take(&frame(1, &search()));
    assert_eq!(talk.take(&frame(2, &abandon(1))), "abandon");
    assert!(talk.out.is_empty());
    assert!(!talk.session.may_answer(id(1)));
    assert!(!talk.session.finished(id(1)));
    assert!(talk.session.is_idle());
}

#[test]
fn abandon_of_an_unknown_id_is_ignored() {
    let mut talk = talk();
    talk.take(&frame(1, &search()));
    for target in [0, 2, 3, i32::MAX as u32] {
        assert_eq!(talk.take(&frame(2, &abandon(target))), "continue");
        assert!(talk.out.is_empty());
    }
    assert!(talk.session.finished(id(1)));
}

#[test]
fn an_abandoned_write_is_silenced_and_counts_until_it_ends() {
    let mut talk = talk();
    for number in 1..=4 {
        talk.take(&frame(number, &delete()));
        if number < 4 {
            assert_eq!(talk.take(&frame(9, &abandon(number))), "abandon");
        }
    }
    assert!(!talk.session.may_receive());
    assert!(!talk.session.finished(id(1)));
    talk.session.silent_ended();
    assert!(talk.session.may_receive());
}

#[test]
fn a_critical_control_on_abandon_is_ignored() {
    let mut talk = talk();
    talk.take(&frame(1, &search()));
    assert_eq!(talk.take(&frame_with_control(2, &abandon(1), "1.2.3", true)), "abandon");
}

#[test]
fn critical_controls_on_what_the_session_answers_itself_are_refused() {
    for (request, response) in [
        (bind("", ""), op::BIND_RESPONSE),
        (extended(oid::START_TLS, None), op::EXTENDED_RESPONSE),
        (extended(oid::WHO_AM_I, None), op::EXTENDED_RESPONSE),
        (cancel(4), op::EXTENDED_RESPONSE),
    ] {
        let mut talk = talk();
        talk.take(&frame_with_control(1, &request, "1.2.3", true));
        assert_eq!(talk.said(), [(1, response, 12)]);
        assert!(talk.session.is_idle());
    }
}

#[test]
fn uncritical_controls_on_what_the_session_answers_itself_are_ignored() {
    let mut talk = talk();
    talk.take(&frame_with_control(1, &extended(oid::WHO_AM_I, None), "1.2.3", false));
    assert_eq!(talk.said(), [(1, op::EXTENDED_RESPONSE, 0)]);
}

#[test]
fn controls_of_other_operations_are_the_pipelines_business() {
    let message = frame_with_control(1, &search(), "1.2.3", true);
    let mut session = Session::new(RULES, false);
    let Step::Run(accepted) = session.receive(&message, &mut Vec::new()) else { panic!("not run") };
    assert!(parse_controls(accepted.controls).unwrap()[0].critical);
}

#[test]
fn malformed_controls_are_a_protocol_error_and_too_many_exceed_a_limit() {
    let mut talk = talk();
    let mut message = Vec::new();
    write_envelope(&mut message, MessageId::new(1).unwrap(), &search(), Some(b"\x30\x03\x02\x01\x01"));
    assert_eq!(talk.take(&message), "continue");
    assert_eq!(talk.said(), [(1, op::SEARCH_RESULT_DONE, 2)]);

    for (count, step) in [(16, "run"), (17, "continue")] {
        let mut controls = Vec::new();
        (0..count).for_each(|_| write_control(&mut controls, "1.2.3", false, None));
        let mut message = Vec::new();
        write_envelope(&mut message, MessageId::new(2).unwrap(), &search(), Some(&controls));
        assert_eq!(talk.take(&message), step);
        talk.session.finished(id(2));
    }
    assert_eq!(talk.said(), [(2, op::SEARCH_RESULT_DONE, 11)]);
}

#[test]
fn start_tls_is_answered_and_nothing_is_taken_until_the_handshake_is_over() {
    let mut talk = talk();
    assert_eq!(talk.take(&frame(1, &extended(oid::START_TLS, None))), "start tls");
    assert_eq!(talk.said(), [(1, op::EXTENDED_RESPONSE, 0)]);
    assert_eq!(extended_parts(&talk.out), (Some(oid::START_TLS.to_owned()), None));
    assert!(!talk.session.may_receive() && talk.session.security() == Security::Clear);
    talk.session.tls_started();
    assert!(talk.session.may_receive() && talk.session.security() == Security::Tls);
}

#[test]
fn start_tls_with_a_value_is_a_protocol_error() {
    let mut talk = talk();
    assert_eq!(talk.take(&frame(1, &extended(oid::START_TLS, Some(b"")))), "continue");
    assert_eq!(talk.said(), [(1, op::EXTENDED_RESPONSE, 2)]);
}

#[test]
fn start_tls_where_tls_is_up_or_operations_are_outstanding_is_out_of_order() {
    let mut under_tls = Talk::new(SessionRules { start_tls: false, ..RULES }, true);
    under_tls.take(&frame(1, &extended(oid::START_TLS, None)));
    assert_eq!(under_tls.said(), [(1, op::EXTENDED_RESPONSE, 1)]);

    let mut busy = talk();
    busy.take(&frame(1, &search()));
    assert_eq!(busy.take(&frame(2, &extended(oid::START_TLS, None))), "continue");
    assert_eq!(busy.said(), [(2, op::EXTENDED_RESPONSE, 1)]);
    assert!(busy.session.finished(id(1)));
}

#[test]
fn start_tls_where_it_is_not_offered_is_a_protocol_error() {
    let mut talk = Talk::new(SessionRules { start_tls: false, ..RULES }, false);
    talk.take(&frame(1, &extended(oid::START_TLS, None)));
    assert_eq!(talk.said(), [(1, op::EXTENDED_RESPONSE, 2)]);
    assert_eq!(extended_parts(&talk.out), (None, None));
}

#[test]
fn who_am_i_names_the_client_that_bound() {
    for (name, expected) in [("cn=a,dc=b", "dn:cn=a,dc=b"), ("a@b.example", "u:a@b.example"), ("B\\a", "u:B\\a")] {
        let mut talk = talk().bound(name);
        talk.take(&frame(1, &extended(oid::WHO_AM_I, None)));
        assert_eq!(extended_parts(&talk.out), (None, Some(expected.as_bytes().to_vec())));
    }
}

#[test]
fn who_am_i_of_nobody_is_empty() {
    let mut talk = talk();
    talk.take(&frame(1, &extended(oid::WHO_AM_I, None)));
    assert_eq!(talk.said(), [(1, op::EXTENDED_RESPONSE, 0)]);
    assert_eq!(extended_parts(&talk.out), (None, Some(Vec::new())));
}

#[test]
fn an_unknown_extended_operation_is_a_protocol_error_without_a_name() {
    for name in ["1.2.3", oid::FAST_BIND, "1.3.6.1.1.21.1", "1.3.6.1.1.19"] {
        let mut talk = talk();
        talk.take(&frame(1, &extended(name, None)));
        assert_eq!(talk.said(), [(1, op::EXTENDED_RESPONSE, 2)]);
        assert_eq!(extended_parts(&talk.out), (None, None));
    }
}

#[test]
fn cancel_answers_the_cancelled_operation_first_and_then_itself() {
    let mut talk = talk();
    talk.take(&frame(1, &search()));
    assert_eq!(talk.take(&frame(2, &cancel(1))), "abandon");
    assert_eq!(talk.said(), [(1, op::SEARCH_RESULT_DONE, 118), (2, op::EXTENDED_RESPONSE, 0)]);
    assert!(!talk.session.finished(id(1)));
}

#[test]
fn cancel_of_what_is_not_outstanding_finds_no_such_operation() {
    let mut talk = talk();
    for target in [0, 1, 2] {
        assert_eq!(talk.take(&frame(2, &cancel(target))), "continue");
        assert_eq!(talk.said(), [(2, op::EXTENDED_RESPONSE, 119)]);
    }
}

#[test]
fn cancel_of_a_write_is_refused_and_the_write_is_answered() {
    let mut talk = talk();
    talk.take(&frame(1, &delete()));
    assert_eq!(talk.take(&frame(2, &cancel(1))), "continue");
    assert_eq!(talk.said(), [(2, op::EXTENDED_RESPONSE, 121)]);
    assert!(talk.session.finished(id(1)));
}

#[test]
fn cancel_without_a_message_id_is_a_protocol_error() {
    for value in [None, Some(&b""[..]), Some(b"\x30\x00"), Some(b"\x30\x03\x02\x01\x01x"), Some(b"\x30\x06\x02\x01\x01\x02\x01\x01")] {
        let mut talk = talk();
        talk.take(&frame(2, &extended(oid::CANCEL, value)));
        assert_eq!(talk.said(), [(2, op::EXTENDED_RESPONSE, 2)]);
    }
}

#[test]
fn an_operation_that_broke_off_is_still_answered_once() {
    let mut talk = talk();
    talk.take(&frame(1, &search()));
    let mut out = Vec::new();
    talk.session.broke_off(id(1), &mut out);
    talk.session.broke_off(id(1), &mut out);
    assert_eq!(said(&out), [(1, op::SEARCH_RESULT_DONE, 80)]);
}

#[test]
fn a_bind_that_broke_off_leaves_the_session_anonymous_and_alive() {
    let mut talk = talk();
    talk.take(&frame(1, &bind("cn=a", "secret")));
    let mut out = Vec::new();
    talk.session.broke_off(id(1), &mut out);
    assert_eq!(said(&out), [(1, op::BIND_RESPONSE, 80)]);
    assert!(talk.session.identity().is_anonymous() && talk.session.may_receive());
}

#[test]
fn a_notice_is_the_last_word_and_said_once() {
    let mut talk = talk();
    let mut out = Vec::new();
    talk.session.notice(ResultCode::UNAVAILABLE, "going down", &mut out);
    talk.session.notice(ResultCode::UNAVAILABLE, "going down", &mut out);
    assert_eq!(said(&out), [(0, NOTICE, 52)]);
    assert!(!talk.session.may_receive());
}
