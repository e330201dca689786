//! Connections to one controller that do nothing but bind: is this the password of that name?
//!
//! A client's bind is one bind upstream, on one connection, and never sent again: a second attempt could lock the account. Where the server has
//! fast bind, many are under way at once on one connection ([`fast_bind`]). That stays anonymous, so only binds go there whose names the
//! service account has found somebody for. Any other goes to one of a few connections with one bind at a time under way (RFC 4511 section
//! 4.2.1). A connection that has bound as somebody is used to ask who that is, and then for further binds only, so an identity is never left on
//! anything that runs a client's search.

mod fast_bind;

use self::fast_bind::FastBind;
use super::connect::{Connector, bind};
use super::connection::{Connection, Settings};
use super::pool::Waiting;
use super::standing::{Failure, Standing};
use super::who::People;
use crate::directory::{DirectoryError, Done, Groups};
use crate::identity::Who;
use crate::ldap::ResultCode;
use crate::ldap::ber::{self, Reader};
use crate::ldap::envelope::op;
use crate::secret::Secret;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

/// Bind connections to one server.
#[derive(Debug)]
pub(crate) struct Binds {
    connector: Arc<Connector>,
    standing: Arc<Standing>,
    people: Arc<People>,
    settings: Settings,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
    waiting: AtomicUsize,
    fast: Arc<FastBind>,
    fast_places: Semaphore,
}

/// The response to a bind.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Itself.
    pub(crate) done: Done,
    /// Whose name that was, where the password was right and the server says.
    pub(crate) who: Option<Who>,
}

/// Why a bind has no response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BindError {
    /// Nothing has left: another server may be asked.
    NotSent(DirectoryError),
    /// The server may have counted the attempt: nobody else may be asked.
    Sent(DirectoryError),
}

impl Binds {
    /// Connects when somebody needs it.
    pub(crate) fn new(connector: Arc<Connector>, standing: Arc<Standing>, people: Arc<People>, settings: Settings) -> Self {
        let fast = Arc::new(FastBind::new(Arc::clone(&connector), Arc::clone(&standing), settings));
        Self {
            connector,
            standing,
            people,
            settings,
            idle: Mutex::default(),
            places: Semaphore::new(CONNECTIONS),
            waiting: AtomicUsize::new(0),
            fast,
            fast_places: Semaphore::new(FAST),
        }
    }

    /// One bind. Dropping the future ends its connection, unless that is shared with others.
    ///
    /// # Errors
    /// As [`BindError`] says. A refusal is a response, not an error.
    pub(crate) async fn check(&self, name: &str, password: &Secret, groups: &Groups, deadline: Instant) -> Result<Bound, BindError> {
        if self.people.has_account() && self.standing.capabilities().fast_bind {
            let _place = self.place(&self.fast_places, deadline).await?;
            if let Some(connection) = self.fast.connection(deadline).await.map_err(BindError::NotSent)?
                && let Some(canonical) = self.people.called(name, groups, patience(deadline)).await
            {
                let done = self.ask(&connection, name, password, deadline).await?;
                let who = match done.code {
                    ResultCode::SUCCESS => self.people.bound_as(canonical, groups, patience(deadline)).await,
                    _ => None,
                };
                return Ok(Bound { done, who });
            }
        }
        let _place = self.place(&self.places, deadline).await?;
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect(deadline).await.map_err(BindError::NotSent)?,
        };
        let asked_at = Instant::now();
        let done = self.ask(&connection, name, password, deadline).await?;
        let who = match done.code {
            ResultCode::SUCCESS => self.who(connection, groups, asked_at, deadline).await,
            _ => {
                self.keep(connection);
                None
            }
        };
        Ok(Bound { done, who })
    }

    /// A place among those whose binds are under way.
    async fn place<'a>(&self, places: &'a Semaphore, deadline: Instant) -> Result<SemaphorePermit<'a>, BindError> {
        let _waiting = Waiting::begin(&self.waiting).map_err(BindError::NotSent)?;
        let place = timeout_at(deadline, places.acquire()).await.map_err(|_| BindError::NotSent(DirectoryError::TimedOut))?;
        place.map_err(|_| BindError::NotSent(DirectoryError::Unavailable))
    }

    /// Sends the bind, once. A connection that gave no answer takes no further one.
    async fn ask(&self, connection: &Connection, name: &str, password: &Secret, deadline: Instant) -> Result<Done, BindError> {
        let mut sent = self.standing.sent();
        match bind(connection, name, password, deadline).await {
            Ok(done) => {
                sent.answered(done.code);
                without_sasl_credentials(done).map_err(BindError::Sent)
            }
            Err(error @ DirectoryError::ConnectionLost { sent: false }) => Err(BindError::NotSent(error)),
            Err(error) => {
                connection.retire();
                sent.failed((&error).into(), &error);
                Err(BindError::Sent(error))
            }
        }
    }

    /// Who has just bound there. A bind that was accepted is one whatever comes of this; a connection without an answer is not used again.
    async fn who(&self, connection: Connection, groups: &Groups, asked_at: Instant, deadline: Instant) -> Option<Who> {
        match self.people.bound(&connection, groups, asked_at, patience(deadline)).await {
            Ok(who) => {
                self.keep(connection);
                who
            }
            Err(error) => {
                debug!(%error, "a server accepted a bind and did not say whose");
                None
            }
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, DirectoryError> {
        let began = Instant::now();
        let connect = self.connector.connect(None, self.settings, self.standing.connection());
        match timeout_at(deadline, connect).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                self.standing.operation_failed(Failure::NoAnswer, began, &error);
                Err(DirectoryError::Unavailable)
            }
            Err(_) => Err(DirectoryError::TimedOut),
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| self.standing.trusts(connection));
        idle.pop()
    }

    fn keep(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// Until when a server may say whose name it is.
fn patience(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + (deadline.saturating_duration_since(now) / 2).min(WHO)
}

/// A response to a simple bind has no serverSaslCreds (RFC 4511 section 4.2.2). Without them it is the one that came.
fn without_sasl_credentials(mut done: Done) -> Result<Done, DirectoryError> {
    let malformed = |_| DirectoryError::Misbehaved("a malformed BindResponse");
    let content = Reader::new(&done.op).element().map_err(malformed)?.content;
    let mut fields = Reader::new(content);
    let mut kept = Vec::new();
    let mut is_changed = false;
    while !fields.is_empty() {
        let field = fields.element().map_err(malformed)?;
        if field.tag == SERVER_SASL_CREDS {
            is_changed = true;
        } else {
            kept.extend_from_slice(field.raw);
        }
    }
    if is_changed {
        let mut rebuilt = Vec::new();
        ber::write_element(&mut rebuilt, op::BIND_RESPONSE, &kept);
        done.op = rebuilt.into();
    }
    Ok(done)
}

/// `serverSaslCreds [7] OCTET STRING`.
const SERVER_SASL_CREDS: u8 = 0x87;
/// Binds under way at one server: its part of the few connections that Redial has.
const CONNECTIONS: usize = 8;
/// Binds under way at once on one server's fast connection, each with its look-ups: fewer than the searches that may wait there.
const FAST: usize = 256;
/// A server that has accepted a bind may take so long to say whose, or half of what the client waits.
const WHO: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn done(op: &'static [u8]) -> Done {
        Done { code: ResultCode::SUCCESS, op: op.into(), controls: None }
    }

    #[test]
    fn sasl_credentials_are_taken_out_of_a_bind_response() {
        let cleaned = without_sasl_credentials(done(&[0x61, 10, 0x0a, 1, 0, 4, 0, 4, 0, 0x87, 1, 9])).unwrap();
        assert_eq!(cleaned.op[..], [0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0]);
    }

    #[test]
    fn a_bind_response_without_them_stays_as_it_came() {
        let op = &[0x61, 0x84, 0, 0, 0, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        assert_eq!(without_sasl_credentials(done(op)).unwrap().op[..], op[..]);
    }
}
