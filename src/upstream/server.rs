//! One controller with all that leads to it, and the choice among several.

use super::balance::{Call, Load, Random, choose};
use super::binds::Binds;
use super::connect::Connector;
use super::pool::{Pool, root_dse};
use super::silence::Silence;
use super::standing::Standing;
use super::who::People;
use crate::lifecycle::Lifecycle;
use std::sync::Arc;
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

impl Server {
    /// Probes the server until the end: at once, then at the times that its health asks for. Keeps a connection warm by it.
    pub(crate) async fn watch(self: Arc<Self>, mut lifecycle: Lifecycle) {
        loop {
            tokio::select! {
                biased;
                () = lifecycle.ending() => return,
                () = self.standing.changed.notified() => {}
                () = sleep_until(self.standing.next_probe()) => self.probe().await,
            }
        }
    }

    async fn probe(&self) {
        let Some(connection) = self.pool.open_connection() else {
            return self.pool.warm_up().await;
        };
        match root_dse(&connection, Instant::now() + self.connector.timeout).await {
            Ok(capabilities) => self.standing.probe_succeeded(capabilities),
            Err(error) => {
                // What stands may be as dead as this one was: the next probe begins with a connect.
                self.pool.let_all_go();
                self.standing.probe_failed(&error);
            }
        }
    }
}

/// The controllers of one directory.
#[derive(Debug, Clone)]
pub(crate) struct Servers(pub(crate) Arc<[Arc<Server>]>);

impl Servers {
    /// The server to ask next, none of those in `tried`: `first` while it is up, else any; `None` when no other is up.
    pub(crate) fn choose(&self, first: Option<usize>, tried: &[usize]) -> Option<&Arc<Server>> {
        self.choose_with(fastrand::f64(), first, tried)
    }

    /// The same for what cannot be tried a second time: a server that came back a moment ago proves itself on other operations first.
    pub(crate) fn choose_proven(&self, first: Option<usize>, tried: &[usize]) -> Option<&Arc<Server>> {
        self.choose_with(1.0, first, tried)
    }

    fn choose_with(&self, share: f64, first: Option<usize>, tried: &[usize]) -> Option<&Arc<Server>> {
        let first = first.filter(|first| !tried.contains(first)).and_then(|first| self.0.get(first));
        if let Some(first) = first.filter(|first| first.standing.load().call == Call::Eligible) {
            return Some(first);
        }
        let load = |(index, server): (usize, &Arc<Server>)| {
            let load = server.standing.load();
            if tried.contains(&index) { Load { call: Call::Out, ..load } } else { load }
        };
        let loads: Vec<Load> = self.0.iter().enumerate().map(load).collect();
        let random = Random { picks: [fastrand::u32(..), fastrand::u32(..)], share };
        choose(&loads, random).and_then(|index| self.0.get(index))
    }

    /// It is up.
    pub(crate) fn may_be_asked(&self, server: usize) -> bool {
        self.0.get(server).is_some_and(|server| server.standing.load().call == Call::Eligible)
    }

    /// One is up.
    pub(crate) fn any_is_up(&self) -> bool {
        self.0.iter().any(|server| server.standing.is_up())
    }
}
