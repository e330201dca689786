//! An operation from its first request to its last reply: a server chosen, pages collected, one retry where that is safe.
//!
//! A search or compare is tried once more, on another server where there is one, when its server fails or vanishes, and the budget of retries
//! allows it; a reader that has had entries of it already is told to drop them first. A write or extended operation is sent once. Only where a
//! server answers it with a referral, which is a clear no, the next one of the configuration is asked. The whole runs in the task of whoever reads the replies, so nothing is left behind when that one goes.

mod budget;
mod collect;

pub(crate) use self::budget::RetryBudget;
use self::budget::pause;
use self::collect::{Collect, Entry, client_pages, is_of_one_entry, size_limit_exceeded, with_size_limit};
use super::Inner;
use super::attempt::{Attempt, Lease, is_overloaded};
use super::clients::Reach;
use super::connection::{Outgoing, Payload};
use super::pool::Found;
use super::standing::{Capabilities, SILENCE, Standing};
use super::writes::Writing;
use crate::directory::{Asked, DirectoryError, Done, Operation, Replies, Reply, RunAs};
use crate::ldap::ResultCode;
use crate::ldap::control::{parse_controls, write_control};
use crate::ldap::oid;
use crate::ldap::response::{response_tag, write_result_op};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// An operation under way.
#[derive(Debug)]
pub(crate) struct Answer {
    upstream: Arc<Inner>,
    operation: Operation,
    attempt: Attempt,
    collect: Option<Collect>,
    /// For a write.
    writing: Option<Writing>,
    /// Servers that have referred the write elsewhere.
    referred_by: Vec<usize>,
    may_retry: bool,
    /// Entries were passed on.
    has_begun: bool,
    /// It broke off so after entries were passed on, which are void: it begins anew when the reader asks on.
    broke_off: Option<DirectoryError>,
    is_over: bool,
}

/// An operation that a server has been handed.
struct HandedOver {
    attempt: Attempt,
    collect: Option<Collect>,
    writing: Option<Writing>,
}

impl Answer {
    /// Sends the operation to a server.
    ///
    /// # Errors
    /// When no server takes it.
    pub(crate) async fn begin(upstream: Arc<Inner>, operation: Operation) -> Result<Box<Self>, DirectoryError> {
        upstream.retries.earn();
        let HandedOver { attempt, collect, writing } = hand_over(&upstream, &operation, &[]).await?;
        let may_retry = operation.request.is_retryable();
        Ok(Box::new(Self {
            upstream,
            operation,
            attempt,
            collect,
            writing,
            referred_by: Vec::new(),
            may_retry,
            has_begun: false,
            broke_off: None,
            is_over: false,
        }))
    }

    /// Its replies, as they come.
    pub(crate) fn into_replies(self: Box<Self>) -> Replies {
        let step = |mut answer: Box<Self>| async move { answer.next().await.map(|reply| (reply, answer)) };
        Replies::Streamed(unfold(self, step).fuse().boxed())
    }

    /// The next reply; `None` after the last. Not cancel safe while a page or a retry begins; [`unfold`] keeps the future.
    async fn next(&mut self) -> Option<Result<Reply, DirectoryError>> {
        if let Some(error) = self.broke_off.take()
            && let Err(error) = Box::pin(self.begin_anew(error)).await
        {
            self.is_over = true;
            return Some(Err(error));
        }
        while !self.is_over {
            let reply = match self.attempt.take() {
                Some(reply) => reply,
                None => self.reply().await?,
            };
            let reply = match reply {
                Ok(Reply::Done(done)) => self.done(done).await,
                Ok(Reply::Entry(entry)) => Ok(Some(self.entry(entry))),
                Ok(reply @ (Reply::Intermediate(_) | Reply::Who(_) | Reply::Again)) => Ok(Some(reply)),
                Err(error) => Box::pin(self.failed(error)).await,
            };
            match reply {
                Ok(None) => continue,
                Ok(Some(reply)) => {
                    self.is_over = matches!(reply, Reply::Done(_));
                    return Some(Ok(reply));
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// What comes from the server. While another one could still be asked, one that has vanished is not waited for.
    async fn reply(&mut self) -> Option<Result<Reply, DirectoryError>> {
        while self.may_retry {
            let asked_at = Instant::now();
            if let Ok(reply) = self.attempt.next_by(asked_at + SILENCE).await {
                return reply;
            }
            if let ControlFlow::Break(reply) = Box::pin(self.look_after(asked_at)).await {
                return reply;
            }
        }
        self.attempt.next().await
    }

    /// Nothing has come since then: are the server and the connection still there? Ends with whatever comes meanwhile, or with the error where
    /// they are not.
    async fn look_after(&mut self, asked_at: Instant) -> ControlFlow<Option<Result<Reply, DirectoryError>>> {
        if self.attempt.is_held_up() {
            return ControlFlow::Break(Some(Err(BEHIND_ANOTHER)));
        }
        let Some(server) = self.upstream.servers.get(self.attempt.server()) else {
            return ControlFlow::Break(self.attempt.next().await);
        };
        let is_there = tokio::select! {
            biased;
            reply = self.attempt.next() => return ControlFlow::Break(reply),
            is_there = server.silence.is_there(asked_at) => is_there,
        };
        if !is_there {
            server.pool.let_all_go();
            return ControlFlow::Break(Some(Err(self.attempt.lost())));
        }
        let look = self.attempt.look();
        let found = tokio::select! {
            biased;
            reply = self.attempt.next() => return ControlFlow::Break(reply),
            found = look => found,
        };
        match found {
            Found::Alive(_) => {}
            Found::Taken => return ControlFlow::Break(Some(Err(BEHIND_ANOTHER))),
            Found::Dead(_) => {
                let has_others = self.upstream.servers.choose(None, &[self.attempt.server()]).is_some();
                return ControlFlow::Break(Some(Err(self.attempt.gives_up(has_others))));
            }
        }
        ControlFlow::Continue(())
    }

    fn entry(&mut self, entry: Bytes) -> Reply {
        match self.collect.as_mut().map(Collect::entry) {
            None | Some(Entry::Deliver) => {
                self.has_begun = true;
                Reply::Entry(entry)
            }
            // The rest of the page is abandoned when this operation is dropped.
            Some(Entry::OneTooMany) => {
                Reply::Done(Done { code: ResultCode::SIZE_LIMIT_EXCEEDED, op: size_limit_exceeded(), controls: None })
            }
        }
    }

    /// A server's last word: the end, or the end of a page, or a reason to ask elsewhere.
    async fn done(&mut self, mut done: Done) -> Result<Option<Reply>, DirectoryError> {
        if let Some(writing) = self.writing.take() {
            return Box::pin(self.written(done, writing)).await;
        }
        let is_elsewhere = is_overloaded(done.code) || done.code == ResultCode::REFERRAL;
        if is_elsewhere && !self.has_begun && self.takes_retry() {
            let server = self.attempt.server();
            if Box::pin(self.ask_again(Some(server))).await.is_ok() {
                return Ok(None);
            }
        }
        if done.code == ResultCode::REFERRAL {
            return Ok(Some(Reply::Done(unwilling(self.operation.request.tag(), REFERRED))));
        }
        let Some(collect) = &self.collect else { return Ok(Some(Reply::Done(done))) };
        let paged = Collect::page_ended(done.controls.as_ref());
        let (cookie, others) = paged.map_err(|_| DirectoryError::Misbehaved("malformed controls of a page"))?;
        done.controls = others;
        let Some(cookie) = cookie.filter(|_| done.code == ResultCode::SUCCESS) else { return Ok(Some(Reply::Done(done))) };
        let request = request(&self.operation, self.attempt.capabilities(), Some((collect, &cookie)))?;
        match self.attempt.go_on(request).await {
            Ok(()) => Ok(None),
            Err(error) => Box::pin(self.failed(error)).await,
        }
    }

    /// The end of a write, or the next server where this one only reads.
    async fn written(&mut self, done: Done, writing: Writing) -> Result<Option<Reply>, DirectoryError> {
        if !done.may_have_changed() {
            writing.changed_nothing();
        }
        if done.code != ResultCode::REFERRAL {
            return Ok(Some(Reply::Done(done)));
        }
        self.referred_by.push(self.attempt.server());
        self.attempt.release();
        match hand_over(&self.upstream, &self.operation, &self.referred_by).await {
            Ok(next) => {
                (self.attempt, self.writing) = (next.attempt, next.writing);
                Ok(None)
            }
            // Where a server is down that might have taken it, the client hears that instead.
            Err(DirectoryError::Unavailable) if self.upstream.servers.are_among(&self.referred_by) => {
                Ok(Some(Reply::Done(unwilling(self.operation.request.tag(), NO_SERVER_WRITES))))
            }
            Err(error) => Err(error),
        }
    }

    /// The server failed: the operation begins anew elsewhere, where it may and nothing has changed by it.
    async fn failed(&mut self, error: DirectoryError) -> Result<Option<Reply>, DirectoryError> {
        if !error.is_retryable() || !self.takes_retry() {
            if let Some(writing) = self.writing.take().filter(|_| !error.leaves_unknown()) {
                writing.changed_nothing();
            }
            return Err(error);
        }
        if self.has_begun {
            self.broke_off = Some(error);
            return Ok(Some(Reply::Again));
        }
        self.begin_anew(error).await.map(|()| None)
    }

    /// Asks another server, or a fresh connection to the same one.
    async fn begin_anew(&mut self, error: DirectoryError) -> Result<(), DirectoryError> {
        self.has_begun = false;
        // After a write the others may not have it yet, so a fresh connection to the same server comes first.
        let server = self.attempt.server();
        let elsewhere = Some(server).filter(|server| self.upstream.writes.reads_from() != Some(*server));
        let retried = match self.ask_again(elsewhere).await {
            Err(DirectoryError::Unavailable) => self.ask_again(None).await,
            retried => retried,
        };
        retried.map_err(|_| error)
    }

    /// Takes the one retry that the operation has, where the site bears it.
    fn takes_retry(&mut self) -> bool {
        std::mem::take(&mut self.may_retry) && self.upstream.retries.spend()
    }

    async fn ask_again(&mut self, except: Option<usize>) -> Result<(), DirectoryError> {
        // Or all who retry would wait for the places that they hold themselves.
        self.attempt.release();
        sleep_until(self.operation.deadline.min(Instant::now() + pause(fastrand::f64()))).await;
        let next = hand_over(&self.upstream, &self.operation, except.as_slice()).await?;
        (self.attempt, self.collect) = (next.attempt, next.collect);
        self.upstream.metrics.retried();
        Ok(())
    }
}

/// Hands the operation to a server that is up, none of `except`. Servers that cannot be reached are passed over: nothing has left yet.
async fn hand_over(upstream: &Inner, operation: &Operation, except: &[usize]) -> Result<HandedOver, DirectoryError> {
    let is_write = operation.request.is_write();
    let mut tried = except.to_vec();
    let mut closed = 0;
    loop {
        let first = if is_write {
            Some(upstream.writes.server(&upstream.servers, &tried).ok_or(DirectoryError::Unavailable)?)
        } else {
            upstream.writes.reads_from()
        };
        let Some((standing, lease)) = lease(upstream, operation, first, &mut tried).await? else { continue };
        let server = standing.server();
        if let Some(first) = first.filter(|first| is_write && *first != server) {
            // It could not be reached. Where writes go now is decided for all of them together, above.
            tried.push(first);
            continue;
        }
        let collect = match &operation.request {
            Asked::Search { entries_wanted, .. } if lease.paging.is_some() => Some(Collect::new(*entries_wanted, upstream.page_size)),
            _ => None,
        };
        let request = request(operation, standing.capabilities(), collect.as_ref().map(|collect| (collect, &[][..])))?;
        let writing = is_write.then(|| upstream.writes.begin(server));
        if !is_write {
            upstream.writes.read_at(server);
        }
        let error = match Attempt::begin(&standing, lease, request, operation.deadline).await {
            Ok(attempt) => return Ok(HandedOver { attempt, collect, writing }),
            Err(error) => error,
        };
        if let Some(writing) = writing {
            writing.changed_nothing();
        }
        // It closed between the choice and the hand-over; the request never reached it.
        if error != (DirectoryError::ConnectionLost { sent: false }) || closed == CLOSED_AT_MOST {
            return Err(error);
        }
        closed += 1;
    }
}

/// A connection for the operation, at `first` while that is up; `None` when another server is to be tried, and that one is noted.
async fn lease(
    upstream: &Inner,
    operation: &Operation,
    first: Option<usize>,
    tried: &mut Vec<usize>,
) -> Result<Option<(Arc<Standing>, Lease)>, DirectoryError> {
    let paged = wants_pages(operation, upstream.page_size);
    if let RunAs::Client(credentials) = &operation.run_as {
        let reach = Reach { first, tried };
        let lease = upstream.clients.lease(&upstream.servers, credentials, reach, paged, operation.deadline);
        return Box::pin(lease).await.map(Some);
    }
    let server = upstream.servers.choose(first, tried).ok_or(DirectoryError::Unavailable)?;
    match server.pool.lease(paged, operation.deadline).await {
        Ok(lease) => Ok(Some((Arc::clone(&server.standing), lease))),
        Err(DirectoryError::Unavailable) => {
            tried.push(server.standing.server());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What a client hears instead of a referral to an operation with that tag. The URIs stay here: Redial follows none, since whoever answers
/// would choose where it connects (RFC 4511 section 6), and phones cannot.
pub(crate) fn unwilling(request_tag: u8, why: &str) -> Done {
    let mut response = Vec::new();
    write_result_op(&mut response, response_tag(request_tag).unwrap_or_default(), ResultCode::UNWILLING_TO_PERFORM, "", why);
    Done { code: ResultCode::UNWILLING_TO_PERFORM, op: response.into(), controls: None }
}

/// May the result be longer than one page?
fn wants_pages(operation: &Operation, page_size: u32) -> bool {
    let Asked::Search { op, entries_wanted } = &operation.request else { return false };
    entries_wanted.is_none_or(|wanted| wanted > page_size) && !is_of_one_entry(op) && !client_pages(operation.controls.as_deref())
}

/// The request as it goes to a server with these capabilities; `page` is the page to ask for.
fn request(operation: &Operation, capabilities: Capabilities, page: Option<(&Collect, &[u8])>) -> Result<Outgoing, DirectoryError> {
    let (op, entries_wanted) = match &operation.request {
        Asked::Search { op, entries_wanted } => (op, entries_wanted),
        Asked::Compare { op, .. } | Asked::Write { op, .. } | Asked::Extended { op } => {
            return Ok(Outgoing { op: Payload::Open(op.clone()), controls: operation.controls.clone() });
        }
        Asked::Bind { .. } | Asked::Membership { .. } => return Err(DirectoryError::NotSupported),
    };
    let size_limit = if page.is_some() { 0 } else { entries_wanted.unwrap_or(0) };
    let op = with_size_limit(op, size_limit).map_err(|_| DirectoryError::NotSupported)?;
    let mut controls = operation.controls.as_deref().unwrap_or_default().to_vec();
    if capabilities.domain_scope && !has_domain_scope(&controls) {
        write_control(&mut controls, oid::DOMAIN_SCOPE, false, None);
    }
    if let Some((collect, cookie)) = page {
        collect.write_control(&mut controls, cookie);
    }
    let controls = (!controls.is_empty()).then(|| controls.into());
    Ok(Outgoing { op: Payload::Open(op.into()), controls })
}

fn has_domain_scope(controls: &[u8]) -> bool {
    parse_controls(Some(controls)).is_ok_and(|controls| controls.iter().any(|control| control.oid == oid::DOMAIN_SCOPE))
}

/// Neither the server's fault nor the connection's, which goes on for whoever reads from it: others are asked.
const BEHIND_ANOTHER: DirectoryError = DirectoryError::ConnectionLost { sent: true };
/// To a client whose write every server refers elsewhere.
const NO_SERVER_WRITES: &str = "no server of the directory takes writes now";
/// To a client whose other operation is referred elsewhere.
pub(crate) const REFERRED: &str = "the controller refers this elsewhere, and referrals are not followed";
/// Connections that close under an operation's nose before it gives up.
const CLOSED_AT_MOST: usize = 3;
