//! One operation at one server: its replies, and what they say about the server's health.

use super::connection::{Connection, InFlight, Outgoing};
use super::pool::{Found, look};
use super::standing::{Capabilities, Failure, Sent, Standing};
use crate::directory::{DirectoryError, Reply};
use crate::ldap::ResultCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

/// A connection that an operation may use, with what must be held meanwhile.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The connection.
    pub(crate) connection: Connection,
    /// A place among the operations of the server.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// The connection's one paged search.
    pub(crate) paging: Option<OwnedSemaphorePermit>,
}

/// An operation under way at one server.
#[derive(Debug)]
pub(crate) struct Attempt {
    sent: Sent,
    in_flight: InFlight,
    lease: Lease,
    deadline: Instant,
}

impl Attempt {
    /// Hands a request to a connection.
    ///
    /// # Errors
    /// As [`Connection::begin`].
    pub(crate) async fn begin(
        standing: &Arc<Standing>,
        lease: Lease,
        request: Outgoing,
        deadline: Instant,
    ) -> Result<Self, DirectoryError> {
        let in_flight = lease.connection.begin(request, deadline).await?;
        Ok(Self { sent: standing.sent(), in_flight, lease, deadline })
    }

    /// Asks on for the same operation, on the same connection.
    ///
    /// # Errors
    /// As [`Connection::begin`].
    pub(crate) async fn go_on(&mut self, request: Outgoing) -> Result<(), DirectoryError> {
        self.in_flight = self.lease.connection.begin(request, self.deadline).await?;
        Ok(())
    }

    /// The next reply; `None` after the last. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Reply, DirectoryError>> {
        let reply = self.in_flight.next().await?;
        Some(self.noted(reply))
    }

    /// As [`InFlight::next_by`].
    ///
    /// # Errors
    /// [`Elapsed`] when nothing has come.
    pub(crate) async fn next_by(&mut self, until: Instant) -> Result<Option<Result<Reply, DirectoryError>>, Elapsed> {
        let reply = self.in_flight.next_by(until).await?;
        Ok(reply.map(|reply| self.noted(reply)))
    }

    /// The next reply, where it has come already.
    pub(crate) fn take(&mut self) -> Option<Result<Reply, DirectoryError>> {
        let reply = self.in_flight.take()?;
        Some(self.noted(reply))
    }

    fn noted(&mut self, reply: Result<Reply, DirectoryError>) -> Result<Reply, DirectoryError> {
        match &reply {
            Ok(Reply::Done(done)) => self.sent.answered(done.code),
            Err(error @ (DirectoryError::ConnectionLost { .. } | DirectoryError::Misbehaved(_) | DirectoryError::TimedOut)) => {
                self.sent.failed(error.into(), error);
            }
            _ => {}
        }
        reply
    }

    /// The server has vanished: what it was asked is lost.
    pub(crate) fn lost(&self) -> DirectoryError {
        let error = DirectoryError::ConnectionLost { sent: true };
        self.sent.failed(Failure::NoAnswer, &error);
        error
    }

    /// Nothing comes, because somebody else's result is in the way, which nobody reads.
    pub(crate) fn is_held_up(&self) -> bool {
        self.lease.connection.is_stalled()
    }

    /// What is the matter with the connection? Its server answers, but this one may lead nowhere.
    pub(crate) fn look(&self) -> impl Future<Output = Found> + use<> {
        let (connection, deadline) = (self.lease.connection.clone(), self.deadline.min(Instant::now() + ALIVE));
        async move { look(&connection, deadline).await }
    }

    /// Nothing more comes by its connection, which is used no more. That counts against the server where another one could be asked instead:
    /// one that is only slow is better than none.
    pub(crate) fn gives_up(&self, has_others: bool) -> DirectoryError {
        self.lease.connection.retire();
        if has_others { self.lost() } else { DirectoryError::ConnectionLost { sent: true } }
    }

    /// Gives back what only a running operation needs.
    pub(crate) fn release(&mut self) {
        drop((self.lease.place.take(), self.lease.paging.take()));
    }

    /// What the server announced.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.sent.standing().capabilities()
    }

    /// The server's index in its directory.
    pub(crate) fn server(&self) -> usize {
        self.sent.standing().server()
    }
}

/// For the answer to a question that costs a server nothing.
const ALIVE: Duration = Duration::from_secs(1);

/// The server is there, but does not want to answer now.
pub(crate) fn is_overloaded(code: ResultCode) -> bool {
    matches!(code, ResultCode::BUSY | ResultCode::UNAVAILABLE)
}
