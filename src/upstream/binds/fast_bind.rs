//! Active Directory's fast bind (MS-ADTS 3.1.1.3.4.2.5): a connection on which a bind is only a check, so that many are under way at once.
//!
//! One connection to a server, made when somebody needs it. It says once that it is to be such a one, and from then on binds and nothing
//! else; it stays anonymous whatever is bound on it.

use crate::directory::{DirectoryError, Reply};
use crate::ldap::{ResultCode, oid};
use crate::upstream::attempt::is_overloaded;
use crate::upstream::connect::{Connector, extended_op};
use crate::upstream::connection::{Connection, Outgoing, Payload, Settings};
use crate::upstream::search::NO_END;
use crate::upstream::standing::{Failure, Standing};
use futures_util::future::{BoxFuture, FutureExt, Shared};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

/// The fast connection to one server.
#[derive(Debug)]
pub(crate) struct FastBind {
    connector: Arc<Connector>,
    standing: Arc<Standing>,
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Connecting(Connecting),
    Open(Connection),
    /// The server does not do what it announces.
    Refused,
}

/// A connect under way, for all who wait for it. It goes on when nobody waits any more.
type Connecting = Shared<BoxFuture<'static, Result<Option<Connection>, DirectoryError>>>;

impl FastBind {
    /// Connects when somebody needs it.
    pub(crate) fn new(connector: Arc<Connector>, standing: Arc<Standing>, settings: Settings) -> Self {
        Self { connector, standing, settings: Settings { fast_bind: true, ..settings }, state: Mutex::default() }
    }

    /// The connection; `None` where the server has refused to have one.
    ///
    /// # Errors
    /// When it cannot be had now.
    pub(crate) async fn connection(self: &Arc<Self>, deadline: Instant) -> Result<Option<Connection>, DirectoryError> {
        let connecting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Refused => return Ok(None),
                State::Open(connection) if self.standing.trusts(connection) => return Ok(Some(connection.clone())),
                // One that ended without a word of its own must not be waited for again.
                State::Connecting(connecting) if connecting.peek().is_none() => connecting.clone(),
                State::None | State::Open(_) | State::Connecting(_) => {
                    let connecting = self.connect();
                    *state = State::Connecting(connecting.clone());
                    connecting
                }
            }
        };
        timeout_at(deadline, connecting).await.map_err(|_| DirectoryError::TimedOut)?
    }

    fn connect(self: &Arc<Self>) -> Connecting {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let connected = this.connect_once().await;
            *this.state.lock().unwrap_or_else(PoisonError::into_inner) = match &connected {
                Ok(Some(connection)) => State::Open(connection.clone()),
                Ok(None) => State::Refused,
                Err(_) => State::None,
            };
            connected
        });
        async move { task.await.unwrap_or(Err(DirectoryError::Unavailable)) }.boxed().shared()
    }

    async fn connect_once(&self) -> Result<Option<Connection>, DirectoryError> {
        let began = Instant::now();
        let connection = self.connector.connect(None, self.settings, self.standing.connection()).await.map_err(|error| {
            self.standing.operation_failed(Failure::NoAnswer, began, &error);
            DirectoryError::Unavailable
        })?;
        match become_fast(&connection, Instant::now() + self.connector.timeout).await {
            Ok(ResultCode::SUCCESS) => Ok(Some(connection)),
            Ok(code) if is_overloaded(code) => {
                self.standing.operation_failed(Failure::BrokeOff, Instant::now(), &code);
                Err(DirectoryError::Unavailable)
            }
            Ok(code) => {
                let server = &self.connector.server.url;
                warn!(server, %code, "the controller announces fast bind and refuses it: passwords are checked one by one on a few connections");
                Ok(None)
            }
            Err(error) => {
                self.standing.operation_failed((&error).into(), began, &error);
                Err(DirectoryError::Unavailable)
            }
        }
    }
}

/// Asks that binds be nothing but checks on this connection from now on.
async fn become_fast(connection: &Connection, deadline: Instant) -> Result<ResultCode, DirectoryError> {
    let request = Payload::Open(extended_op(oid::FAST_BIND).into());
    let mut in_flight = connection.begin(Outgoing { op: request, controls: None }, deadline).await?;
    while let Some(reply) = in_flight.next().await {
        if let Reply::Done(done) = reply? {
            return Ok(done.code);
        }
    }
    Err(NO_END)
}
