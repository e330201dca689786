//! What all connections of one listener share, and the life of a connection around its session: TLS first or later, and the end.

use super::connection::{Connection, End};
use super::handshake::{Failure, HandshakeError, Handshakes, Shaken};
use super::tls::Tls;
use crate::config::{self, Limits, TlsMode};
use crate::lifecycle::Lifecycle;
use crate::metrics::{Handshake, Metrics};
use crate::pipeline::Current;
use crate::session::SessionRules;
use futures_util::future::BoxFuture;
use rustls::HandshakeKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// What all connections of one listener share.
#[derive(Debug)]
pub struct Service {
    /// The listener's index in the configuration.
    pub(super) listener: usize,
    pub(super) rules: SessionRules,
    pub(super) limits: Limits,
    pub(super) pipeline: Arc<Current>,
    pub(super) metrics: Arc<Metrics>,
    tls: Option<(TlsMode, Arc<Tls>)>,
    handshakes: Handshakes,
}

impl Service {
    /// The service of the listener with that index. `tls` is what [`Tls::load`] made of the listener's files; its mode is the configuration's.
    pub fn new(
        listener: usize,
        configured: &config::Listener,
        limits: &Limits,
        tls: Option<Arc<Tls>>,
        pipeline: Arc<Current>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let tls = configured.tls.as_ref().map(|tls| tls.mode).zip(tls);
        let mode = tls.as_ref().map(|(mode, _)| *mode);
        let rules = SessionRules {
            max_pending: u32::try_from(limits.pending).unwrap_or(u32::MAX),
            start_tls: matches!(mode, Some(TlsMode::StartTlsOptional | TlsMode::StartTlsRequired)),
            tls_required: mode == Some(TlsMode::StartTlsRequired),
            plain_passwords: configured.plain_passwords,
            external: configured.tls.as_ref().is_some_and(|tls| tls.client_name.is_some()),
        };
        let handshakes = Handshakes::new(limits.handshakes, limits.handshake_timeout);
        Self { listener, rules, limits: limits.clone(), pipeline, metrics, tls, handshakes }
    }

    /// Its TLS, if it has any.
    pub(super) fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref().map(|(_, tls)| tls)
    }

    /// Serves one connection to its end, over any stream.
    ///
    /// Not cancel safe: dropped, it drops the connection.
    // No `async fn`: its arguments would stand twice in the future, once as they came and once where they are used.
    pub fn serve<S>(self: Arc<Self>, mut stream: S, peer: SocketAddr, lifecycle: Lifecycle) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ldaps = matches!(self.tls, Some((TlsMode::Ldaps, _)));
        let patience = self.limits.write_stall;
        let mut connection = Connection::new(self, peer, ldaps, lifecycle);
        async move {
            if !ldaps {
                let end = connection.run(&mut stream).await;
                if end != End::StartTls {
                    drop(connection);
                    return close(&mut stream, end, patience).await;
                }
            }
            boxed_tls(connection, stream, peer).await;
        }
    }
}

/// [`serve_tls`] in a box of its own, so that plain connections do not carry room for it; and out of line, so that their polls do not either.
#[inline(never)]
fn boxed_tls<S>(connection: Connection, stream: S, peer: SocketAddr) -> BoxFuture<'static, ()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Box::pin(serve_tls(connection, stream, peer))
}

/// The handshake, and the session under TLS.
async fn serve_tls<S>(mut connection: Connection, stream: S, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = Arc::clone(connection.service());
    let Some((_, tls)) = &service.tls else { return };
    // The handshake's own state goes back to the allocator before the session begins.
    match Box::pin(service.handshakes.accept(tls, stream)).await {
        Ok(Shaken { mut stream, kind, client_name }) => {
            let how = if kind == HandshakeKind::Resumed { Handshake::Resumed } else { Handshake::Full };
            service.metrics.handshake(service.listener, how);
            connection.tls_started(client_name);
            let end = connection.run(&mut stream).await;
            drop(connection);
            close(&mut stream, end, service.limits.write_stall).await;
        }
        Err(error) => {
            service.metrics.handshake(service.listener, Handshake::Failed);
            log_failed_handshake(&error, peer);
        }
    }
}

/// Lets the peer hear the last word before its stream goes.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, end: End, patience: Duration) {
    if end != End::Lost {
        Box::pin(close_gently(stream, end == End::Noticed, patience)).await;
    }
}

/// Ends TLS and TCP in order. After a notice, what the peer still sends is read and forgotten for a moment: an unread octet would make the
/// kernel reset the connection, and the notice might never be seen.
async fn close_gently<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, noticed: bool, patience: Duration) {
    if !matches!(timeout(patience, stream.shutdown()).await, Ok(Ok(()))) || !noticed {
        return;
    }
    let forget = async {
        let mut octets = vec![0; 4096];
        let mut forgotten = 0;
        while let Ok(count @ 1..) = stream.read(&mut octets).await {
            forgotten += count;
            if forgotten > MOST_FORGOTTEN {
                break;
            }
        }
    };
    // Elapsed or not, this is the end.
    let _ = timeout(LINGER, forget).await;
}

fn log_failed_handshake(error: &HandshakeError, peer: SocketAddr) {
    use super::client_hello::Opening;
    match (&error.why, &error.opening) {
        // A load balancer that looks at the port, several times a minute.
        (Failure::Lost(_), Opening::Silent) => debug!(%peer, "{error}"),
        (Failure::Refused(_) | Failure::NotTls, _) => warn!(%peer, "{error}"),
        (Failure::Lost(_) | Failure::TimedOut, _) => info!(%peer, "{error}"),
    }
}

/// How long a peer is listened to after its Notice of Disconnection.
const LINGER: Duration = Duration::from_secs(1);
/// And how much it may say in that time.
const MOST_FORGOTTEN: usize = 1 << 20;
