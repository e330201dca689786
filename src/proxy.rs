//! The whole proxy, put together: a configuration in, a running [`Proxy`] out. `redial serve`, the demo and the tests start it here.
//!
//! It is built from the bottom up: metrics, directories, the pipeline, then the addresses, all of which are bound before anything is served;
//! so whatever a phone meets stands already, and what cannot be had is an error here and not a log line later. It ends from
//! the top down: listeners and phones first, the connections to controllers after the last operation.

use crate::admin::{Admin, Sources};
use crate::audit::Audit;
use crate::book::Book;
use crate::config::{AuditFile, Config, DirectoryConfig, DirectoryKind};
use crate::directory::Directory;
use crate::downstream::{ListenError, Listener};
use crate::lifecycle::{Ending, Lifecycle, lifecycle};
use crate::metrics::Metrics;
use crate::pipeline::{Current, Pipeline};
use crate::upstream::Upstream;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{info, warn};

/// A proxy that runs. Dropped without [`Proxy::stop`], it ends at once.
#[derive(Debug)]
pub struct Proxy {
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    /// Of listeners and phones.
    ending: Arc<Ending>,
    /// Of the connections to controllers.
    upstream_ending: Ending,
    /// The listeners and the admin address, by name. None of them ends by itself.
    tasks: JoinSet<String>,
    drain: Duration,
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
        let metrics = Arc::new(Metrics::new(&config));
        let (upstream_ending, running) = lifecycle();
        let mut directories = Vec::with_capacity(config.directories.len());
        for (index, directory) in config.directories.iter().enumerate() {
            directories.push(start_directory(index, directory, &config, &metrics, &running).await?);
        }
        Self::start_before(directories, config, metrics, upstream_ending).await
    }

    /// The same before these directories, which answer for the configured ones in their order: for tests.
    ///
    /// # Errors
    /// As [`StartError`] says.
    pub async fn start_with(config: Config, directories: Vec<Arc<dyn Directory>>) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(&config));
        Self::start_before(directories, config, metrics, lifecycle().0).await
    }

    async fn start_before(
        directories: Vec<Arc<dyn Directory>>,
        config: Config,
        metrics: Arc<Metrics>,
        upstream_ending: Ending,
    ) -> Result<Self, StartError> {
        let (ending, running) = lifecycle();
        let ending = Arc::new(ending);
        let audit = Arc::new(open_audit(&config, &metrics)?);
        let pipeline = Pipeline::new(&config, directories.clone(), Arc::clone(&metrics)).with_audit(Arc::clone(&audit));
        let pipeline = Arc::new(Current::new(Arc::new(pipeline)));
        let names = config.directories.iter().map(|directory| directory.name.clone());
        let sources = Sources {
            metrics: Arc::clone(&metrics),
            measure: cache_gauges(Arc::clone(&pipeline)),
            directories: names.zip(directories).collect(),
            ending: Arc::clone(&ending),
        };

        let mut listeners = Vec::with_capacity(config.listeners.len());
        for (index, listener) in config.listeners.iter().enumerate() {
            listeners.push(Listener::bind(index, listener, &config.limits)?);
        }
        let addresses = listeners.iter().map(Listener::local_addr).collect::<io::Result<Vec<_>>>().map_err(StartError::Lost)?;
        let admin = match config.admin {
            Some(address) => Some(Admin::bind(address, sources).await.map_err(|source| StartError::Admin { address, source })?),
            None => None,
        };
        let admin_address = admin.as_ref().map(Admin::local_addr).transpose().map_err(StartError::Lost)?;

        let mut tasks = JoinSet::new();
        for (listener, address) in listeners.into_iter().zip(&addresses) {
            let accepting = listener.run(Arc::clone(&pipeline), Arc::clone(&metrics), running.clone());
            tasks.spawn(named(format!("the listener on {address}"), accepting));
        }
        if let Some(admin) = admin {
            tasks.spawn(named("the admin address".to_owned(), admin.run()));
        }
        Ok(Self { addresses, admin_address, metrics, audit, ending, upstream_ending, tasks, drain: config.limits.drain })
    }

    /// Where phones connect, in the configuration's order, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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
        match self.tasks.join_next().await {
            Some(Ok(name)) => format!("{name} has ended by itself"),
            Some(Err(error)) => format!("a task of the proxy has died: {error}"),
            None => "nothing is left to serve".to_owned(),
        }
    }

    /// Stops accepting, tells idle phones, and waits for operations in flight, but no longer than `limits.drain`.
    pub async fn stop(mut self) {
        self.ending.begin();
        if timeout(self.drain, self.ending.all_gone()).await.is_err() {
            warn!(drain = ?self.drain, "operations were still in flight when the time for draining was over");
        }
        // The admin address looks at the directories: it goes first.
        self.tasks.shutdown().await;
        self.upstream_ending.begin();
        // Controllers are told by an Unbind; nobody waits long for that.
        let _ = timeout(UNBIND, self.upstream_ending.all_gone()).await;
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

/// Makes the directory with this index ready to answer.
async fn start_directory(
    index: usize,
    directory: &DirectoryConfig,
    config: &Config,
    metrics: &Arc<Metrics>,
    running: &Lifecycle,
) -> Result<Arc<dyn Directory>, StartError> {
    let failed = |reason: &dyn Display| StartError::Directory { name: directory.name.clone(), reason: reason.to_string() };
    match &directory.kind {
        DirectoryKind::Upstream(upstream) => {
            let upstream =
                Upstream::new(index, upstream, &config.limits, Arc::clone(metrics), running.clone()).map_err(|error| failed(&error))?;
            upstream.start();
            Ok(Arc::new(upstream))
        }
        DirectoryKind::Embedded { ldif } => {
            let (file, base) = (ldif.clone(), directory.base_dn.clone());
            let read = spawn_blocking(move || read_book(&file, &base)).await;
            let book = read.map_err(|error| failed(&error))?.map_err(|reason| failed(&reason))?;
            info!(directory = directory.name, entries = book.entries(), "phonebook read");
            Ok(Arc::new(book))
        }
    }
}

fn read_book(file: &std::path::Path, base: &crate::ldap::dn::Dn) -> Result<Book, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Book::from_ldif(text, base).map_err(|errors| {
        let lines = errors.iter().map(|error| format!("{}: {error}", file.display()));
        lines.collect::<Vec<_>>().join("\n")
    })
}

fn cache_gauges(pipeline: Arc<Current>) -> Box<dyn Fn(&Metrics) + Send + Sync> {
    Box::new(move |metrics| {
        let pipeline = pipeline.load();
        let (entries, octets) = pipeline.cache_holds();
        metrics.cache_holds(entries, octets);
        metrics.lockout_guarded(pipeline.guarded_principals());
    })
}

async fn named(name: String, task: impl Future<Output = ()>) -> String {
    task.await;
    name
}

/// For the last lines of the audit log.
const LAST_LINES: Duration = Duration::from_secs(5);

/// For the last words to the controllers.
const UNBIND: Duration = Duration::from_millis(500);
