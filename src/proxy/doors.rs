//! The listeners, each at a place of its own for as long as the proxy runs: connections, metrics and the audit log know it by that.
//!
//! A reload keeps the socket of an address that is still configured, opens those that are new and closes those that are gone; connections stand
//! through all of it.

use super::StartError;
use crate::config::{self, Limits};
use crate::downstream::{Door, ListenError, Listener, PreparedDoor};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::pipeline::Current;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::warn;

/// All listeners that there have been, by place.
#[derive(Debug)]
pub(super) struct Doors {
    /// Opened by somebody else, and not closed here: a listener that goes may come back.
    sockets: Vec<TcpListener>,
    places: Vec<Place>,
    /// Where the configuration's listeners stand, in its order.
    order: Vec<usize>,
}

#[derive(Debug)]
struct Place {
    configured: config::Listener,
    /// With the port that the system chose.
    address: SocketAddr,
    /// `None`: closed.
    open: Option<(Arc<Door>, AbortHandle)>,
}

/// The listeners of a configuration that is not in force yet: their sockets are bound, their certificates are good.
#[derive(Debug)]
pub(super) struct PreparedDoors {
    /// By place.
    listeners: Vec<config::Listener>,
    order: Vec<usize>,
    changed: Vec<(usize, PreparedDoor)>,
    bound: Vec<(usize, Listener, SocketAddr)>,
}

/// What an opened listener needs.
pub(super) struct Opening<'a> {
    pub(super) pipeline: &'a Arc<Current>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) lifecycle: Lifecycle,
    /// Where it runs.
    pub(super) tasks: &'a mut JoinSet<String>,
}

impl Doors {
    /// None yet; they take these sockets where the addresses are the same.
    pub(super) const fn new(sockets: Vec<TcpListener>) -> Self {
        Self { sockets, places: Vec::new(), order: Vec::new() }
    }

    fn bind(&self, place: usize, listener: &config::Listener, limits: &Limits) -> Result<Listener, ListenError> {
        let has_address = |socket: &&TcpListener| socket.local_addr().is_ok_and(|address| address == listener.address);
        match self.sockets.iter().find(has_address) {
            Some(socket) => Listener::inherit(socket, place, listener, limits),
            None => Listener::bind(place, listener, limits),
        }
    }

    /// Sockets for which there is no listener.
    fn warn_of_strays(&self, listeners: &[config::Listener]) {
        for address in self.sockets.iter().filter_map(|socket| socket.local_addr().ok()) {
            if listeners.iter().all(|listener| listener.address != address) {
                warn!(%address, "the supervisor has opened this address, and no [[listener]] has exactly it: nobody is served there");
            }
        }
    }

    /// Reads certificates and binds sockets.
    ///
    /// # Errors
    /// When an address cannot be had, or a certificate is unusable; then nothing has changed.
    pub(super) fn prepare(&self, listeners: &[config::Listener], limits: &Limits) -> Result<PreparedDoors, StartError> {
        let known = self.places.iter().map(|place| place.configured.clone()).collect();
        let mut prepared = PreparedDoors { listeners: known, order: Vec::new(), changed: Vec::new(), bound: Vec::new() };
        for listener in listeners {
            let is_free =
                |(place, known): &(usize, &Place)| known.configured.address == listener.address && !prepared.order.contains(place);
            let place = self.places.iter().enumerate().find(is_free).map_or(prepared.listeners.len(), |(place, _)| place);
            match self.places.get(place).and_then(|known| known.open.as_ref()) {
                Some((door, _)) => prepared.changed.push((place, door.prepare(listener, limits).map_err(ListenError::Tls)?)),
                None => {
                    let bound = self.bind(place, listener, limits)?;
                    let address = bound.local_addr().map_err(StartError::Lost)?;
                    prepared.bound.push((place, bound, address));
                }
            }
            match prepared.listeners.get_mut(place) {
                Some(configured) => *configured = listener.clone(),
                None => prepared.listeners.push(listener.clone()),
            }
            prepared.order.push(place);
        }
        self.warn_of_strays(listeners);
        Ok(prepared)
    }

    /// Puts in force what was prepared.
    pub(super) fn change(&mut self, prepared: PreparedDoors, opening: Opening<'_>) {
        let PreparedDoors { listeners, order, changed, bound } = prepared;
        let Opening { pipeline, metrics, lifecycle, tasks } = opening;
        for (place, known) in self.places.iter_mut().enumerate() {
            if let Some((_, accepting)) = known.open.take_if(|_| !order.contains(&place)) {
                accepting.abort();
            }
        }
        for (place, prepared) in changed {
            if let Some((door, _)) = self.places.get(place).and_then(|place| place.open.as_ref()) {
                door.change(prepared);
            }
        }
        for (place, listener, address) in bound {
            let door = listener.open(Arc::clone(pipeline), Arc::clone(metrics));
            let accepting = Arc::clone(&door).run(lifecycle.clone());
            let accepting = tasks.spawn(super::named(format!("the listener on {address}"), accepting));
            let open = Some((door, accepting));
            match (self.places.get_mut(place), listeners.get(place)) {
                (Some(known), _) => (known.address, known.open) = (address, open),
                (None, Some(configured)) => self.places.push(Place { configured: configured.clone(), address, open }),
                (None, None) => {}
            }
        }
        for (place, configured) in self.places.iter_mut().zip(listeners) {
            place.configured = configured;
        }
        self.order = order;
    }

    /// How many places there are.
    pub(super) const fn places(&self) -> usize {
        self.places.len()
    }

    /// The addresses of the configuration's listeners, in its order, with the ports that the system chose.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.order.iter().filter_map(|place| Some(self.places.get(*place)?.address)).collect()
    }
}

impl PreparedDoors {
    /// The listeners by place, those that are closed included: somebody may still be connected there.
    pub(super) fn by_place(&self) -> Vec<config::Listener> {
        self.listeners.clone()
    }
}
