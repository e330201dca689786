//! A directory as the pipeline sees it: who answers, and what the configuration says of how it is asked.

use super::Client;
use super::controls::Refused;
use crate::config::lineage::Lineage;
use crate::config::{Config, DirectoryConfig, DirectoryKind, Group, SearchAs};
use crate::directory::{Directory, DirectoryError, Done, Groups, Operation, Reply, RunAs};
use crate::identity::bond::{Bond, Footing};
use crate::identity::{Principal, Who};
use crate::ldap::ResultCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;

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

    /// Under whose name it is searched for that client.
    pub(super) fn run_as(&self, client: &Client) -> Result<RunAs, Refused> {
        match self.search_as {
            SearchAs::Service => Ok(RunAs::Service),
            SearchAs::Client => client.runs_as(self.number).ok_or(BIND_FIRST),
        }
    }

    /// Operations run there under its clients' own names: all of them, or writes.
    pub(super) fn runs_as_clients(&self) -> bool {
        self.search_as == SearchAs::Client || self.forwards_writes
    }

    /// As bound sessions depend on it.
    pub(super) fn footing(&self) -> Footing {
        Footing { directory: self.number, runs_as_clients: self.runs_as_clients() }
    }

    /// How a session of that principal depends on it: operations run there under its name, or it says in which groups it is.
    pub(super) fn bond(&self, principal: &Principal) -> Bond {
        let has_credentials = principal.credentials.is_some();
        let is_needed = has_credentials || principal.who.is_some() && !self.groups.groups.is_empty();
        Bond { directory: self.number, is_needed, has_credentials }
    }

    /// See [`last_word`].
    pub(super) async fn last_word(&self, operation: Operation) -> Result<(Done, Option<Arc<Who>>), DirectoryError> {
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

/// Runs an operation that has one response: that, and whose name it was about where the directory says so.
pub(super) async fn last_word(directory: &dyn Directory, operation: Operation) -> Result<(Done, Option<Arc<Who>>), DirectoryError> {
    let deadline = operation.deadline;
    let answered = async {
        let mut replies = directory.run(operation).await?;
        let mut who = None;
        while let Some(reply) = replies.next().await {
            match reply? {
                Reply::Who(found) => who = Some(Arc::new(found)),
                Reply::Done(done) => return Ok((done, who)),
                Reply::Entry(_) | Reply::Intermediate(_) | Reply::Again => {}
            }
        }
        Err(DirectoryError::ConnectionLost { sent: true })
    };
    timeout_at(deadline, answered).await.unwrap_or(Err(DirectoryError::TimedOut))
}

/// Whoever has no name there is told so.
pub(super) const BIND_FIRST: Refused =
    Refused { code: ResultCode::INSUFFICIENT_ACCESS_RIGHTS, reason: "this directory is searched as the client: bind to it first" };

/// A phonebook in memory answers in microseconds; this bounds a bug.
const EMBEDDED_PATIENCE: Duration = Duration::from_secs(10);
