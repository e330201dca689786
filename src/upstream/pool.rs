//! The connections to one controller that run searches, bound as the service account (anonymous where there is none).
//!
//! Few and long-lived: one is kept warm, more are made one by one when those that stand are busy, up to `connections`. Idle ones close
//! themselves. How many operations are under way and how many wait is bounded; nobody waits longer than its deadline.

use super::attempt::Lease;
use super::connect::Connector;
use super::connection::{Connection, Outgoing, Payload, Settings};
use super::standing::{Capabilities, Standing};
use crate::config::ServiceAccount;
use crate::directory::{DirectoryError, Reply};
use futures_util::future::{BoxFuture, FutureExt, Shared};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    connector: Arc<Connector>,
    standing: Arc<Standing>,
    account: Option<ServiceAccount>,
    settings: Settings,
    limit: usize,
    state: Mutex<State>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Connection>,
    connecting: Option<Connecting>,
}

/// A connect under way, for all who wait for it: did it succeed? It goes on when nobody waits any more.
type Connecting = Shared<BoxFuture<'static, bool>>;

enum Pick {
    Connection(Connection),
    Wait(Connecting),
}

impl Pool {
    /// Connects when somebody needs it.
    pub(crate) fn new(
        connector: Arc<Connector>,
        standing: Arc<Standing>,
        account: Option<ServiceAccount>,
        settings: Settings,
        limit: usize,
    ) -> Self {
        Self {
            connector,
            standing,
            account,
            settings,
            limit,
            state: Mutex::default(),
            places: Arc::new(Semaphore::new(limit * OPERATIONS_PER_CONNECTION)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// A connection for one operation. `paged` asks for one whose cookie is nobody else's, where the server pages.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`] when the server cannot be reached, [`DirectoryError::Busy`] when too many wait,
    /// [`DirectoryError::TimedOut`] after the deadline.
    pub(crate) async fn lease(self: &Arc<Self>, paged: bool, deadline: Instant) -> Result<Lease, DirectoryError> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => Box::pin(self.place(deadline)).await?,
        };
        for round in 1..=ROUNDS {
            let paged = paged && self.standing.capabilities().paging;
            let connection = match self.pick(paged, round < ROUNDS) {
                Pick::Connection(connection) => connection,
                Pick::Wait(connecting) => {
                    let connected = Box::pin(timeout_at(deadline, connecting)).await.map_err(|_| DirectoryError::TimedOut)?;
                    match self.open_connection() {
                        Some(connection) if !connected => connection,
                        None if !connected => return Err(DirectoryError::Unavailable),
                        _ => continue,
                    }
                }
            };
            let paging = if paged { Some(paging(&connection, deadline).await?) } else { None };
            return Ok(Lease { connection, place: Some(place), paging });
        }
        // It accepts connections and drops them at once.
        Err(DirectoryError::Unavailable)
    }

    /// Any connection that stands; one that no large answer fills, if there is one.
    pub(crate) fn open_connection(&self) -> Option<Connection> {
        let cost = |connection: &&Connection| (connection.is_filling(), connection.in_flight());
        self.with_state(|state| state.connections.iter().min_by_key(cost).cloned())
    }

    /// Connects if nothing stands. The outcome is in the server's standing.
    pub(crate) async fn warm_up(self: &Arc<Self>) {
        if let Pick::Wait(connecting) = self.pick(false, true) {
            connecting.await;
        }
    }

    /// Uses none of the connections again; operations on them may end.
    pub(crate) fn let_all_go(&self) {
        self.with_state(|state| state.connections.clear());
    }

    /// A place, when one is free.
    async fn place(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, DirectoryError> {
        let _waiting = Waiting::begin(&self.waiting)?;
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await.map_err(|_| DirectoryError::TimedOut)?;
        place.map_err(|_| DirectoryError::Unavailable)
    }

    /// The least busy connection. Another one is begun when it is busy; the operation waits for that only when it must.
    fn pick(self: &Arc<Self>, paged: bool, may_wait: bool) -> Pick {
        self.with_state(|state| {
            let cost = |connection: &Connection| {
                let pages = paged && connection.paging().available_permits() == 0;
                (pages, connection.is_filling(), connection.in_flight())
            };
            let least = state.connections.iter().min_by_key(|connection| cost(connection)).cloned();
            let (pages, filling, in_flight) = least.as_ref().map_or((true, true, usize::MAX), cost);
            let may_grow = state.connecting.is_some() || state.connections.len() < self.limit;
            let is_busy = pages || filling || in_flight >= GROW_AT;
            let connecting = (is_busy && may_grow).then(|| state.connecting.get_or_insert_with(|| self.connect()).clone());
            match (least, connecting) {
                (Some(_), Some(connecting)) if may_wait && (pages || filling) => Pick::Wait(connecting),
                (Some(connection), _) => Pick::Connection(connection),
                (None, Some(connecting)) => Pick::Wait(connecting),
                // With no connection there is room for one; a limit of zero gives none.
                (None, None) => Pick::Wait(std::future::ready(false).boxed().shared()),
            }
        })
    }

    fn connect(self: &Arc<Self>) -> Connecting {
        let pool = Arc::clone(self);
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let connected = pool.connect_once().await;
            pool.with_state(|state| {
                state.connecting = None;
                let is_first = state.connections.is_empty();
                match connected {
                    Ok((connection, capabilities)) => {
                        pool.standing.probe_succeeded(capabilities);
                        state.connections.push(connection);
                        true
                    }
                    Err(error) => {
                        // While others stand, one that could not be added says little about the server.
                        if is_first {
                            pool.standing.probe_failed(began, &error);
                        }
                        false
                    }
                }
            })
        });
        async move { task.await.unwrap_or(false) }.boxed().shared()
    }

    async fn connect_once(&self) -> Result<(Connection, Capabilities), Box<dyn std::error::Error + Send + Sync>> {
        let bind_as = self.account.as_ref().map(|account| (account.bind_dn.as_str(), &account.password));
        let connection = self.connector.connect(bind_as, self.settings, self.standing.connection()).await?;
        let capabilities = root_dse(&connection, Instant::now() + self.connector.timeout).await?;
        Ok((connection, capabilities))
    }

    fn with_state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.connections.retain(|connection| self.standing.trusts(connection));
        // A connect that ended without a word of its own must not be waited for again.
        state.connecting = state.connecting.take().filter(|connecting| connecting.peek().is_none());
        look(&mut state)
    }
}

/// The right to run the connection's one paged search.
///
/// # Errors
/// [`DirectoryError::TimedOut`] after the deadline.
pub(crate) async fn paging(connection: &Connection, deadline: Instant) -> Result<OwnedSemaphorePermit, DirectoryError> {
    if let Ok(permit) = connection.paging().try_acquire_owned() {
        return Ok(permit);
    }
    let permit = Box::pin(timeout_at(deadline, connection.paging().acquire_owned())).await.map_err(|_| DirectoryError::TimedOut)?;
    permit.map_err(|_| DirectoryError::Unavailable)
}

/// How a connection was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its server answers there, and can do this.
    Alive(Capabilities),
    /// Somebody else's result takes all of it, so that nothing is heard of the question.
    Taken,
    /// Nothing comes by it.
    Dead(DirectoryError),
}

/// Looks whether a connection leads anywhere.
pub(crate) async fn look(connection: &Connection, deadline: Instant) -> Found {
    let reads = connection.reads();
    if connection.is_stalled() {
        return Found::Taken;
    }
    match root_dse(connection, deadline).await {
        Ok(capabilities) => Found::Alive(capabilities),
        Err(DirectoryError::TimedOut) if connection.is_stalled() || connection.reads() > reads => Found::Taken,
        Err(error) => Found::Dead(error),
    }
}

/// Asks a server what it can do. One that answers without telling is well, and can nothing special.
///
/// # Errors
/// When it gives no answer, or says that it is busy or unavailable.
pub(crate) async fn root_dse(connection: &Connection, deadline: Instant) -> Result<Capabilities, DirectoryError> {
    let request = Outgoing { op: Payload::Open(Capabilities::request().into()), controls: None };
    let mut in_flight = connection.begin(request, deadline).await?;
    let mut found = Capabilities::default();
    while let Some(reply) = in_flight.next().await {
        match reply? {
            Reply::Entry(entry) => found = Capabilities::parse(&entry).map_err(|_| DirectoryError::Misbehaved("a malformed rootDSE"))?,
            Reply::Intermediate(_) | Reply::Who(_) | Reply::Again => {}
            Reply::Done(done) if super::attempt::is_overloaded(done.code) => return Err(DirectoryError::Unavailable),
            Reply::Done(_) => break,
        }
    }
    Ok(found)
}

/// One who waits for a place, counted until it is dropped.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// Waits with the others, if they are not too many.
    ///
    /// # Errors
    /// [`DirectoryError::Busy`].
    pub(crate) fn begin(waiting: &'a AtomicUsize) -> Result<Self, DirectoryError> {
        let others = waiting.fetch_add(1, Ordering::Relaxed);
        let this = Self(waiting);
        if others >= WAITING_AT_MOST { Err(DirectoryError::Busy) } else { Ok(this) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Operations on the least busy connection that make the pool grow.
const GROW_AT: usize = 8;
/// Operations on one connection at once; more wait. A controller works on a few of one connection at a time.
pub(crate) const OPERATIONS_PER_CONNECTION: usize = 128;
/// Operations that wait for one server; beyond it they are told busy(51).
const WAITING_AT_MOST: usize = 1024;
/// How often an operation looks for a connection: a growing pool may give the new one to somebody else.
const ROUNDS: usize = 4;
