//! The whole proxy, put together: a configuration in, a running [`Proxy`] out. `redial serve`, the demo and the tests start it here.
//!
//! It is built from the bottom up: metrics, directories, the pipeline, then the addresses, all of which are bound before anything is served;
//! so whatever a phone meets stands already, and what cannot be had is an error here and not a log line later. It ends from
//! the top down: listeners and phones first, the connections to controllers after the last operation. In between, `reload` puts another
//! configuration in force.

mod descriptors;
mod doors;
mod expiry;
mod keeper;
mod reload;
mod residents;

use crate::admin::{Admin, Named, Sources, Token};
use crate::audit::Audit;
use crate::config::{AuditFile, Config};
use crate::directory::Directory;
use crate::downstream::ListenError;
use crate::lifecycle::{Ending, lifecycle};
use crate::metrics::Metrics;
use crate::pipeline::{Current, Pipeline};
use crate::pressure;
use crate::secret::Secret;
use crate::telemetry::broke_off;
use doors::{Doors, Opening};
use futures_util::future::join_all;
use keeper::Keeper;
use residents::Residents;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

/// A proxy that runs. Dropped without [`Proxy::stop`], it ends at once.
#[derive(Debug)]
pub struct Proxy {
    /// The one in force.
    config: Config,
    doors: Doors,
    residents: Residents,
    pipeline: Arc<Current>,
    keeper: Keeper,
    admin_address: Option<SocketAddr>,
    admin_token: Arc<Token>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    /// Of listeners and phones.
    ending: Arc<Ending>,
    /// Of the connections to controllers that a reload has taken out of the configuration.
    retired: Vec<Arc<Ending>>,
    /// The listeners and the admin address, by name. None of them ends by itself.
    tasks: JoinSet<String>,
}

/// Why a proxy does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener cannot be had.
    #[error(transparent)]
    Listener(#[from] ListenError),
    /// The admin address is taken, not this machine's, or not permitted.
    #[error("cannot listen on {address}: {source}")]
    Admin {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The audit log cannot be written.
    #[error("audit.file {file}: {source}")]
    Audit {
        /// As configured.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// The cache cannot be kept there.
    #[error("cache.keep {file}: {source}")]
    Keep {
        /// As configured.
        file: String,
        /// What is wrong.
        source: io::Error,
    },
    /// A directory cannot be prepared. Controllers that are away are no reason.
    #[error("directory.{name}: {reason}")]
    Directory {
        /// Its name in the configuration.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The system does not tell which port it chose.
    #[error("a listener was lost: {0}")]
    Lost(io::Error),
}

impl StartError {
    /// The address that somebody else has taken.
    pub fn taken_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Listener(ListenError::Bind { address, source }) | Self::Admin { address, source }
                if source.kind() == io::ErrorKind::AddrInUse =>
            {
                Some(*address)
            }
            _ => None,
        }
    }
}

impl Proxy {
    /// Starts everything that is configured. A port 0 is chosen by the system; see [`Proxy::addresses`].
    ///
    /// # Errors
    /// As [`StartError`] says; then nothing runs.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_on(config, Vec::new()).await
    }

    /// The same on sockets that somebody else has opened: each listener takes the one with its address, and opens its own where there is none.
    ///
    /// # Errors
    /// As [`StartError`] says; then nothing runs.
    pub async fn start_on(config: Config, sockets: Vec<TcpListener>) -> Result<Self, StartError> {
        Self::begin(config, sockets, Vec::new()).await
    }

    /// The same before these directories, which answer for the first configured ones: for tests.
    ///
    /// # Errors
    /// As [`StartError`] says.
    pub async fn start_with(config: Config, directories: Vec<Arc<dyn Directory>>) -> Result<Self, StartError> {
        Self::begin(config, Vec::new(), directories).await
    }

    async fn begin(mut config: Config, sockets: Vec<TcpListener>, directories: Vec<Arc<dyn Directory>>) -> Result<Self, StartError> {
        descriptors::fit(&mut config);
        keeper::examine(&config).await?;
        let metrics = Arc::new(Metrics::new(&config));
        metrics.configured();
        let residents = Residents::start(&config, directories, &metrics).await?;
        let ending = Arc::new(lifecycle().0);
        let audit = Arc::new(open_audit(&config, &metrics)?);
        let pipeline = Pipeline::new(&config, residents.directories(), Arc::clone(&metrics)).with_audit(Arc::clone(&audit));
        let pipeline = Arc::new(pipeline);
        keeper::recall(&pipeline).await;
        let pipeline = Arc::new(Current::new(pipeline));
        let admin_token = Arc::new(Token::new(admin_token_of(&config)));
        let sources = Sources {
            metrics: Arc::clone(&metrics),
            measure: gauges(Arc::clone(&pipeline)),
            keeps: kept_answers(Arc::clone(&pipeline)),
            directories: named_directories(Arc::clone(&pipeline)),
            ending: Arc::clone(&ending),
            pipeline: Arc::clone(&pipeline),
            token: Arc::clone(&admin_token),
        };

        let doors = Doors::new(sockets);
        let prepared = doors.prepare(&config.listeners, &config.limits)?;
        let admin = match config.admin.as_ref().map(|admin| admin.address) {
            Some(address) => Some(Admin::bind(address, sources).await.map_err(|source| StartError::Admin { address, source })?),
            None => None,
        };
        let admin_address = admin.as_ref().map(Admin::local_addr).transpose().map_err(StartError::Lost)?;

        let mut proxy = Self {
            config,
            doors,
            residents,
            pipeline,
            keeper: Keeper::default(),
            admin_address,
            admin_token,
            metrics,
            audit,
            ending,
            retired: Vec::new(),
            tasks: JoinSet::new(),
        };
        let opening =
            Opening { pipeline: &proxy.pipeline, metrics: &proxy.metrics, lifecycle: proxy.ending.lifecycle(), tasks: &mut proxy.tasks };
        proxy.doors.change(prepared, opening);
        proxy.look_after();
        if let Some(admin) = admin {
            proxy.tasks.spawn(named("the admin address".to_owned(), admin.run()));
        }
        Ok(proxy)
    }

    /// Starts what looks after the rest for as long as the proxy runs.
    fn look_after(&mut self) {
        let Self { config, pipeline, metrics, keeper, tasks, .. } = self;
        let register = Arc::clone(pipeline.load().register());
        tasks.spawn(named("the watch over bound sessions".to_owned(), async move { register.watch().await }));
        expiry::note(config, metrics);
        tasks.spawn(named("the watch over certificates".to_owned(), expiry::watch(Arc::clone(metrics))));
        let most = config.limits.memory.unwrap_or_else(pressure::available);
        let (pressure, relieved) = (Arc::clone(pipeline.load().pressure()), Arc::clone(pipeline));
        let watch = pressure.watch(most, Arc::clone(metrics), move || relieved.load().relieve());
        tasks.spawn(named("the watch over the memory".to_owned(), watch));
        tasks.spawn(named("the cache's keeper".to_owned(), keeper.clone().keep_now_and_then(Arc::clone(pipeline))));
    }

    /// Where phones connect, in the configuration's order, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.addresses()
    }

    /// Where metrics and health are, if anywhere.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Its metrics.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Opens the audit log's file anew, after it was renamed. That it cannot be opened is a warning; the old one is written on then.
    pub async fn reopen_audit(&self) {
        match self.audit.reopen().await {
            Ok(()) => info!("the audit log's file is open anew"),
            Err(error) => warn!(%error, "the audit log's file cannot be opened anew: the old one is written on"),
        }
    }

    /// Resolves when a part that should run until the end has ended, with what to say about it. Cancel safe.
    pub async fn died(&mut self) -> String {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(name)) => return format!("{name} has ended by itself"),
                // A listener that a reload has closed.
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => return format!("a task of the proxy has died: {}", broke_off(&error)),
                None => return "nothing is left to serve".to_owned(),
            }
        }
    }

    /// Stops accepting, tells idle phones, and waits for operations in flight, but no longer than `limits.drain`.
    pub async fn stop(mut self) {
        self.ending.begin();
        // Their sockets close now: whoever comes is refused, and finds another Redial, instead of waiting for nobody.
        self.doors = Doors::new(Vec::new());
        let drain = self.config.limits.drain;
        if timeout(drain, self.ending.all_gone()).await.is_err() {
            warn!(?drain, "operations were still in flight when the time for draining was over");
        }
        // The admin address looks at the directories: it goes first.
        self.tasks.shutdown().await;
        self.keeper.keep(&self.pipeline).await;
        // Controllers are told by an Unbind; nobody waits long for that.
        let endings: Vec<_> = self.residents.endings().chain(&self.retired).collect();
        endings.iter().for_each(|ending| ending.begin());
        let _ = timeout(UNBIND, join_all(endings.iter().map(|ending| ending.all_gone()))).await;
        if timeout(LAST_LINES, self.audit.end()).await.is_err() {
            warn!("the audit log takes no lines: the last ones are lost");
        }
    }
}

fn open_audit(config: &Config, metrics: &Arc<Metrics>) -> Result<Audit, StartError> {
    let Some(audit) = &config.audit else { return Ok(Audit::off(Arc::clone(metrics))) };
    let listeners = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    Audit::open(audit, listeners, Arc::clone(metrics)).map_err(|source| {
        let file = match &audit.file {
            AuditFile::StandardOutput => "-".to_owned(),
            AuditFile::Path(path) => path.display().to_string(),
        };
        StartError::Audit { file, source }
    })
}

fn admin_token_of(config: &Config) -> Option<Arc<Secret>> {
    config.admin.as_ref()?.token.clone().map(Arc::new)
}

fn gauges(pipeline: Arc<Current>) -> Box<dyn Fn(&Metrics) + Send + Sync> {
    Box::new(move |metrics| pipeline.load().measure(metrics))
}

fn kept_answers(pipeline: Arc<Current>) -> Box<dyn Fn() -> u64 + Send + Sync> {
    Box::new(move || pipeline.load().cache_holds().0)
}

/// By name, those of the pipeline in force.
fn named_directories(pipeline: Arc<Current>) -> Box<dyn Fn() -> Named + Send + Sync> {
    Box::new(move || pipeline.load().directories().map(|(name, directory)| (name.to_owned(), Arc::clone(directory))).collect())
}

async fn named(name: String, task: impl Future<Output = ()>) -> String {
    task.await;
    name
}

/// For the last lines of the audit log.
const LAST_LINES: Duration = Duration::from_secs(5);

/// For the last words to the controllers.
const UNBIND: Duration = Duration::from_millis(500);
