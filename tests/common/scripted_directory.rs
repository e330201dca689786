//! A directory that answers as the test says and remembers what it was asked.
#![allow(clippy::allow_attributes, dead_code, reason = "each test binary uses its part of this")]

use futures_util::future::BoxFuture;
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Replies, Reply};
use redial::identity::{Membership, Who};
use redial::ldap::ResultCode;
use redial::ldap::dn::Dn;
use redial::ldap::envelope::op;
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
    /// Nothing, ever.
    Silence,
}

impl Scripted {
    pub(crate) fn one(name: &'static str, number: &'static str) -> Self {
        Self::Answer(vec![(name, number)], ResultCode::SUCCESS)
    }

    pub(crate) fn after(self, wait: Duration) -> Self {
        Self::After(wait, Box::new(self))
    }
}

type Script = Box<dyn Fn(&Operation) -> Scripted + Send + Sync>;

/// See the module.
pub(crate) struct ScriptedDirectory {
    script: Mutex<Script>,
    asked: Mutex<Vec<Operation>>,
    available: AtomicBool,
}

impl std::fmt::Debug for ScriptedDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScriptedDirectory")
    }
}

impl ScriptedDirectory {
    pub(crate) fn new(script: impl Fn(&Operation) -> Scripted + Send + Sync + 'static) -> Self {
        Self { script: Mutex::new(Box::new(script)), asked: Mutex::default(), available: AtomicBool::new(true) }
    }

    pub(crate) fn always(answer: Scripted) -> Self {
        Self::new(move |_| answer.clone())
    }

    /// From now on.
    pub(crate) fn answers(&self, answer: Scripted) {
        *self.script.lock().unwrap() = Box::new(move |_| answer.clone());
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
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Directory for ScriptedDirectory {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        let mut next = (self.script.lock().unwrap())(&operation);
        let request = operation.request.clone();
        self.asked.lock().unwrap().push(operation);
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
                    Scripted::Silence => std::future::pending::<()>().await,
                    Scripted::Fails(error) => return Err(error),
                    Scripted::Result(code, diagnostic) => {
                        before.push(done(&request, code, diagnostic));
                        return Ok(replies(before));
                    }
                    Scripted::Answer(entries, code) => {
                        let entries = entries.iter().map(|(name, number)| entry(name, number));
                        return Ok(replies(entries.chain([done(&request, code, "")]).collect()));
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

fn entry(name: &str, number: &str) -> Reply {
    let mut octets = Vec::new();
    write_entry_op(&mut octets, name, [("telephoneNumber", [number.as_bytes()])]);
    Reply::Entry(octets.into())
}

fn done(request: &Asked, code: ResultCode, diagnostic: &str) -> Reply {
    let tag = match request {
        Asked::Bind { .. } => op::BIND_RESPONSE,
        Asked::Search { .. } | Asked::Membership { .. } => op::SEARCH_RESULT_DONE,
        Asked::Compare { .. } => op::COMPARE_RESPONSE,
        Asked::Write { .. } => op::MODIFY_RESPONSE,
        Asked::Extended { .. } => op::EXTENDED_RESPONSE,
    };
    let mut octets = Vec::new();
    write_result_op(&mut octets, tag, code, "", diagnostic);
    Reply::Done(Done { code, op: octets.into(), controls: None })
}
