//! An operation from its first request to its last reply: a server chosen, pages collected, one retry where that is safe.
//!
//! A search or compare is tried once more, on another server where there is one, when its server fails before the first reply was passed
//! on. A write or extended operation is sent once. The whole runs in the task of whoever reads the replies, so nothing is left behind when
//! that one goes.

use super::attempt::{Attempt, is_overloaded};
use super::collect::{Collect, Entry, client_pages, size_limit_exceeded, with_size_limit};
use super::connection::Outgoing;
use super::outbox::Payload;
use super::{Inner, capabilities::Capabilities};
use crate::directory::{Asked, DirectoryError, Done, Operation, Replies, Reply, RunAs};
use crate::ldap::control::{parse_controls, write_control};
use crate::ldap::message::{ResultCode, Scope};
use crate::ldap::oid;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use std::sync::Arc;

/// An operation under way.
#[derive(Debug)]
pub(crate) struct Answer {
    upstream: Arc<Inner>,
    operation: Operation,
    attempt: Attempt,
    collect: Option<Collect>,
    may_retry: bool,
    is_over: bool,
}

impl Answer {
    /// Sends the operation to a server.
    ///
    /// # Errors
    /// When no server takes it.
    pub(crate) async fn begin(upstream: Arc<Inner>, operation: Operation) -> Result<Self, DirectoryError> {
        let (attempt, collect) = attempt(&upstream, &operation, None).await?;
        let may_retry = operation.request.is_retryable();
        Ok(Self { upstream, operation, attempt, collect, may_retry, is_over: false })
    }

    /// Its replies, as they come.
    pub(crate) fn into_replies(self) -> Replies {
        let step = |mut answer: Box<Self>| async move { answer.next().await.map(|reply| (reply, answer)) };
        Replies::Streamed(unfold(Box::new(self), step).fuse().boxed())
    }

    /// The next reply; `None` after the last. Not cancel safe while a page or a retry begins; [`unfold`] keeps the future.
    async fn next(&mut self) -> Option<Result<Reply, DirectoryError>> {
        while !self.is_over {
            let reply = self.attempt.next().await?;
            let reply = match reply {
                Ok(Reply::Done(done)) => self.done(done).await,
                Ok(Reply::Entry(entry)) => Ok(Some(self.entry(entry))),
                Ok(reply @ Reply::Intermediate(_)) => Ok(Some(reply)),
                Err(error) => self.failed(error).await.map(|()| None),
            };
            match reply {
                Ok(None) => continue,
                Ok(Some(reply)) => {
                    self.may_retry = false;
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

    fn entry(&mut self, entry: Bytes) -> Reply {
        match self.collect.as_mut().map(Collect::entry) {
            None | Some(Entry::Deliver) => Reply::Entry(entry),
            // The rest of the page is abandoned when this operation is dropped.
            Some(Entry::OneTooMany) => {
                Reply::Done(Done { code: ResultCode::SIZE_LIMIT_EXCEEDED, op: size_limit_exceeded(), controls: None })
            }
        }
    }

    /// A server's last word: the end, or the end of a page, or a reason to ask elsewhere.
    async fn done(&mut self, mut done: Done) -> Result<Option<Reply>, DirectoryError> {
        if self.may_retry && is_overloaded(done.code) && self.retry(Some(self.attempt.server())).await.is_ok() {
            return Ok(None);
        }
        let Some(collect) = &self.collect else { return Ok(Some(Reply::Done(done))) };
        let paged = Collect::page_ended(done.controls.as_ref());
        let (cookie, others) = paged.map_err(|_| DirectoryError::Misbehaved("malformed controls of a page"))?;
        done.controls = others;
        let Some(cookie) = cookie.filter(|_| done.code == ResultCode::SUCCESS) else { return Ok(Some(Reply::Done(done))) };
        let request = request(&self.operation, self.attempt.capabilities(), Some((collect, &cookie)))?;
        self.attempt.go_on(request).await?;
        self.may_retry = false;
        Ok(None)
    }

    /// The server failed: another is asked, or a fresh connection to the same one.
    async fn failed(&mut self, error: DirectoryError) -> Result<(), DirectoryError> {
        if !(self.may_retry && error.is_retryable()) {
            return Err(error);
        }
        let retried = match self.retry(Some(self.attempt.server())).await {
            Err(DirectoryError::Unavailable) => self.retry(None).await,
            retried => retried,
        };
        retried.map_err(|_| error)
    }

    async fn retry(&mut self, except: Option<usize>) -> Result<(), DirectoryError> {
        self.may_retry = false;
        // Or all who retry would wait for the places that they hold themselves.
        self.attempt.release();
        (self.attempt, self.collect) = attempt(&self.upstream, &self.operation, except).await?;
        self.upstream.metrics.upstream_retried(self.upstream.index);
        Ok(())
    }
}

/// Hands the operation to a server that is up, not to `except`. Servers that cannot be reached are passed over: nothing has left yet.
async fn attempt(upstream: &Inner, operation: &Operation, except: Option<usize>) -> Result<(Attempt, Option<Collect>), DirectoryError> {
    let mut tried = Vec::from_iter(except);
    let mut closed = 0;
    loop {
        let paged = wants_pages(operation, upstream.page_size);
        let leased = match &operation.run_as {
            RunAs::Client(credentials) => upstream.clients.lease(&upstream.servers, credentials, except, paged, operation.deadline).await?,
            RunAs::Service => {
                let server = upstream.servers.choose(&tried).ok_or(DirectoryError::Unavailable)?;
                match server.pool.lease(paged, operation.deadline).await {
                    Ok(lease) => (Arc::clone(&server.standing), lease),
                    Err(DirectoryError::Unavailable) => {
                        tried.push(server.standing.server());
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let (standing, lease) = leased;
        let collect = match &operation.request {
            Asked::Search { entries_wanted, .. } if lease.paging.is_some() => Some(Collect::new(*entries_wanted, upstream.page_size)),
            _ => None,
        };
        let request = request(operation, standing.capabilities(), collect.as_ref().map(|collect| (collect, &[][..])))?;
        match Attempt::begin(&standing, lease, request, operation.deadline).await {
            Ok(attempt) => return Ok((attempt, collect)),
            // It closed between the choice and the hand-over; the request never reached it.
            Err(DirectoryError::ConnectionLost { sent: false }) if closed < CLOSED_AT_MOST => closed += 1,
            Err(error) => return Err(error),
        }
    }
}

/// May the result be longer than one page?
fn wants_pages(operation: &Operation, page_size: u32) -> bool {
    let Asked::Search { request, entries_wanted, .. } = &operation.request else { return false };
    request.scope != Scope::BaseObject
        && entries_wanted.is_none_or(|wanted| wanted > page_size)
        && !client_pages(operation.controls.as_deref())
}

/// The request as it goes to a server with these capabilities; `page` is the page to ask for.
fn request(operation: &Operation, capabilities: Capabilities, page: Option<(&Collect, &[u8])>) -> Result<Outgoing, DirectoryError> {
    let (op, entries_wanted) = match &operation.request {
        Asked::Search { op, entries_wanted, .. } => (op, entries_wanted),
        Asked::Compare { op, .. } | Asked::Write { op, .. } | Asked::Extended { op } => {
            return Ok(Outgoing { op: Payload::Open(op.clone()), controls: operation.controls.clone() });
        }
        Asked::Bind { .. } => return Err(DirectoryError::NotSupported),
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

/// Connections that close under an operation's nose before it gives up.
const CLOSED_AT_MOST: usize = 3;
