//! Tests of one connection over an in-memory stream: the test is the controller.

use super::*;
use crate::directory::Done;
use crate::ldap::control::write_control;
use crate::ldap::envelope::{Envelope, op, write_envelope};
use crate::ldap::frame::frame_length;
use crate::ldap::message::{Request, ResultCode};
use crate::ldap::response::{write_entry_op, write_notice_of_disconnection, write_result, write_result_op};
use crate::ldap::{MessageId, oid};
use crate::lifecycle::{Ending, lifecycle};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

mod flow;

const SETTINGS: Settings = Settings {
    frame_limit: 1 << 20,
    idle: Duration::from_secs(300),
    max_age: None,
    backlog: 16 << 20,
    stall: Duration::from_secs(10),
    fast_bind: false,
};

/// The controller's end of a connection.
struct Controller {
    stream: DuplexStream,
    inbox: BytesMut,
    _ending: Ending,
}

#[derive(Debug, PartialEq, Eq)]
struct Heard {
    id: u32,
    tag: u8,
    op: Vec<u8>,
}

impl Heard {
    /// An Abandon names the operation in its content (RFC 4511 section 4.11).
    fn tag_and_number(&self) -> (u8, u32) {
        (self.tag, self.op[2..].iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
    }
}

fn connected() -> (Connection, Controller) {
    connected_with(SETTINGS)
}

fn connected_with(settings: Settings) -> (Connection, Controller) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (ending, lifecycle) = lifecycle();
    let connection = Connection::spawn(near, settings, lifecycle, ());
    (connection, Controller { stream: far, inbox: BytesMut::new(), _ending: ending })
}

impl Controller {
    /// The next message, or `None` when the connection was closed.
    async fn hear(&mut self) -> Option<Heard> {
        loop {
            if let Some(length) = frame_length(&self.inbox, 1 << 20).unwrap().filter(|length| *length <= self.inbox.len()) {
                let frame = self.inbox.split_to(length);
                let envelope = Envelope::parse(&frame).unwrap();
                return Some(Heard { id: envelope.message_id.number(), tag: envelope.op_tag, op: envelope.op.to_vec() });
            }
            if self.stream.read_buf(&mut self.inbox).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn say(&mut self, id: u32, op: &[u8]) {
        let mut out = Vec::new();
        write_envelope(&mut out, MessageId::new(id).unwrap(), op, None);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn done(&mut self, id: u32, tag: u8) {
        let mut out = Vec::new();
        write_result(&mut out, MessageId::new(id).unwrap(), tag, ResultCode::SUCCESS, "");
        self.stream.write_all(&out).await.unwrap();
    }
}

fn entry(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_entry_op(&mut out, name, std::iter::empty::<(&str, [&[u8]; 0])>());
    out
}

fn open(op: &[u8]) -> Outgoing {
    Outgoing { op: Payload::Open(Bytes::copy_from_slice(op)), controls: None }
}

/// A SearchRequest for the base `name`.
fn search(name: &str) -> Outgoing {
    let mut out = Vec::new();
    crate::ldap::ber::write_constructed(&mut out, op::SEARCH_REQUEST, |out| {
        crate::ldap::ber::write_element(out, 4, name.as_bytes());
        out.extend_from_slice(&[0x0a, 1, 2, 0x0a, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0, 0x87, 2, b'c', b'n', 0x30, 0]);
    });
    open(&out)
}

fn modify() -> Outgoing {
    open(&[op::MODIFY_REQUEST, 4, 4, 0, 0x30, 0])
}

fn bind() -> Outgoing {
    open(&[op::BIND_REQUEST, 7, 2, 1, 3, 4, 0, 0x80, 0])
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn begin(connection: &Connection, request: Outgoing) -> InFlight {
    connection.begin(request, soon()).await.unwrap()
}

async fn done(in_flight: &mut InFlight) -> Done {
    match in_flight.next().await {
        Some(Ok(Reply::Done(done))) => done,
        other => panic!("expected the end, got {other:?}"),
    }
}

async fn error(in_flight: &mut InFlight) -> DirectoryError {
    loop {
        match in_flight.next().await {
            Some(Err(error)) => return error,
            Some(Ok(Reply::Done(_))) | None => panic!("expected an error"),
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test]
async fn a_thousand_operations_at_once_get_their_own_answers_in_any_order() {
    let (connection, mut controller) = connected();
    let asking = (0..1000).map(|number| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let name = format!("cn={number}");
            let mut in_flight = begin(&connection, search(&name)).await;
            let Some(Ok(Reply::Entry(found))) = in_flight.next().await else { panic!("no entry") };
            assert_eq!(found[..], entry(&name)[..]);
            done(&mut in_flight).await
        })
    });
    let asking: Vec<_> = asking.collect();
    let answering = async {
        let mut heard = Vec::new();
        for _ in 0..1000 {
            heard.push(controller.hear().await.unwrap());
        }
        fastrand::Rng::with_seed(7).shuffle(&mut heard);
        for question in heard {
            let mut out = Vec::new();
            write_envelope(&mut out, MessageId::new(question.id).unwrap(), &question.op, None);
            let Ok(Request::Search(asked)) = Request::parse(&Envelope::parse(&out).unwrap()) else { panic!("not a search") };
            controller.say(question.id, &entry(asked.base_object)).await;
            controller.done(question.id, op::SEARCH_RESULT_DONE).await;
        }
    };
    answering.await;
    for task in asking {
        assert_eq!(task.await.unwrap().code, ResultCode::SUCCESS);
    }
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn octets_of_replies_and_controls_arrive_as_they_were_sent() {
    let (connection, mut controller) = connected();
    let mut in_flight = begin(&connection, search("cn=a")).await;
    let question = controller.hear().await.unwrap();
    // The four-octet lengths of Active Directory.
    let entry = [0x64, 0x84, 0, 0, 0, 4, 4, 0, 0x30, 0];
    controller.say(question.id, &entry).await;
    let mut control = Vec::new();
    write_control(&mut control, oid::PASSWORD_POLICY, false, None);
    let mut result = Vec::new();
    write_result_op(&mut result, op::SEARCH_RESULT_DONE, ResultCode(4711), "", "odd");
    let mut out = Vec::new();
    write_envelope(&mut out, MessageId::new(question.id).unwrap(), &result, Some(&control));
    controller.stream.write_all(&out).await.unwrap();
    let Some(Ok(Reply::Entry(found))) = in_flight.next().await else { panic!("no entry") };
    assert_eq!(found[..], entry);
    let done = done(&mut in_flight).await;
    assert_eq!((done.code, &done.op[..], done.controls.as_deref()), (ResultCode(4711), &result[..], Some(&control[..])));
    assert!(in_flight.next().await.is_none());
}

#[tokio::test]
async fn a_foreign_message_id_drops_the_connection_and_is_not_delivered() {
    let (connection, mut controller) = connected();
    let mut first = begin(&connection, search("cn=a")).await;
    let mut second = begin(&connection, modify()).await;
    let question = controller.hear().await.unwrap();
    controller.say(question.id + 7, &entry("cn=foreign")).await;
    assert!(matches!(first.next().await, Some(Err(DirectoryError::Misbehaved(_)))));
    assert!(matches!(second.next().await, Some(Err(DirectoryError::Misbehaved(_)))));
    assert!(!connection.is_open());
    assert_eq!(connection.begin(search("cn=b"), soon()).await.unwrap_err(), DirectoryError::ConnectionLost { sent: false });
}

#[tokio::test]
async fn a_second_done_drops_the_connection() {
    let (connection, mut controller) = connected();
    let mut first = begin(&connection, search("cn=a")).await;
    let mut second = begin(&connection, search("cn=b")).await;
    let question = controller.hear().await.unwrap();
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    assert_eq!(done(&mut first).await.code, ResultCode::SUCCESS);
    assert!(matches!(error(&mut second).await, DirectoryError::Misbehaved(_)));
}

#[tokio::test]
async fn a_response_of_another_kind_drops_the_connection() {
    for tag in [op::BIND_RESPONSE, op::MODIFY_RESPONSE, op::COMPARE_RESPONSE, op::SEARCH_REQUEST, 0x7f] {
        let (connection, mut controller) = connected();
        let mut in_flight = begin(&connection, search("cn=a")).await;
        let question = controller.hear().await.unwrap();
        controller.done(question.id, tag).await;
        assert!(matches!(error(&mut in_flight).await, DirectoryError::Misbehaved(_)), "{tag:#x}");
    }
}

#[tokio::test]
async fn an_entry_for_a_write_drops_the_connection() {
    let (connection, mut controller) = connected();
    let mut in_flight = begin(&connection, modify()).await;
    let question = controller.hear().await.unwrap();
    controller.say(question.id, &entry("cn=a")).await;
    assert!(matches!(error(&mut in_flight).await, DirectoryError::Misbehaved(_)));
}

#[tokio::test]
async fn a_lie_about_a_length_inside_a_message_drops_the_connection() {
    let (connection, mut controller) = connected();
    let mut in_flight = begin(&connection, search("cn=a")).await;
    let question = controller.hear().await.unwrap();
    // The inner octet string claims more than its sequence holds.
    controller.say(question.id, &[op::SEARCH_RESULT_ENTRY, 4, 4, 9, 0x30, 0]).await;
    assert!(matches!(error(&mut in_flight).await, DirectoryError::Misbehaved(_)));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_by_its_declared_length() {
    let (connection, mut controller) = connected_with(Settings { frame_limit: 1000, ..SETTINGS });
    let mut in_flight = begin(&connection, search("cn=a")).await;
    controller.hear().await.unwrap();
    controller.stream.write_all(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]).await.unwrap();
    assert!(matches!(error(&mut in_flight).await, DirectoryError::Misbehaved(_)));
}

#[tokio::test]
async fn messages_are_found_however_they_are_cut() {
    let (connection, mut controller) = connected();
    let mut in_flight = begin(&connection, search("cn=a")).await;
    let question = controller.hear().await.unwrap();
    let mut out = Vec::new();
    write_envelope(&mut out, MessageId::new(question.id).unwrap(), &entry("cn=cut"), None);
    write_result(&mut out, MessageId::new(question.id).unwrap(), op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "");
    for octet in out {
        controller.stream.write_all(&[octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(matches!(in_flight.next().await, Some(Ok(Reply::Entry(_)))));
    done(&mut in_flight).await;
}

#[tokio::test]
async fn references_are_dropped() {
    let (connection, mut controller) = connected();
    let mut in_flight = begin(&connection, search("cn=a")).await;
    let question = controller.hear().await.unwrap();
    for _ in 0..1000 {
        controller.say(question.id, &[op::SEARCH_RESULT_REFERENCE, 8, 4, 6, b'l', b'd', b'a', b'p', b':', b'/']).await;
    }
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    done(&mut in_flight).await;
}

#[tokio::test]
async fn a_search_that_is_let_go_is_abandoned_and_its_late_answer_swallowed() {
    let (connection, mut controller) = connected();
    let first = begin(&connection, search("cn=a")).await;
    let question = controller.hear().await.unwrap();
    drop(first);
    let abandon = controller.hear().await.unwrap().tag_and_number();
    assert_eq!(abandon, (op::ABANDON_REQUEST, question.id));
    controller.say(question.id, &entry("cn=late")).await;
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    let mut second = begin(&connection, search("cn=b")).await;
    let question = controller.hear().await.unwrap();
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    done(&mut second).await;
}

#[tokio::test]
async fn the_second_end_of_an_abandoned_search_drops_the_connection() {
    let (connection, mut controller) = connected();
    let first = begin(&connection, search("cn=a")).await;
    let question = controller.hear().await.unwrap();
    drop(first);
    assert_eq!(controller.hear().await.unwrap().tag, op::ABANDON_REQUEST);
    let mut second = begin(&connection, search("cn=b")).await;
    // Only what has been sent is failed by the controller's mistake; what still waits is told that the connection was lost.
    assert_eq!(controller.hear().await.unwrap().tag, op::SEARCH_REQUEST);
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    assert!(matches!(error(&mut second).await, DirectoryError::Misbehaved(_)));
}

#[tokio::test]
async fn a_write_that_is_let_go_is_not_abandoned() {
    let (connection, mut controller) = connected();
    let write = begin(&connection, modify()).await;
    let question = controller.hear().await.unwrap();
    drop(write);
    let mut next = begin(&connection, search("cn=a")).await;
    let search = controller.hear().await.unwrap();
    assert_eq!(search.tag, op::SEARCH_REQUEST, "nothing was said about the write");
    controller.done(question.id, op::MODIFY_RESPONSE).await;
    controller.done(search.id, op::SEARCH_RESULT_DONE).await;
    done(&mut next).await;
}

#[tokio::test]
async fn a_bind_that_is_let_go_ends_the_connection() {
    let (connection, mut controller) = connected();
    let waiting = begin(&connection, bind()).await;
    assert_eq!(controller.hear().await.unwrap().tag, op::BIND_REQUEST);
    drop(waiting);
    assert_eq!(controller.hear().await.unwrap().tag, op::UNBIND_REQUEST);
    assert_eq!(controller.hear().await, None);
    assert!(!connection.is_open());
}

#[tokio::test]
async fn a_fast_bind_that_is_let_go_leaves_the_others_their_answers() {
    let (connection, mut controller) = connected_with(Settings { fast_bind: true, ..SETTINGS });
    let (gone, mut stays) = (begin(&connection, bind()).await, begin(&connection, bind()).await);
    let (first, second) = (controller.hear().await.unwrap(), controller.hear().await.unwrap());
    drop(gone);
    // Late, and nobody's: the next that is begun must not get it either.
    let mut next = begin(&connection, bind()).await;
    let third = controller.hear().await.unwrap();
    assert_eq!(third.tag, op::BIND_REQUEST, "a bind is not abandoned (RFC 4511 section 4.11)");
    for id in [first.id, third.id, second.id] {
        controller.done(id, op::BIND_RESPONSE).await;
    }
    done(&mut stays).await;
    done(&mut next).await;
    assert!(connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn after_its_deadline_a_search_is_abandoned() {
    let (connection, mut controller) = connected();
    let mut in_flight = connection.begin(search("cn=a"), Instant::now() + Duration::from_secs(3)).await.unwrap();
    let question = controller.hear().await.unwrap();
    let asked_at = Instant::now();
    assert_eq!(in_flight.next().await.unwrap().unwrap_err(), DirectoryError::TimedOut);
    assert_eq!(asked_at.elapsed(), Duration::from_secs(3));
    let abandon = controller.hear().await.unwrap().tag_and_number();
    assert_eq!(abandon, (op::ABANDON_REQUEST, question.id));
    assert!(in_flight.next().await.is_none());
    assert!(connection.is_open());
}

#[tokio::test]
async fn a_notice_of_disconnection_lets_what_was_begun_end_and_takes_nothing_new() {
    let (connection, mut controller) = connected();
    let mut in_flight = begin(&connection, search("cn=a")).await;
    let question = controller.hear().await.unwrap();
    let mut notice = Vec::new();
    write_notice_of_disconnection(&mut notice, ResultCode::UNAVAILABLE, "restarting");
    controller.stream.write_all(&notice).await.unwrap();
    while connection.is_open() {
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.begin(search("cn=b"), soon()).await.unwrap_err(), DirectoryError::ConnectionLost { sent: false });
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    done(&mut in_flight).await;
    assert_eq!(controller.hear().await.unwrap().tag, op::UNBIND_REQUEST);
    assert_eq!(controller.hear().await, None);
}

#[tokio::test]
async fn an_unknown_unsolicited_notification_is_ignored_and_any_other_without_id_is_not() {
    let (connection, mut controller) = connected();
    let mut in_flight = begin(&connection, search("cn=a")).await;
    controller.hear().await.unwrap();
    controller.say(0, &[op::EXTENDED_RESPONSE, 12, 0x0a, 1, 0, 4, 0, 4, 0, 0x8a, 3, b'1', b'.', b'2']).await;
    controller.done(0, op::SEARCH_RESULT_DONE).await;
    assert_eq!(error(&mut in_flight).await, DirectoryError::Misbehaved("a response without a messageID"));
}

#[tokio::test]
async fn a_lost_connection_says_whether_octets_had_left() {
    let (near, far) = tokio::io::duplex(10);
    let (_ending, lifecycle) = lifecycle();
    let connection = Connection::spawn(near, SETTINGS, lifecycle, ());
    // Ten octets fit: the first has begun to leave, the second waits behind it.
    let mut first = begin(&connection, modify()).await;
    let mut second = begin(&connection, modify()).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(far);
    assert_eq!(error(&mut first).await, DirectoryError::ConnectionLost { sent: true });
    assert_eq!(error(&mut second).await, DirectoryError::ConnectionLost { sent: false });
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_says_goodbye() {
    let (connection, mut controller) = connected();
    let begun = Instant::now();
    assert_eq!(controller.hear().await.unwrap().tag, op::UNBIND_REQUEST);
    assert!(begun.elapsed() >= SETTINGS.idle && begun.elapsed() < SETTINGS.idle + Duration::from_secs(3));
    assert!(!connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_takes_nothing_new_and_lets_what_was_begun_end() {
    let (connection, mut controller) = connected_with(Settings { max_age: Some(Duration::from_secs(20)), ..SETTINGS });
    let mut in_flight = begin(&connection, search("cn=a")).await;
    let question = controller.hear().await.unwrap();
    tokio::time::sleep(Duration::from_secs(22)).await;
    assert!(!connection.is_open());
    controller.done(question.id, op::SEARCH_RESULT_DONE).await;
    done(&mut in_flight).await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_takes_no_octets_loses_the_connection() {
    let (near, _far) = tokio::io::duplex(10);
    let (_ending, lifecycle) = lifecycle();
    let connection = Connection::spawn(near, SETTINGS, lifecycle, ());
    let mut in_flight = begin(&connection, search("cn=a")).await;
    assert_eq!(error(&mut in_flight).await, DirectoryError::ConnectionLost { sent: true });
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_program_closes_connections_that_have_nothing_to_do() {
    let (connection, controller) = connected();
    let Controller { mut stream, _ending: ending, .. } = controller;
    ending.begin();
    let mut octets = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut octets)).await.unwrap().unwrap();
    assert!(!connection.is_open());
    timeout(Duration::from_secs(5), ending.all_gone()).await.unwrap();
}
