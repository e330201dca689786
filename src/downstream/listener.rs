//! Accepts connections from phones and gives each a task of its own.
//!
//! A permit is taken before accept(2), so a full listener leaves newcomers in the kernel's queue. Nothing that one peer does, and no error of
//! accept, ends the loop: only the program's end does.

use super::addresses::Addresses;
use super::client_stream::ClientStream;
use super::introduced::{IntroductionError, introduction};
use super::service::Service;
use super::tls::{RenewedTls, Tls, TlsError};
use crate::config::{self, Limits};
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, Rejected};
use crate::pipeline::Current;
use crate::pressure::Level;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
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

    /// The same on a socket that somebody else has opened and keeps open.
    ///
    /// # Errors
    /// When the socket or the certificate is unusable.
    pub fn inherit(
        socket: &std::net::TcpListener,
        index: usize,
        configured: &config::Listener,
        limits: &Limits,
    ) -> Result<Self, ListenError> {
        let tls = configured.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let own = || {
            let socket = socket.try_clone()?;
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        };
        let socket = own().map_err(|source| ListenError::Bind { address: configured.address, source })?;
        Ok(Self { index, configured: configured.clone(), limits: limits.clone(), tls, socket })
    }

    /// Where it listens: the real port where the configured one is 0.
    ///
    /// # Errors
    /// When the socket has been lost.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Opens it: whoever comes meets `pipeline`.
    pub fn open(self, pipeline: Arc<Current>, metrics: Arc<Metrics>) -> Arc<Door> {
        let Self { index, configured, limits, tls, socket } = self;
        let service = Service::new(index, &configured, &limits, tls, Arc::clone(&pipeline), Arc::clone(&metrics));
        let room = Arc::new(Room {
            index,
            metrics: Arc::clone(&metrics),
            permits: Arc::new(Semaphore::new(limits.connections)),
            size: AtomicUsize::new(limits.connections),
            addresses: Addresses::new(&limits),
        });
        let config::Listener { networks, proxies, .. } = configured;
        let rules = ArcSwap::from_pointee(HouseRules { networks, proxies, service: Arc::new(service) });
        let address = socket.local_addr().unwrap_or(configured.address);
        Arc::new(Door { index, address, socket, rules, room, pipeline, metrics })
    }
}

/// A listener that accepts. What newcomers meet can be changed while it does.
#[derive(Debug)]
pub struct Door {
    index: usize,
    address: SocketAddr,
    socket: TcpListener,
    rules: ArcSwap<HouseRules>,
    room: Arc<Room>,
    pipeline: Arc<Current>,
    metrics: Arc<Metrics>,
}

/// What newcomers meet.
#[derive(Debug)]
struct HouseRules {
    networks: Vec<IpNet>,
    proxies: Vec<IpNet>,
    service: Arc<Service>,
}

/// What newcomers may meet in future, all of it read and found good.
#[derive(Debug)]
pub struct PreparedDoor {
    rules: HouseRules,
    limits: Limits,
    renewed: Option<(Arc<Tls>, RenewedTls)>,
}

/// How many connections fit, and how many of them from one address. Connections hold it, and not the door: that one can be gone.
#[derive(Debug)]
struct Room {
    index: usize,
    metrics: Arc<Metrics>,
    permits: Arc<Semaphore>,
    size: AtomicUsize,
    addresses: Addresses,
}

impl Door {
    /// Accepts until the end begins, or until it is dropped; connections that stand go on.
    pub async fn run(self: Arc<Self>, lifecycle: Lifecycle) {
        info!(listener = self.index, address = %self.address, "listening");
        let lives = lifecycle.clone();
        tokio::select! {
            biased;
            () = lifecycle.ending() => {}
            () = self.accept_all(&lives) => {}
        }
    }

    /// Reads what this listener is to be from now on; its address is the same.
    ///
    /// # Errors
    /// When the certificate is unusable.
    pub fn prepare(&self, configured: &config::Listener, limits: &Limits) -> Result<PreparedDoor, TlsError> {
        let standing = self.rules.load().service.tls().map(Arc::clone);
        let (tls, renewed) = match (&configured.tls, standing) {
            (None, _) => (None, None),
            (Some(files), None) => (Some(Arc::new(Tls::load(files)?)), None),
            (Some(files), Some(tls)) => (Some(Arc::clone(&tls)), Some((Arc::clone(&tls), tls.renewed(files)?))),
        };
        let service = Service::new(self.index, configured, limits, tls, Arc::clone(&self.pipeline), Arc::clone(&self.metrics));
        let config::Listener { networks, proxies, .. } = configured.clone();
        Ok(PreparedDoor { rules: HouseRules { networks, proxies, service: Arc::new(service) }, limits: limits.clone(), renewed })
    }

    /// From now on newcomers meet this. Connections that stand keep their limits; a StartTLS or handshake meets the new certificate.
    pub fn change(&self, prepared: PreparedDoor) {
        let PreparedDoor { rules, limits, renewed } = prepared;
        if let Some((tls, renewed)) = renewed {
            tls.replace(renewed);
        }
        self.rules.store(Arc::new(rules));
        self.room.resize(limits.connections);
        self.room.addresses.change(&limits);
    }

    /// Never ends.
    async fn accept_all(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let mut backoff = BackOff::default();
        let mut at_once = 0;
        loop {
            if at_once == ACCEPTED_AT_ONCE {
                // Thousands who come at the same moment queue in the kernel, and not in front of phones that are connected.
                yield_now().await;
                at_once = 0;
            }
            at_once += 1;
            self.room.wait_for_a_place().await;
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.metrics.connection_rejected(self.index, Rejected::AcceptError);
                    backoff.after(&error, self.index).await;
                    continue;
                }
            };
            backoff = BackOff::default();
            let rules = self.rules.load();
            let is_proxy = is_among(&rules.proxies, peer.ip());
            let mut open = Open::new(Arc::clone(&self.room));
            if !is_proxy && !self.admits(&rules, peer, &mut open) {
                continue;
            }
            debug!(%peer, is_proxy, "connected");
            // Answers are written whole, so waiting for more to send is only delay. It fails on a connection that is gone, which the
            // first read tells.
            let _ = stream.set_nodelay(true);
            if is_proxy {
                let (door, rules) = (Arc::clone(self), Arc::clone(&rules));
                tokio::spawn(door.serve_introduced(rules, stream, peer, lifecycle.clone(), open));
            } else {
                tokio::spawn(Arc::clone(&rules.service).serve(ClientStream::from(stream), peer, lifecycle.clone()).map(|()| drop(open)));
            }
        }
    }

    /// Serves whom a trusted proxy introduces, if they may come in.
    async fn serve_introduced(
        self: Arc<Self>,
        rules: Arc<HouseRules>,
        mut stream: TcpStream,
        proxy: SocketAddr,
        lifecycle: Lifecycle,
        mut open: Open,
    ) {
        let patience = rules.service.limits.first_message.min(rules.service.limits.handshake_timeout);
        let introduced = tokio::select! {
            biased;
            introduced = introduction(&mut stream, proxy, patience) => introduced,
            () = lifecycle.ending() => return,
        };
        let client = match introduced {
            Ok(client) => client,
            Err(error) => {
                match &error {
                    IntroductionError::Lost(_) => debug!(%proxy, "{error}"),
                    IntroductionError::Header(_) | IntroductionError::TimedOut(_) => {
                        warn!(%proxy, "{error}; does it send one (proxy_protocol)?")
                    }
                }
                return self.metrics.connection_rejected(self.index, Rejected::ProxyHeader);
            }
        };
        if !self.admits(&rules, client, &mut open) {
            return;
        }
        debug!(peer = %client, %proxy, "introduced");
        let service = Arc::clone(&rules.service);
        drop((self, rules));
        service.serve(ClientStream::from(stream), client, lifecycle).await;
        drop(open);
    }

    /// May that client come in? If so, the open connection counts as one of its address.
    fn admits(&self, rules: &HouseRules, client: SocketAddr, open: &mut Open) -> bool {
        let is_welcome = rules.networks.is_empty() || is_among(&rules.networks, client.ip());
        let admitted = match self.pipeline.load().pressure().level() {
            _ if !is_welcome => Err(Rejected::Network),
            Level::Critical => Err(Rejected::Memory),
            Level::Calm | Level::Tight => open.enter(client.ip()),
        };
        if let Err(why) = admitted {
            debug!(peer = %client, ?why, "not served");
            self.metrics.connection_rejected(self.index, why);
        }
        admitted.is_ok()
    }
}

impl Room {
    /// Waits while it is full. The task that accepts is the only one that takes places, so one that is free then stays free for it.
    async fn wait_for_a_place(&self) {
        if self.permits.available_permits() > 0 {
            return;
        }
        warn!(listener = self.index, "as many connections as limits.connections allows: newcomers wait");
        self.metrics.connection_rejected(self.index, Rejected::Full);
        // It is never closed, and the permit goes back at once.
        let _ = self.permits.acquire().await;
    }

    /// From now on that many fit. Where more are there already, as many must leave before a newcomer comes in.
    fn resize(&self, size: usize) {
        let before = self.size.swap(size, Ordering::Relaxed);
        self.permits.add_permits(size.saturating_sub(before));
        let surplus = u32::try_from(before.saturating_sub(size)).unwrap_or(u32::MAX);
        if surplus == 0 {
            return;
        }
        let permits = Arc::clone(&self.permits);
        // Those who wait for a place are behind it in the line.
        tokio::spawn(async move {
            if let Ok(surplus) = permits.acquire_many_owned(surplus).await {
                surplus.forget();
            }
        });
    }
}

/// A connection that is open: it is counted, and has a place, until it is dropped.
struct Open {
    room: Arc<Room>,
    /// Whose, once it is known and admitted.
    address: Option<IpAddr>,
}

impl Open {
    fn new(room: Arc<Room>) -> Self {
        room.permits.forget_permits(1);
        room.metrics.connection_opened(room.index);
        Self { room, address: None }
    }

    fn enter(&mut self, address: IpAddr) -> Result<(), Rejected> {
        self.room.addresses.enter(address, Instant::now())?;
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Room { index, metrics, permits, addresses, .. } = &*self.room;
        metrics.connection_closed(*index);
        if let Some(address) = self.address {
            addresses.leave(address);
        }
        permits.add_permits(1);
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

fn is_among(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
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
/// Connections that are accepted before everybody else who is ready has a turn.
const ACCEPTED_AT_ONCE: u32 = 8;
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
            assert_eq!(is_among(&networks, address.parse().unwrap()), allowed, "{address}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn accept_rests_longer_after_each_error_of_the_host_and_not_at_all_for_a_peers() {
        let mut backoff = BackOff::default();
        let no_more_files = io::Error::from_raw_os_error(24);
        let mut rests = Vec::new();
        for _ in 0..9 {
            let before = Instant::now();
            backoff.after(&no_more_files, 0).await;
            rests.push(before.elapsed().as_millis());
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        let before = Instant::now();
        backoff.after(&io::ErrorKind::ConnectionAborted.into(), 0).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_room_that_shrinks_lets_nobody_in_before_enough_have_left() {
        let (metrics, addresses) = (Arc::new(Metrics::unrecorded()), Addresses::new(&Limits::default()));
        let room = Room { index: 0, metrics, permits: Arc::new(Semaphore::new(3)), size: AtomicUsize::new(3), addresses };
        let mut guests: Vec<_> = (0..3).map(|_| Arc::clone(&room.permits).try_acquire_owned().unwrap()).collect();
        room.resize(1);
        yield_now().await;
        for _ in 0..2 {
            guests.pop();
            yield_now().await;
            assert!(room.permits.try_acquire().is_err());
        }
        guests.pop();
        drop(room.permits.try_acquire().unwrap());
        room.resize(2);
        assert_eq!(room.permits.available_permits(), 2);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_said() {
        let taken = bound("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let error = bound(address).unwrap_err();
        assert_eq!(ListenError::Bind { address, source: error }.to_string().split(':').next().unwrap(), "cannot listen on 127.0.0.1");
    }
}
