//! A directory that answers as the test says, by a script or by hand, and remembers what it was asked.

use futures_util::future::BoxFuture;
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Replies, Reply, RunAs};
use redial::identity::{Membership, Who};
use redial::ldap::ResultCode;
use redial::ldap::dn::Dn;
use redial::ldap::envelope::op;
use redial::ldap::message::{SearchRequest, WriteKind};
use redial::ldap::response::{write_entry_op, write_result_op};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// What becomes of an operation.
#[derive(Debug, Clone)]
pub(crate) enum Scripted {
    /// These entries (name and telephoneNumber), then this code.
    Answer(Vec<(&'static str, &'static str)>, ResultCode),
    /// A result with a diagnostic.
    Result(ResultCode, &'static str),
    /// That, and before it whose name it is: the canonical one, and the groups where they are known.
    Is(&'static str, Option<Vec<&'static str>>, Box<Self>),
    /// No answer.
    Fails(DirectoryError),
    /// That, but only after a while.
    After(Duration, Box<Self>),
    /// Nothing; the test may answer by hand.
    Silence,
}

impl Scripted {
    pub(crate) fn one(name: &'static str, number: &'static str) -> Self {
        Self::Answer(vec![(name, number)], ResultCode::SUCCESS)
    }

    pub(crate) const fn success() -> Self {
        Self::Result(ResultCode::SUCCESS, "")
    }

    pub(crate) fn after(self, wait: Duration) -> Self {
        Self::After(wait, Box::new(self))
    }
}

type Script = Box<dyn Fn(&Operation) -> Scripted + Send + Sync>;

/// See the module. Operations are numbered from 1 in the order of their arrival.
pub(crate) struct ScriptedDirectory {
    script: Mutex<Script>,
    questions: Mutex<Vec<Question>>,
    available: AtomicBool,
}

#[derive(Debug)]
struct Question {
    operation: Operation,
    /// While it is open for answers by hand.
    replies: Option<mpsc::Sender<Result<Reply, DirectoryError>>>,
}

impl std::fmt::Debug for ScriptedDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScriptedDirectory")
    }
}

impl ScriptedDirectory {
    pub(crate) fn new(script: impl Fn(&Operation) -> Scripted + Send + Sync + 'static) -> Self {
        Self { script: Mutex::new(Box::new(script)), questions: Mutex::default(), available: AtomicBool::new(true) }
    }

    pub(crate) fn always(answer: Scripted) -> Self {
        Self::new(move |_| answer.clone())
    }

    /// Keeps every operation open until the test answers it.
    pub(crate) fn by_hand() -> Self {
        Self::always(Scripted::Silence)
    }

    /// From now on.
    pub(crate) fn answers(&self, answer: Scripted) {
        self.follows(move |_| answer.clone());
    }

    /// From now on.
    pub(crate) fn follows(&self, script: impl Fn(&Operation) -> Scripted + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn becomes_available(&self, available: bool) {
        self.available.store(available, Ordering::Relaxed);
    }

    /// What has been asked so far.
    pub(crate) fn asked(&self) -> Vec<Operation> {
        self.questions.lock().unwrap().iter().map(|question| question.operation.clone()).collect()
    }

    pub(crate) fn times_asked(&self) -> usize {
        self.questions.lock().unwrap().len()
    }

    /// The operation of that number in words, `search dc=corp (cn=*) as service` for one.
    pub(crate) fn question(&self, number: usize) -> Option<String> {
        self.questions.lock().unwrap().get(number - 1).map(|question| describe(&question.operation))
    }

    /// Nobody waits for that operation any more.
    pub(crate) fn is_rid_of(&self, number: usize) -> bool {
        self.questions.lock().unwrap()[number - 1].replies.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// Sends an entry, unless the other side takes no more at the moment.
    pub(crate) fn entry(&self, number: usize, name: &str, attributes: &[(&str, &str)]) -> bool {
        self.reply(number, Ok(entry(name, attributes)))
    }

    /// Ends an operation with a result.
    pub(crate) fn done(&self, number: usize, code: ResultCode) {
        self.done_with(number, code, "");
    }

    /// The same with a diagnosticMessage.
    pub(crate) fn done_with(&self, number: usize, code: ResultCode, diagnostic: &str) {
        let done = done(&self.questions.lock().unwrap()[number - 1].operation.request, code, diagnostic);
        self.reply(number, Ok(done));
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

    /// Notes that operation, and returns its number. Where it is to be answered by hand it can be as soon as it is counted.
    fn note(&self, operation: Operation, replies: Option<mpsc::Sender<Result<Reply, DirectoryError>>>) -> usize {
        let mut questions = self.questions.lock().unwrap();
        questions.push(Question { operation, replies });
        questions.len()
    }

    /// From now on the operation of that number is answered by hand.
    fn open(&self, number: usize) -> Replies {
        let (sender, receiver) = mpsc::channel(REPLIES);
        self.questions.lock().unwrap()[number - 1].replies = Some(sender);
        Replies::Arriving(receiver)
    }
}

impl Directory for ScriptedDirectory {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        let mut next = (self.script.lock().unwrap())(&operation);
        let request = operation.request.clone();
        if matches!(next, Scripted::Silence) {
            let (sender, receiver) = mpsc::channel(REPLIES);
            self.note(operation, Some(sender));
            return Box::pin(async { Ok(Replies::Arriving(receiver)) });
        }
        let number = self.note(operation, None);
        Box::pin(async move {
            let mut before = Vec::new();
            loop {
                match next {
                    Scripted::After(wait, then) => {
                        tokio::time::sleep(wait).await;
                        next = *then;
                    }
                    Scripted::Is(canonical, groups, then) => {
                        let groups = groups.map(|groups| groups.into_iter().map(|group| Dn::parse(group).unwrap()).collect());
                        let membership = groups.map(|groups| Membership { groups, as_of: tokio::time::Instant::now() });
                        before.push(Reply::Who(Who { canonical: canonical.to_owned(), membership }));
                        next = *then;
                    }
                    Scripted::Silence => return Ok(self.open(number)),
                    Scripted::Fails(error) => return Err(error),
                    Scripted::Result(code, diagnostic) => {
                        before.push(done(&request, code, diagnostic));
                        return Ok(replies(before));
                    }
                    Scripted::Answer(entries, code) => {
                        before.extend(entries.iter().map(|(name, number)| entry(name, &[("telephoneNumber", number)])));
                        before.push(done(&request, code, ""));
                        return Ok(replies(before));
                    }
                }
                tokio::task::yield_now().await;
            }
        })
    }

    fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }
}

fn replies(replies: Vec<Reply>) -> Replies {
    let (sender, receiver) = mpsc::channel(replies.len());
    for reply in replies {
        sender.try_send(Ok(reply)).unwrap();
    }
    Replies::Arriving(receiver)
}

fn entry(name: &str, attributes: &[(&str, &str)]) -> Reply {
    let mut octets = Vec::new();
    write_entry_op(&mut octets, name, attributes.iter().map(|(attribute, value)| (*attribute, [value.as_bytes()])));
    Reply::Entry(octets.into())
}

fn done(request: &Asked, code: ResultCode, diagnostic: &str) -> Reply {
    let tag = match request {
        Asked::Bind { .. } => op::BIND_RESPONSE,
        Asked::Search { .. } | Asked::Membership { .. } => op::SEARCH_RESULT_DONE,
        Asked::Compare { .. } => op::COMPARE_RESPONSE,
        Asked::Write { kind, .. } => written(*kind).1,
        Asked::Extended { .. } => op::EXTENDED_RESPONSE,
    };
    let mut octets = Vec::new();
    write_result_op(&mut octets, tag, code, "", diagnostic);
    Reply::Done(Done { code, op: octets.into(), controls: None })
}

/// A write in words, and the tag of its response.
const fn written(kind: WriteKind) -> (&'static str, u8) {
    match kind {
        WriteKind::Modify => ("modify", op::MODIFY_RESPONSE),
        WriteKind::Add => ("add", op::ADD_RESPONSE),
        WriteKind::Delete => ("delete", op::DELETE_RESPONSE),
        WriteKind::ModifyDn => ("modify dn", op::MODIFY_DN_RESPONSE),
    }
}

fn describe(operation: &Operation) -> String {
    let run_as = match &operation.run_as {
        RunAs::Service => "service",
        RunAs::Client(credentials) => credentials.name.as_str(),
    };
    match &operation.request {
        Asked::Bind { name, password, .. } => format!("bind {name} {}", String::from_utf8_lossy(password.expose())),
        Asked::Search { op, .. } => {
            let request = SearchRequest::decode(op).unwrap();
            format!("search {} {} as {run_as}", request.base_object, request.filter)
        }
        Asked::Membership { of, .. } => format!("membership {of}"),
        Asked::Compare { entry, attribute, .. } => format!("compare {entry} {attribute} as {run_as}"),
        Asked::Write { kind, .. } => format!("{} as {run_as}", written(*kind).0),
        Asked::Extended { .. } => format!("extended as {run_as}"),
    }
}

/// Replies by hand that may wait to be taken.
const REPLIES: usize = 64;
