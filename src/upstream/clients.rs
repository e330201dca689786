//! Connections that are bound as a client, one a principal, shared by all its operations.
//!
//! Keyed by name and password together. Bounded in number: the one that has been idle longest goes first. A connection that the controller
//! closed is bound again when it is needed. Each of these binds passes the lockout guard as a client's own does, and a refused one ends the
//! sessions that live on these credentials; they are not sent again until the client has proved itself anew. The password lives in the
//! [`Credentials`] alone, and they are let go with the connection.

use super::attempt::Lease;
use super::connect::ConnectError;
use super::connection::{Connection, Settings};
use super::pool::paging;
use super::servers::Servers;
use super::standing::{Failure, Standing};
use crate::directory::DirectoryError;
use crate::identity::Credentials;
use crate::identity::judgement::Judgement;
use crate::identity::lockout::Ended;
use crate::ldap::ResultCode;
use crate::secret::Secret;
use futures_util::future::{BoxFuture, FutureExt, Shared};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

/// Connections by principal.
#[derive(Debug)]
pub(crate) struct Clients {
    slots: Mutex<Vec<Slot>>,
    settings: Settings,
}

#[derive(Debug)]
struct Slot {
    credentials: Arc<Credentials>,
    state: State,
    last_used: Instant,
}

#[derive(Debug, Clone)]
enum State {
    Connecting(Connecting),
    Bound(Bound),
    /// Not to be tried again before the client has proved itself anew.
    Refused,
}

type Connecting = Shared<BoxFuture<'static, Result<Bound, DirectoryError>>>;

#[derive(Debug, Clone)]
struct Bound {
    standing: Arc<Standing>,
    connection: Connection,
}

/// Where a connection is to lead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach<'a> {
    /// There, while it is up.
    pub(crate) first: Option<usize>,
    /// Not there.
    pub(crate) tried: &'a [usize],
}

impl Reach<'_> {
    fn is_met_by(&self, server: usize, servers: &Servers) -> bool {
        servers.is_in_rotation(server)
            && !self.tried.contains(&server)
            && self.first.is_none_or(|first| first == server || !servers.may_be_asked(first))
    }
}

impl Clients {
    /// None yet. `settings` are those of the service's connections; idle time and age are bounded further.
    pub(crate) fn new(settings: Settings) -> Self {
        let settings = Settings { idle: settings.idle.min(IDLE), max_age: Some(MAX_AGE), ..settings };
        Self { slots: Mutex::default(), settings }
    }

    /// A connection bound with `credentials`, at the server `first` while that is up, and at none of `tried`.
    ///
    /// # Errors
    /// [`DirectoryError::CredentialsRefused`], [`DirectoryError::Unavailable`], [`DirectoryError::Busy`] when too many principals are active,
    /// [`DirectoryError::TimedOut`] after the deadline.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        servers: &Servers,
        credentials: &Arc<Credentials>,
        reach: Reach<'_>,
        paged: bool,
        deadline: Instant,
    ) -> Result<(Arc<Standing>, Lease), DirectoryError> {
        let mut rounds = ROUNDS;
        let bound = loop {
            rounds -= 1;
            let (state, is_own) = self.state(servers, credentials, reach)?;
            let bound = match state {
                State::Bound(bound) => bound,
                State::Connecting(connecting) => timeout_at(deadline, connecting).await.map_err(|_| DirectoryError::TimedOut)??,
                State::Refused => return Err(DirectoryError::CredentialsRefused),
            };
            // Somebody else's connect may have led elsewhere; one's own has done what can be done.
            if rounds == 0 || is_own || reach.is_met_by(bound.standing.server(), servers) {
                break bound;
            }
        };
        let paged = paged && bound.standing.capabilities().paging;
        let paging = if paged { Some(paging(&bound.connection, deadline).await?) } else { None };
        Ok((bound.standing, Lease { connection: bound.connection, place: None, paging }))
    }

    /// A server has accepted this name and password in a bind of the client's own: an earlier refusal is history.
    pub(crate) fn proved(&self, name: &str, password: &Secret) {
        let is_history = |slot: &Slot| matches!(slot.state, State::Refused) && slot.is_for(name, password);
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|slot| !is_history(slot));
    }

    /// Forgets what is no longer needed. Called now and then, so that no password stays because nobody came.
    pub(crate) fn sweep(&self, now: Instant) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|slot| slot.is_needed(now));
    }

    /// The state of the principal's connection, and whether this call has begun to connect.
    fn state(
        self: &Arc<Self>,
        servers: &Servers,
        credentials: &Arc<Credentials>,
        reach: Reach<'_>,
    ) -> Result<(State, bool), DirectoryError> {
        if !reach.tried.is_empty() && servers.choose(None, reach.tried).is_none() {
            return Err(DirectoryError::Unavailable);
        }
        let now = Instant::now();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.is_needed(now));
        let known = slots.iter().position(|slot| slot.is_for(&credentials.name, &credentials.password));
        if let Some(slot) = known.and_then(|index| slots.get_mut(index)) {
            let is_usable = match &slot.state {
                State::Bound(bound) => reach.is_met_by(bound.standing.server(), servers) && bound.standing.trusts(&bound.connection),
                State::Connecting(_) | State::Refused => true,
            };
            if is_usable {
                slot.last_used = now;
                return Ok((slot.state.clone(), false));
            }
        }
        let known = known.map(|index| slots.remove(index));
        if known.is_none() && slots.len() >= PRINCIPALS {
            let idle = slots.iter().enumerate().filter(|(_, slot)| slot.is_idle());
            let oldest = idle.min_by_key(|(_, slot)| slot.last_used).map(|(index, _)| index).ok_or(DirectoryError::Busy)?;
            slots.remove(oldest);
        }
        let state = State::Connecting(self.connect(servers.clone(), Arc::clone(credentials), reach));
        slots.push(Slot { credentials: Arc::clone(credentials), state: state.clone(), last_used: now });
        Ok((state, true))
    }

    /// Binds in a task of its own: a caller that goes away must not leave a second one to bind again.
    fn connect(self: &Arc<Self>, servers: Servers, credentials: Arc<Credentials>, reach: Reach<'_>) -> Connecting {
        let clients = Arc::clone(self);
        let (first, tried) = (reach.first, reach.tried.to_vec());
        let task = tokio::spawn(async move {
            let bound = clients.bind(&servers, &credentials, first, tried).await;
            let mut slots = clients.slots.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = slots.iter().position(|slot| Arc::ptr_eq(&slot.credentials, &credentials)) {
                let state = match &bound {
                    Ok(bound) => Some(State::Bound(bound.clone())),
                    Err(DirectoryError::CredentialsRefused) => Some(State::Refused),
                    Err(_) => None,
                };
                match (state, slots.get_mut(index)) {
                    (Some(state), Some(slot)) => slot.state = state,
                    _ => drop(slots.remove(index)),
                }
            }
            bound
        });
        async move { task.await.unwrap_or(Err(DirectoryError::Unavailable)) }.boxed().shared()
    }

    async fn bind(
        &self,
        servers: &Servers,
        credentials: &Credentials,
        first: Option<usize>,
        mut tried: Vec<usize>,
    ) -> Result<Bound, DirectoryError> {
        while let Some(server) = servers.choose(first, &tried) {
            let standing = Arc::clone(&server.standing);
            let Some(rebind) = credentials.rebind(Instant::now() + server.connector.timeout).await else {
                debug!("no connection bound as the client: the account has no attempt left");
                return Err(DirectoryError::Unavailable);
            };
            let bind_as = Some((credentials.name.as_str(), &credentials.password));
            let began = Instant::now();
            let connected = server.connector.connect(bind_as, self.settings, standing.connection()).await;
            rebind.ended(how_it_ended(&connected));
            let error = match connected {
                Ok(connection) => return Ok(Bound { standing, connection }),
                Err(error) => error,
            };
            debug!(%error, "no connection bound as the client");
            match error {
                ConnectError::BindRefused { code: ResultCode::INVALID_CREDENTIALS, .. } => return Err(DirectoryError::CredentialsRefused),
                // The password has left: it is not shown to another server.
                ConnectError::BindRefused { .. } | ConnectError::BindLost { .. } => return Err(DirectoryError::Unavailable),
                _ => standing.operation_failed(Failure::NoAnswer, began, &error),
            }
            tried.push(standing.server());
        }
        Err(DirectoryError::Unavailable)
    }
}

/// What a connect says about the password.
fn how_it_ended(connected: &Result<Connection, ConnectError>) -> Ended {
    match connected {
        Ok(_) => Ended::Answered(Judgement::Right),
        Err(ConnectError::BindRefused { code, diagnostic, .. }) => Ended::Answered(Judgement::of(*code, diagnostic.as_bytes())),
        Err(ConnectError::BindLost { .. }) => Ended::Unanswered,
        Err(_) => Ended::NotSent,
    }
}

impl Slot {
    fn is_for(&self, name: &str, password: &Secret) -> bool {
        self.credentials.name == name && self.credentials.password.expose() == password.expose()
    }

    fn is_needed(&self, now: Instant) -> bool {
        match &self.state {
            State::Connecting(_) => true,
            State::Bound(bound) => bound.connection.is_open(),
            State::Refused => now.saturating_duration_since(self.last_used) < REFUSED,
        }
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::Connecting(_) => false,
            State::Bound(bound) => bound.connection.in_flight() == 0,
            State::Refused => true,
        }
    }
}

/// How often an operation looks for a connection to where it wants to go before it takes one that leads elsewhere.
const ROUNDS: u32 = 3;
/// Principals with a connection.
const PRINCIPALS: usize = 256;
/// A connection without an operation for so long is closed, and the password forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// Credentials that were refused are remembered until nobody has come with them for so long.
const REFUSED: Duration = Duration::from_secs(600);
/// A connection is bound anew after this, so that a client who was disabled loses access.
const MAX_AGE: Duration = Duration::from_secs(300);
