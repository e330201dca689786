//! One controller with all that leads to it.

use super::binds::Binds;
use super::connect::{Connector, Dial, Names};
use super::connection::Settings;
use super::pool::{Found, Pool, look};
use super::standing::{Health, Silence, Standing};
use super::who::People;
use crate::config;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// One controller.
#[derive(Debug)]
pub(crate) struct Server {
    /// What is known of it.
    pub(crate) standing: Arc<Standing>,
    /// Makes connections to it.
    pub(crate) connector: Arc<Connector>,
    /// Its connections for searches under the service account.
    pub(crate) pool: Arc<Pool>,
    /// Its connections for binds.
    pub(crate) binds: Binds,
    /// Who its users are.
    pub(crate) people: Arc<People>,
    /// Looks whether it is still there.
    pub(crate) silence: Arc<Silence>,
}

/// What the controllers of one directory have in common.
#[derive(Debug)]
pub(crate) struct Common {
    /// The directory's number.
    pub(crate) index: usize,
    /// How it is configured.
    pub(crate) config: config::Upstream,
    /// How connections behave.
    pub(crate) settings: Settings,
    /// Whom to trust.
    pub(crate) tls: Arc<ClientConfig>,
    /// Who knows their names.
    pub(crate) names: Arc<dyn Names>,
    /// How servers are reached; `None`: over TCP.
    pub(crate) dial: Option<Arc<dyn Dial>>,
    /// Who counts.
    pub(crate) metrics: Arc<Metrics>,
    /// Told to every connection.
    pub(crate) lifecycle: Lifecycle,
}

impl Server {
    /// One of the directory's controllers, by this number from now on. Nothing is connected yet.
    pub(crate) fn new(common: &Common, number: usize, server: &config::Server, health: Health) -> Self {
        let Common { config, settings, .. } = common;
        let metrics = common.metrics.server_opened(common.index, &server.url);
        let standing = Arc::new(Standing::new(number, server, Arc::clone(&metrics), health));
        let connector = Arc::new(Connector {
            server: server.clone(),
            tls: Arc::clone(&common.tls),
            names: Arc::clone(&common.names),
            timeout: config.connect_timeout,
            lifecycle: common.lifecycle.clone(),
            dial: common.dial.clone(),
            metrics: Some(metrics),
        });
        let limit = usize::from(config.connections).max(1);
        let pool = Arc::new(Pool::new(Arc::clone(&connector), Arc::clone(&standing), config.service.clone(), *settings, limit));
        let people = Arc::new(People::new(Arc::clone(&standing), Arc::clone(&pool), config.service.is_some()));
        let bind_settings = Settings { idle: config.idle.min(BIND_IDLE), ..*settings };
        let binds = Binds::new(Arc::clone(&connector), Arc::clone(&standing), Arc::clone(&people), bind_settings);
        let silence = Arc::new(Silence::new(Arc::clone(&connector), Arc::clone(&standing), config.service.clone(), *settings));
        Self { standing, connector, pool, binds, people, silence }
    }

    /// Probes the server until the end, or until it is no longer one of its directory's: at once, then at the times that its health asks for. Keeps
    /// a connection warm by it. A probe that waits while something else brings the server down, or back, is over: what it would tell is of before.
    pub(crate) async fn watch(self: Arc<Self>, lifecycle: Lifecycle) {
        loop {
            tokio::select! {
                biased;
                () = lifecycle.ending() => return,
                () = self.standing.left.notified() => return,
                () = self.standing.changed.notified() => {}
                () = self.probe_when_due() => {}
            }
        }
    }

    async fn probe_when_due(&self) {
        sleep_until(self.standing.next_probe()).await;
        self.probe().await;
    }

    async fn probe(&self) {
        let Some(connection) = self.pool.open_connection() else {
            return self.pool.warm_up().await;
        };
        let asked_at = Instant::now();
        match look(&connection, asked_at + self.connector.timeout).await {
            Found::Alive(capabilities) => self.standing.probe_succeeded(capabilities),
            // That says nothing of the server, but a new connection does.
            Found::Taken if self.silence.is_there(Instant::now()).await => self.standing.probe_succeeded(self.standing.capabilities()),
            Found::Taken => self.standing.probe_failed(asked_at, &"a large answer takes all of its connection, and no other is made"),
            Found::Dead(error) => {
                // What stands may be as dead as this one was: the next probe begins with a connect.
                self.pool.let_all_go();
                self.standing.probe_failed(asked_at, &error);
            }
        }
    }
}

/// A bind connection that nobody needed for so long is closed: a controller that closes it first costs a client its bind.
const BIND_IDLE: Duration = Duration::from_secs(60);
