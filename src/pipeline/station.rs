//! A directory as the pipeline sees it: who answers, and what the configuration says of how it is asked.

use super::last_word;
use crate::config::lineage::Lineage;
use crate::config::{Config, DirectoryConfig, DirectoryKind, Group, SearchAs};
use crate::directory::{Directory, DirectoryError, Done, Groups, Operation};
use std::sync::Arc;
use std::time::Duration;

/// One directory, and what the configuration says of it.
#[derive(Debug)]
pub(super) struct Station {
    /// See [`Lineage`]: what outlives this pipeline knows the directory by it.
    pub(super) number: usize,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) config: DirectoryConfig,
    pub(super) search_as: SearchAs,
    pub(super) forwards_writes: bool,
    pub(super) patience: Duration,
    /// Those of its groups that accesses name.
    pub(super) groups: Arc<Groups>,
}

impl Station {
    pub(super) fn new(number: usize, config: &DirectoryConfig, groups: Vec<Group>, directory: Arc<dyn Directory>) -> Self {
        let (search_as, forwards_writes, patience) = match &config.kind {
            DirectoryKind::Upstream(upstream) => (upstream.search_as, upstream.forward_writes, upstream.operation_timeout),
            DirectoryKind::Embedded { .. } => (SearchAs::Service, false, EMBEDDED_PATIENCE),
        };
        let groups = Arc::new(Groups { base: config.base.clone(), groups });
        Self { number, directory, config: config.clone(), search_as, forwards_writes, patience, groups }
    }

    /// Who has proved a password before one of them is who would prove it before the other.
    pub(super) fn proves_as((one, other): (&Self, &Self)) -> bool {
        let how = |station: &Self| (station.number, station.search_as, station.forwards_writes);
        how(one) == how(other)
    }

    /// Runs an operation that has one response.
    pub(super) async fn last_word(&self, operation: Operation) -> Result<Done, DirectoryError> {
        last_word(&*self.directory, operation).await
    }

    /// Controllers stand behind it.
    pub(super) const fn is_upstream(&self) -> bool {
        matches!(self.config.kind, DirectoryKind::Upstream(_))
    }
}

/// All of a configuration, in its order.
pub(super) fn stations(config: &Config, lineage: &Lineage, directories: Vec<Arc<dyn Directory>>) -> Vec<Station> {
    let places = config.directories.iter().zip(directories).enumerate();
    let station = |(place, (directory, answers)): (usize, (&DirectoryConfig, Arc<dyn Directory>))| {
        Some(Station::new(lineage.directory(place)?, directory, config.groups_of(directory), answers))
    };
    places.filter_map(station).collect()
}

/// A phonebook in memory answers in microseconds; this bounds a bug.
const EMBEDDED_PATIENCE: Duration = Duration::from_secs(10);
