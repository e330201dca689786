//! Accepts connections from phones and gives each a task of its own.
//!
//! A permit is taken before accept(2), so a full listener leaves newcomers in the kernel's queue. Nothing that one peer does, and no error of
//! accept, ends the loop: only the program's end does.

use super::service::Service;
use super::tls::{Tls, TlsError};
use crate::config::{self, Limits};
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, Rejected};
use crate::pipeline::Current;
use futures_util::FutureExt;
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// A bound socket that waits to be run.
#[derive(Debug)]
pub struct Listener {
    index: usize,
    configured: config::Listener,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    socket: TcpListener,
}

/// Why a listener cannot be had.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Its certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Listener {
    /// Binds the listener with that index in the configuration, and reads its certificate. To be called within the runtime.
    ///
    /// # Errors
    /// When the address cannot be had or the certificate is unusable.
    pub fn bind(index: usize, configured: &config::Listener, limits: &Limits) -> Result<Self, ListenError> {
        let tls = configured.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let address = configured.address;
        let socket = bound(address).map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { index, configured: configured.clone(), limits: limits.clone(), tls, socket })
    }

    /// Where it listens: the real port where the configured one is 0.
    ///
    /// # Errors
    /// When the socket has been lost.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Its TLS, to be [reloaded](Tls::reload).
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Accepts until the end begins.
    pub async fn run(self, pipeline: Arc<Current>, metrics: Arc<Metrics>, mut lifecycle: Lifecycle) {
        let Self { index, configured, limits, tls, socket } = self;
        let service = Arc::new(Service::new(index, &configured, &limits, tls, pipeline, Arc::clone(&metrics)));
        let permits = Arc::new(Semaphore::new(limits.connections));
        let address = socket.local_addr().unwrap_or(configured.address);
        let gate = Gate { index, networks: configured.networks, permits, metrics, socket };
        info!(listener = index, %address, "listening");
        let lives = lifecycle.clone();
        tokio::select! {
            () = lifecycle.ending() => {}
            () = gate.accept_all(&service, &lives) => {}
        }
    }
}

/// The accepting half of a listener.
struct Gate {
    index: usize,
    networks: Vec<IpNet>,
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    socket: TcpListener,
}

impl Gate {
    /// Never ends.
    async fn accept_all(&self, service: &Arc<Service>, lifecycle: &Lifecycle) {
        let mut backoff = BackOff::default();
        loop {
            let permit = self.permit().await;
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.metrics.connection_rejected(self.index, Rejected::AcceptError);
                    backoff.after(&error, self.index).await;
                    continue;
                }
            };
            backoff = BackOff::default();
            if !is_allowed(&self.networks, peer.ip()) {
                debug!(%peer, "not from an allowed network");
                self.metrics.connection_rejected(self.index, Rejected::Network);
                continue;
            }
            debug!(%peer, "connected");
            // Answers are written whole, so waiting for more to send is only delay. It fails on a connection that is gone, which the
            // first read tells.
            let _ = stream.set_nodelay(true);
            let open = Open::new(permit, Arc::clone(&self.metrics), self.index);
            tokio::spawn(Arc::clone(service).serve(stream, peer, lifecycle.clone()).map(|()| drop(open)));
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        warn!(listener = self.index, "as many connections as limits.connections allows: newcomers wait");
        self.metrics.connection_rejected(self.index, Rejected::Full);
        // It is never closed.
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}

/// A connection that is open: counted, and holding its permit.
struct Open {
    metrics: Arc<Metrics>,
    index: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Open {
    fn new(permit: Option<OwnedSemaphorePermit>, metrics: Arc<Metrics>, index: usize) -> Self {
        metrics.connection_opened(index);
        Self { metrics, index, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connection_closed(self.index);
    }
}

/// How long accept rests after an error.
#[derive(Debug, Default)]
struct BackOff(Duration);

impl BackOff {
    async fn after(&mut self, error: &io::Error, listener: usize) {
        if is_the_peers(error) {
            debug!(listener, "a connection was lost before it was accepted: {error}");
            return;
        }
        self.0 = (self.0 * 2).clamp(SHORTEST_REST, LONGEST_REST);
        warn!(listener, rest = ?self.0, "cannot accept: {error}; is the limit of open files (ulimit -n) too low?");
        sleep(self.0).await;
    }
}

/// An error of that one connection, and not of this host: the next may be accepted at once.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

fn is_allowed(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.is_empty() || networks.iter().any(|network| network.contains(&address))
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Phones after a power cut all come at once; the kernel cuts this to net.core.somaxconn.
const BACKLOG: i32 = 4096;
const SHORTEST_REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_decide_also_for_ipv4_in_ipv6() {
        let networks = ["10.20.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (address, allowed) in
            [("10.20.3.4", true), ("10.21.3.4", false), ("::ffff:10.20.3.4", true), ("fd12::1", true), ("2001:db8::1", false)]
        {
            assert_eq!(is_allowed(&networks, address.parse().unwrap()), allowed, "{address}");
        }
        assert!(is_allowed(&[], "192.0.2.1".parse().unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn accept_rests_longer_after_each_error_of_the_host_and_not_at_all_for_a_peers() {
        let mut backoff = BackOff::default();
        let no_more_files = io::Error::from_raw_os_error(24);
        let mut rests = Vec::new();
        for _ in 0..9 {
            let before = tokio::time::Instant::now();
            backoff.after(&no_more_files, 0).await;
            rests.push(before.elapsed().as_millis());
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        let before = tokio::time::Instant::now();
        backoff.after(&io::ErrorKind::ConnectionAborted.into(), 0).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_said() {
        let taken = bound("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let error = bound(address).unwrap_err();
        assert_eq!(ListenError::Bind { address, source: error }.to_string().split(':').next().unwrap(), "cannot listen on 127.0.0.1");
    }
}
