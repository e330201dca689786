//! The directories that run, each as long as somebody needs it.
//!
//! A reload keeps one that is configured as it was; in place of another it starts a new one, and the old one ends by itself when the last
//! operation lets go of it.

use super::StartError;
use crate::book::Book;
use crate::config::lineage::Digest;
use crate::config::{Config, DirectoryConfig, DirectoryKind, Limits};
use crate::directory::{Directory, Rotation};
use crate::ldap::dn::Dn;
use crate::lifecycle::{EndOnDrop, Ending, lifecycle};
use crate::metrics::Metrics;
use crate::telemetry::broke_off;
use crate::upstream::Upstream;
use aws_lc_rs::digest::{SHA256, digest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::info;

/// The directories of one configuration, in its order.
#[derive(Debug, Default)]
pub(super) struct Residents {
    all: Vec<Resident>,
}

/// One directory that runs.
#[derive(Debug, Clone)]
struct Resident {
    settings: Settings,
    directory: Arc<dyn Directory>,
    /// By which the metrics tell it apart.
    number: usize,
    /// Of its connections; `None`: it has none.
    ending: Option<Arc<Ending>>,
}

/// All that a running directory is made from.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    config: DirectoryConfig,
    upstream_message: usize,
    write_stall: Duration,
    /// Of the phonebook, or of the controllers' CAs.
    file: Digest,
}

impl Residents {
    /// Of the first configuration. `given` stand in for the first ones of it: for tests.
    ///
    /// # Errors
    /// When one cannot be prepared.
    pub(super) async fn start(config: &Config, given: Vec<Arc<dyn Directory>>, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        let mut all = Vec::with_capacity(config.directories.len());
        let mut given = given.into_iter();
        for (number, directory) in config.directories.iter().enumerate() {
            let (settings, octets) = read(directory, &config.limits).await?;
            all.push(match given.next() {
                Some(directory) => Resident { settings, directory, number, ending: None },
                None => Resident::start(settings, octets, number, &config.limits, metrics).await?,
            });
        }
        Ok(Self { all })
    }

    /// Of the next configuration: those that are configured as they were, and new ones, which run already.
    ///
    /// # Errors
    /// When one cannot be prepared; then these go on alone.
    pub(super) async fn succeeded(&self, config: &Config, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        let mut successors = Self::default();
        for directory in &config.directories {
            match self.resident(directory, &config.limits, metrics).await {
                Ok(resident) => successors.all.push(resident),
                Err(error) => {
                    successors.retire(self, metrics);
                    return Err(error);
                }
            }
        }
        Ok(successors)
    }

    async fn resident(&self, directory: &DirectoryConfig, limits: &Limits, metrics: &Arc<Metrics>) -> Result<Resident, StartError> {
        let (settings, octets) = read(directory, limits).await?;
        if let Some(resident) = self.all.iter().find(|resident| resident.settings == settings) {
            return Ok(resident.clone());
        }
        let number = metrics.directory_opened(directory);
        let started = Resident::start(settings, octets, number, limits, metrics).await;
        let started = started.inspect_err(|_| metrics.directory_retired(number))?;
        self.all.iter().for_each(|before| started.rotates_as(before));
        Ok(started)
    }

    /// Tells the metrics of those that are not among `others`.
    pub(super) fn retire(&self, others: &Self, metrics: &Metrics) {
        let is_kept = |one: &&Resident| others.all.iter().any(|other| other.number == one.number);
        self.all.iter().filter(|resident| !is_kept(resident)).for_each(|resident| metrics.directory_retired(resident.number));
    }

    /// How many are not among `others`.
    pub(super) fn differ_from(&self, others: &Self) -> usize {
        self.all.iter().filter(|one| others.all.iter().all(|other| other.number != one.number)).count()
    }

    /// All of them.
    pub(super) fn directories(&self) -> Vec<Arc<dyn Directory>> {
        self.all.iter().map(|resident| Arc::clone(&resident.directory)).collect()
    }

    /// Their files' digests.
    pub(super) fn digests(&self) -> Vec<Digest> {
        self.all.iter().map(|resident| resident.settings.file).collect()
    }

    /// The ends of those that have connections.
    pub(super) fn endings(&self) -> impl Iterator<Item = &Arc<Ending>> {
        self.all.iter().filter_map(|resident| resident.ending.as_ref())
    }
}

impl Resident {
    /// Whom an administrator has taken out of rotation stays out.
    fn rotates_as(&self, before: &Self) {
        if self.settings.config.base_dn != before.settings.config.base_dn {
            return;
        }
        for controller in before.directory.controllers().into_iter().filter(|controller| controller.is_out) {
            // One that is not configured any more is no error.
            let _ = self.directory.rotate(&controller.server, Rotation::OutAtAnyRate);
        }
    }

    /// Makes a directory ready to answer. Controllers that are away are no reason that it is not.
    async fn start(
        settings: Settings,
        octets: Vec<u8>,
        number: usize,
        limits: &Limits,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let failed = |reason: String| StartError::Directory { name: settings.config.name.clone(), reason };
        match &settings.config.kind {
            DirectoryKind::Upstream(upstream) => {
                let (ending, running) = lifecycle();
                let ending = Arc::new(ending);
                let upstream = Upstream::new(number, upstream, limits, Arc::clone(metrics), running);
                let upstream = upstream.map_err(|error| failed(error.to_string()))?.ending_with(EndOnDrop(Arc::clone(&ending)));
                upstream.start();
                // With DNS dead it goes on without, and so does whoever is answered from memory.
                let _ = timeout(DNS, upstream.asked()).await;
                Ok(Self { settings, directory: Arc::new(upstream), number, ending: Some(ending) })
            }
            DirectoryKind::Embedded { ldif } => {
                let (file, base) = (ldif.clone(), settings.config.base_dn.clone());
                let book = spawn_blocking(move || book(&file, octets, &base)).await;
                let book = book.map_err(|error| failed(broke_off(&error).to_owned()))?.map_err(failed)?;
                info!(directory = settings.config.name, entries = book.entries(), "phonebook read");
                Ok(Self { settings, directory: Arc::new(book), number, ending: None })
            }
        }
    }
}

/// What a directory would be made from, and what its file holds.
async fn read(directory: &DirectoryConfig, limits: &Limits) -> Result<(Settings, Vec<u8>), StartError> {
    let octets = match file_of(directory) {
        None => Vec::new(),
        Some(file) => {
            let read = spawn_blocking(move || std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))).await;
            let read = read.unwrap_or_else(|error| Err(broke_off(&error).to_owned()));
            read.map_err(|reason| StartError::Directory { name: directory.name.clone(), reason })?
        }
    };
    let mut file = Digest::default();
    file.iter_mut().zip(digest(&SHA256, &octets).as_ref()).for_each(|(to, from)| *to = *from);
    let Limits { upstream_message, write_stall, .. } = *limits;
    Ok((Settings { config: directory.clone(), upstream_message, write_stall, file }, octets))
}

fn file_of(directory: &DirectoryConfig) -> Option<PathBuf> {
    match &directory.kind {
        DirectoryKind::Upstream(upstream) => upstream.ca.clone(),
        DirectoryKind::Embedded { ldif } => Some(ldif.clone()),
    }
}

fn book(file: &Path, octets: Vec<u8>, base: &Dn) -> Result<Book, String> {
    Book::from_ldif(octets, base).map_err(|errors| {
        let lines = errors.iter().map(|error| format!("{}: {error}", file.display()));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// A start waits so long for the names of the controllers, so that the first phones find them.
const DNS: Duration = Duration::from_secs(1);
