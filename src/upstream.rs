//! Domain controllers as a directory: connections to them, and the way of an operation over these.
//!
//! [`Upstream`] carries out what an access has allowed. Read on in this order:
//!
//! - [`answer`]: one search, compare or write, from its request to its last reply; [`attempt`] is one try of it at one controller;
//! - [`servers`] and [`server`]: which controllers there are; [`balance`]: which of them is asked; [`standing`]: is it up, and how busy;
//!   [`writes`]: which takes the writes; [`rotation`]: which an administrator has taken out; [`discovery`]: which DNS names;
//! - [`pool`], [`clients`] and [`binds`]: over which of its connections, by whose name;
//! - [`who`]: whose name has bound, and in which groups he is, found by the small searches of [`search`];
//! - [`connect`]: how a connection is made; [`connection`]: how many operations share one;
//! - [`examine`]: all of that once, for `redial check --online`.
//!
//! What holds always: a reply reaches the operation that asked and no other; an identity never runs another's operation; a bind or write
//! is sent at most once; nothing is sent in clear where TLS is configured; a controller's octets are checked before they are believed.

mod answer;
mod attempt;
mod balance;
mod binds;
mod clients;
mod connect;
mod connection;
mod discovery;
pub(crate) mod examine;
mod pool;
mod rotation;
mod search;
mod server;
mod servers;
mod standing;
mod who;
mod writes;

use self::answer::{Answer, REFERRED, RetryBudget, unwilling};
use self::binds::{BindError, Bound};
use self::clients::Clients;
use self::connect::Dns;
pub(crate) use self::connect::client_config;
pub use self::connect::{Dial, Names, Services, Srv, Stream, TrustError};
use self::connection::Settings;
use self::discovery::Discovery;
pub use self::discovery::MOST_SERVERS;
use self::pool::OPERATIONS_PER_CONNECTION;
use self::server::Common;
use self::servers::Servers;
use self::writes::Writes;
use crate::config;
use crate::directory::{Asked, Controller, Directory, DirectoryError, Done, Groups, NotMoved, Operation, Replies, Reply, Rotation};
use crate::ldap::ResultCode;
use crate::ldap::envelope::op;
use crate::ldap::response::write_result_op;
use crate::lifecycle::{EndOnDrop, Lifecycle};
use crate::metrics::{DirectoryMetrics, Metrics};
use crate::secret::Secret;
use futures_util::future::BoxFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, interval};

/// Equal controllers of one naming context.
#[derive(Debug)]
pub struct Upstream {
    inner: Arc<Inner>,
    /// DNS has been asked for the controllers.
    asked: Arc<Notify>,
    lifecycle: Lifecycle,
    /// Where it ends with its last user.
    _end: Option<EndOnDrop>,
}

/// What every operation of one directory needs.
#[derive(Debug)]
struct Inner {
    servers: Servers,
    clients: Arc<Clients>,
    writes: Arc<Writes>,
    retries: RetryBudget,
    page_size: u32,
    metrics: Arc<DirectoryMetrics>,
    /// Held by whoever takes a server out of rotation, or back.
    rotating: Mutex<()>,
}

impl Upstream {
    /// Prepares the way to the controllers of the directory with this index. Nothing is connected yet.
    ///
    /// # Errors
    /// When the CAs that sign the controllers' certificates cannot be read.
    pub fn new(
        index: usize,
        config: &config::Upstream,
        limits: &config::Limits,
        metrics: Arc<Metrics>,
        lifecycle: Lifecycle,
    ) -> Result<Self, TrustError> {
        Self::reached_by(None, index, config, limits, metrics, lifecycle)
    }

    /// The same over streams that `dial` opens; `None`: over TCP.
    ///
    /// # Errors
    /// As [`Upstream::new`].
    pub fn reached_by(
        dial: Option<Arc<dyn Dial>>,
        index: usize,
        config: &config::Upstream,
        limits: &config::Limits,
        metrics: Arc<Metrics>,
        lifecycle: Lifecycle,
    ) -> Result<Self, TrustError> {
        let tls = client_config(config.ca.as_deref())?;
        let settings = Settings::new(config, limits);
        let resolvers = config.discover.as_ref().map(|discover| discover.resolvers.clone()).unwrap_or_default();
        let common = Common {
            index,
            config: config.clone(),
            settings,
            tls,
            names: dial.as_ref().and_then(|dial| dial.names()).unwrap_or_else(|| Arc::new(Dns { resolvers })),
            dial,
            metrics: Arc::clone(&metrics),
            lifecycle: lifecycle.clone(),
        };
        let metrics = metrics.directory(index);
        let servers = Servers::new(common);
        servers.change(&config.servers);
        let clients = Arc::new(Clients::new(settings));
        let retries = RetryBudget::new(usize::from(config.connections).max(1) * OPERATIONS_PER_CONNECTION);
        let page_size = config.page_size.max(1);
        let inner = Inner { servers, clients, writes: Arc::default(), retries, page_size, metrics, rotating: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), asked: Arc::default(), lifecycle, _end: None })
    }

    /// The same, which begins that end when it is dropped.
    #[must_use]
    pub fn ending_with(self, end: EndOnDrop) -> Self {
        Self { _end: Some(end), ..self }
    }

    /// Starts to probe the controllers, and to ask DNS for them where they are not listed; the first probe of each also makes its first
    /// connection. Controllers that are away are no error. Call it once, within the runtime.
    pub fn start(&self) {
        for server in self.inner.servers.listed().iter() {
            tokio::spawn(Arc::clone(server).watch(self.lifecycle.clone()));
        }
        if let Some(discover) = &self.inner.servers.common().config.discover {
            let discovery = Discovery::new(discover.clone(), self.inner.servers.clone(), Arc::clone(&self.asked));
            tokio::spawn(discovery.run(self.lifecycle.clone()));
        }
        let clients = Arc::clone(&self.inner.clients);
        let lifecycle = self.lifecycle.clone();
        tokio::spawn(async move {
            let mut tick = interval(SWEEP);
            loop {
                tokio::select! {
                    biased;
                    () = lifecycle.ending() => return,
                    now = tick.tick() => clients.sweep(now),
                }
            }
        });
    }

    /// Resolves when DNS has been asked for the controllers for the first time, whatever came of it; at once where they are listed. One caller.
    pub async fn asked(&self) {
        if self.inner.servers.common().config.discover.is_some() {
            self.asked.notified().await;
        }
    }
}

impl Directory for Upstream {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        if !matches!(operation.request, Asked::Bind { .. } | Asked::Membership { .. }) {
            return Box::pin(async move { Answer::begin(Arc::clone(&self.inner), operation).await.map(Answer::into_replies) });
        }
        Box::pin(async move {
            let Bound { done, who } = match &operation.request {
                Asked::Bind { name, password, groups } => self.inner.bind(name, password, groups, operation.deadline).await?,
                Asked::Membership { of, groups } => self.inner.membership(of, groups, operation.deadline).await?,
                _ => return Err(DirectoryError::NotSupported),
            };
            let replies: Vec<Reply> = who.map(Reply::Who).into_iter().chain([Reply::Done(done)]).collect();
            Ok(Replies::Ready(replies.into_iter()))
        })
    }

    fn is_available(&self) -> bool {
        self.inner.servers.any_is_up()
    }

    fn answers_behind(&self) -> u64 {
        self.inner.writes.answers_behind()
    }

    fn controllers(&self) -> Vec<Controller> {
        self.seen()
    }

    fn rotate(&self, server: &str, rotation: Rotation) -> Result<(), NotMoved> {
        self.move_to(server, rotation)
    }
}

impl Inner {
    /// One bind for one client's bind. Another server is asked only while nothing has left. After a write it goes where that went: it may
    /// have changed the password.
    async fn bind(&self, name: &str, password: &Secret, groups: &Groups, deadline: Instant) -> Result<Bound, DirectoryError> {
        let mut tried = Vec::new();
        let mut last_error = DirectoryError::Unavailable;
        while let Some(server) = self.servers.choose_proven(self.writes.reads_from(), &tried) {
            match server.binds.check(name, password, groups, deadline).await {
                Ok(bound) if bound.done.code == ResultCode::REFERRAL => {
                    return Ok(Bound { done: unwilling(op::BIND_REQUEST, REFERRED), who: None });
                }
                Ok(bound) => {
                    if bound.done.code == ResultCode::SUCCESS {
                        self.clients.proved(name, password);
                    }
                    return Ok(bound);
                }
                Err(BindError::Sent(error)) => return Err(error),
                Err(BindError::NotSent(error @ (DirectoryError::TimedOut | DirectoryError::Busy))) => return Err(error),
                Err(BindError::NotSent(error)) => last_error = error,
            }
            tried.push(server.standing.server());
        }
        Err(last_error)
    }

    /// In which groups somebody is; another server is asked where one does not answer.
    async fn membership(&self, of: &str, groups: &Groups, deadline: Instant) -> Result<Bound, DirectoryError> {
        let mut tried = Vec::new();
        let mut last_error = DirectoryError::Unavailable;
        while let Some(server) = self.servers.choose(self.writes.reads_from(), &tried) {
            match server.people.again(of, groups, deadline).await {
                Ok(who) => {
                    let code = if who.is_some() { ResultCode::SUCCESS } else { ResultCode::NO_SUCH_OBJECT };
                    let mut done = Vec::new();
                    write_result_op(&mut done, op::SEARCH_RESULT_DONE, code, "", "");
                    return Ok(Bound { done: Done { code, op: done.into(), controls: None }, who });
                }
                Err(error) if error.is_retryable() => last_error = error,
                Err(error) => return Err(error),
            }
            tried.push(server.standing.server());
        }
        Err(last_error)
    }
}

/// How often clients' connections are looked through.
const SWEEP: Duration = Duration::from_secs(10);
