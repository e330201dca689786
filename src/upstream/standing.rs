//! What Redial knows of one controller, shared by all that speak to it: health, capabilities, how busy it is. Logs when it comes and goes.

mod capabilities;
mod health;
mod silence;

pub(crate) use self::capabilities::Capabilities;
use self::health::Change;
pub(crate) use self::health::{Failure, Health};
pub(crate) use self::silence::{SILENCE, Silence};
use super::attempt::is_overloaded;
use super::balance::{Call, Load, Rank};
use super::connection::Connection;
use crate::config;
use crate::directory::Controller;
use crate::ldap::ResultCode;
use crate::metrics::ServerMetrics;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// One controller's standing.
#[derive(Debug)]
pub(crate) struct Standing {
    /// By which its directory tells it apart.
    number: usize,
    url: String,
    rank: Mutex<Rank>,
    metrics: Arc<ServerMetrics>,
    state: Mutex<(Health, Option<Capabilities>)>,
    outstanding: AtomicUsize,
    connections: AtomicUsize,
    /// In microseconds; 0: it has answered nothing yet.
    latency: AtomicU64,
    /// An administrator has taken it out of rotation.
    is_out: AtomicBool,
    /// The time of the next probe has changed.
    pub(crate) changed: Notify,
    /// It is probed no more.
    pub(crate) left: Notify,
}

impl Standing {
    /// Nothing is known yet.
    pub(crate) fn new(number: usize, server: &config::Server, metrics: Arc<ServerMetrics>, health: Health) -> Self {
        Self {
            number,
            url: server.url.clone(),
            rank: Mutex::new(rank(server)),
            metrics,
            state: Mutex::new((health, None)),
            outstanding: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            latency: AtomicU64::new(0),
            is_out: AtomicBool::new(false),
            changed: Notify::new(),
            left: Notify::new(),
        }
    }

    /// The server's number, which its directory gives to no other.
    pub(crate) const fn server(&self) -> usize {
        self.number
    }

    /// It stands elsewhere among the others now.
    pub(crate) fn ranked(&self, server: &config::Server) {
        *self.rank.lock().unwrap_or_else(PoisonError::into_inner) = rank(server);
    }

    /// It is no longer one of its directory's.
    pub(crate) fn left(&self) {
        self.metrics.retire();
        self.left.notify_one();
    }

    /// For the choice between servers.
    pub(crate) fn load(&self) -> Load {
        let (call, share) = self.with_state(|health, _| (health.call(), health.share(Instant::now())));
        Load {
            call: if self.is_out() { Call::Out } else { call },
            rank: *self.rank.lock().unwrap_or_else(PoisonError::into_inner),
            share,
            outstanding: self.outstanding.load(Ordering::Relaxed),
        }
    }

    /// An administrator has taken it out of rotation.
    pub(crate) fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Relaxed)
    }

    /// It is out from now on, or back; says whether it was out before.
    pub(crate) fn rotate(&self, out: bool) -> bool {
        self.metrics.out_of_rotation(out);
        self.is_out.swap(out, Ordering::Relaxed)
    }

    /// As an administrator sees it.
    pub(crate) fn seen(&self) -> Controller {
        let now = Instant::now();
        let (state, last_answer) = self.with_state(|health, _| (health.in_a_word(now), health.last_answer()));
        Controller {
            server: self.url.clone(),
            state,
            is_out: self.is_out(),
            in_flight: self.outstanding.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            latency: Some(self.latency.load(Ordering::Relaxed)).filter(|latency| *latency > 0).map(Duration::from_micros),
            silent_for: last_answer.map(|last_answer| now.saturating_duration_since(last_answer)),
        }
    }

    /// An operation took so long. What came before counts for seven eighths; two that end at once may count as one.
    fn took(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.latency.load(Ordering::Relaxed);
        let after = if before == 0 { took } else { before - before / 8 + took / 8 };
        self.latency.store(after.max(1), Ordering::Relaxed);
    }

    /// May that connection to it be used? It stands, and was made since the server was last lost.
    pub(crate) fn trusts(&self, connection: &Connection) -> bool {
        connection.is_open() && !self.with_state(|health, _| health.was_lost_since(connection.made_at()))
    }

    /// It has answered, and not failed since.
    pub(crate) fn is_up(&self) -> bool {
        self.with_state(|health, _| health.is_up())
    }

    /// When it is to be probed next.
    pub(crate) fn next_probe(&self) -> Instant {
        self.with_state(|health, _| health.next_probe())
    }

    /// What it announced when it was last asked; nothing where nobody has asked yet.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.announced().unwrap_or_default()
    }

    /// The same; `None` where nobody has asked yet.
    pub(crate) fn announced(&self) -> Option<Capabilities> {
        self.with_state(|_, capabilities| *capabilities)
    }

    /// It has told what it can do.
    pub(crate) fn probe_succeeded(&self, found: Capabilities) {
        let change = self.with_state(|health, capabilities| {
            *capabilities = Some(found);
            health.probe_succeeded(Instant::now())
        });
        self.announce(change, &"it answers");
    }

    /// It could not be reached, or did not answer a probe, since then.
    pub(crate) fn probe_failed(&self, asked_at: Instant, why: &dyn std::fmt::Display) {
        debug!(server = self.url, %why, "probe failed");
        let change = self.with_state(|health, _| health.probe_failed(asked_at, fastrand::f64(), Instant::now()));
        self.announce(change, why);
    }

    /// An operation that began then failed, by the server's fault.
    pub(crate) fn operation_failed(&self, how: Failure, sent_at: Instant, why: &dyn std::fmt::Display) {
        debug!(server = self.url, %why, "operation failed");
        let change = self.with_state(|health, _| health.operation_failed(how, sent_at, fastrand::f64(), Instant::now()));
        self.announce(change, why);
    }

    /// When it last answered an operation or a probe.
    pub(crate) fn last_answer(&self) -> Option<Instant> {
        self.with_state(|health, _| health.last_answer())
    }

    /// An operation was answered.
    pub(crate) fn answered(&self) {
        self.with_state(|health, _| health.answered(Instant::now()));
    }

    /// An operation is sent; what is returned counts it until it is dropped.
    pub(crate) fn sent(self: &Arc<Self>) -> Sent {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        self.metrics.sent();
        Sent { standing: Arc::clone(self), at: Instant::now(), answered: false }
    }

    /// A connection is made; what is returned counts it until it is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> Counted {
        let count = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.metrics.connections(count);
        Counted(Arc::clone(self))
    }

    fn announce(&self, change: Option<Change>, why: &dyn std::fmt::Display) {
        let Some(change) = change else { return };
        match change {
            Change::CameUp => info!(server = self.url, "controller is up"),
            Change::WentDown => warn!(server = self.url, %why, "controller is down"),
        }
        self.metrics.up(change == Change::CameUp);
        self.changed.notify_one();
    }

    fn with_state<T>(&self, look: impl FnOnce(&mut Health, &mut Option<Capabilities>) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (health, capabilities) = &mut *state;
        look(health, capabilities)
    }
}

const fn rank(server: &config::Server) -> Rank {
    Rank { priority: server.priority, weight: server.weight }
}

/// One operation at a server.
#[derive(Debug)]
pub(crate) struct Sent {
    standing: Arc<Standing>,
    at: Instant,
    answered: bool,
}

impl Sent {
    /// It was lost, by the server's fault.
    pub(crate) fn failed(&self, how: Failure, why: &dyn std::fmt::Display) {
        self.standing.operation_failed(how, self.at, why);
    }

    /// The server gave a result; where that is a refusal for all to come, it is one of now.
    pub(crate) fn answered(&mut self, code: ResultCode) {
        self.answered = true;
        if is_overloaded(code) {
            self.standing.operation_failed(Failure::BrokeOff, Instant::now(), &code);
        } else {
            self.standing.answered();
        }
    }

    /// Where.
    pub(crate) const fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.standing.outstanding.fetch_sub(1, Ordering::Relaxed);
        let took = self.at.elapsed();
        if self.answered {
            self.standing.took(took);
        }
        self.standing.metrics.ended(self.answered, took);
    }
}

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Standing>);

impl Drop for Counted {
    fn drop(&mut self) {
        let count = self.0.connections.fetch_sub(1, Ordering::Relaxed) - 1;
        self.0.metrics.connections(count);
    }
}
