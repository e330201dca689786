//! A directory that answers what a test tells it to, when the test tells it.
#![allow(
    clippy::allow_attributes,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "tests fail by panicking, and each of them uses its part of this"
)]

use bytes::Bytes;
use futures_util::future::BoxFuture;
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Replies, Reply, RunAs};
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::ldap::message::WriteKind;
use redial::ldap::response::{write_entry_op, write_result_op};
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Keeps every operation open until the test answers it; they are numbered from 1 in the order of their arrival.
#[derive(Debug, Default)]
pub(crate) struct DirectoryByHand {
    questions: Mutex<Vec<Question>>,
}

#[derive(Debug)]
struct Question {
    text: String,
    response_tag: u8,
    replies: Option<mpsc::Sender<Result<Reply, DirectoryError>>>,
}

impl Directory for DirectoryByHand {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        let (sender, receiver) = mpsc::channel(REPLIES);
        let (text, response_tag) = describe(&operation);
        self.questions.lock().unwrap().push(Question { text, response_tag, replies: Some(sender) });
        Box::pin(std::future::ready(Ok(Replies::Arriving(receiver))))
    }

    fn is_available(&self) -> bool {
        true
    }
}

impl DirectoryByHand {
    /// How many operations have come.
    pub(crate) fn asked(&self) -> usize {
        self.questions.lock().unwrap().len()
    }

    /// The operation of that number in words, `search dc=corp (cn=*) as service` for one.
    pub(crate) fn question(&self, number: usize) -> Option<String> {
        self.questions.lock().unwrap().get(number - 1).map(|question| question.text.clone())
    }

    /// Nobody waits for that operation any more.
    pub(crate) fn is_rid_of(&self, number: usize) -> bool {
        self.questions.lock().unwrap()[number - 1].replies.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// Sends an entry, unless the other side takes no more at the moment.
    pub(crate) fn entry(&self, number: usize, name: &str, attributes: &[(&str, &str)]) -> bool {
        let mut op = Vec::new();
        write_entry_op(&mut op, name, attributes.iter().map(|(attribute, value)| (*attribute, [value.as_bytes()])));
        self.reply(number, Ok(Reply::Entry(op.into())))
    }

    /// Ends an operation with a result.
    pub(crate) fn done(&self, number: usize, code: ResultCode) {
        self.done_with(number, code, "");
    }

    /// The same with a diagnosticMessage.
    pub(crate) fn done_with(&self, number: usize, code: ResultCode, diagnostic: &str) {
        let mut op = Vec::new();
        write_result_op(&mut op, self.questions.lock().unwrap()[number - 1].response_tag, code, "", diagnostic);
        self.reply(number, Ok(Reply::Done(Done { code, op: Bytes::from(op), controls: None })));
        self.questions.lock().unwrap()[number - 1].replies = None;
    }

    /// Ends an operation without one.
    pub(crate) fn fail(&self, number: usize, error: DirectoryError) {
        self.reply(number, Err(error));
        self.questions.lock().unwrap()[number - 1].replies = None;
    }

    fn reply(&self, number: usize, reply: Result<Reply, DirectoryError>) -> bool {
        let questions = self.questions.lock().unwrap();
        questions[number - 1].replies.as_ref().is_some_and(|replies| replies.try_send(reply).is_ok())
    }
}

fn describe(operation: &Operation) -> (String, u8) {
    let run_as = match &operation.run_as {
        RunAs::Service => "service",
        RunAs::Client(credentials) => credentials.name.as_str(),
    };
    match &operation.request {
        Asked::Bind { name, password, .. } => (format!("bind {name} {}", String::from_utf8_lossy(password.expose())), op::BIND_RESPONSE),
        Asked::Search { request, .. } => (format!("search {} {} as {run_as}", request.base_object, request.filter), op::SEARCH_RESULT_DONE),
        Asked::Membership { of, .. } => (format!("membership {of}"), op::SEARCH_RESULT_DONE),
        Asked::Compare { entry, attribute, .. } => (format!("compare {entry} {attribute} as {run_as}"), op::COMPARE_RESPONSE),
        Asked::Write { kind, .. } => {
            let (name, tag) = match kind {
                WriteKind::Modify => ("modify", op::MODIFY_RESPONSE),
                WriteKind::Add => ("add", op::ADD_RESPONSE),
                WriteKind::Delete => ("delete", op::DELETE_RESPONSE),
                WriteKind::ModifyDn => ("modify dn", op::MODIFY_DN_RESPONSE),
            };
            (format!("{name} as {run_as}"), tag)
        }
        Asked::Extended { .. } => (format!("extended as {run_as}"), op::EXTENDED_RESPONSE),
    }
}

/// Replies that may wait to be taken.
const REPLIES: usize = 64;
