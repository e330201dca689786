//! The way to the server: address, sources, TLS.

use super::line::{Line, Stream};
use super::question::Request;
use super::tally::{Mishap, Trouble};
use super::target::Target;
use super::trusting::Trusting;
use crate::ldap::ResultCode;
use crate::ldap::envelope::op;
use crate::upstream::client_config;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

/// Everything that is the same for each connection.
pub(super) struct Door {
    addresses: Vec<SocketAddr>,
    sources: Vec<IpAddr>,
    tls: Option<Tls>,
}

struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    by_start_tls: bool,
    resume: bool,
}

/// Whom to believe, and how.
pub(super) struct TlsManner<'a> {
    pub(super) start_tls: bool,
    pub(super) ca: Option<&'a Path>,
    pub(super) insecure: bool,
    pub(super) resume: bool,
}

impl Door {
    /// Resolves the name and prepares TLS; connects to nobody.
    pub(super) async fn open(target: &Target, sources: Vec<IpAddr>, manner: &TlsManner<'_>) -> Result<Self, String> {
        let tls = if target.tls || manner.start_tls { Some(Tls::new(target, manner)?) } else { None };
        let found = lookup_host((target.host.as_str(), target.port)).await.map_err(|error| format!("{target}: {error}"))?;
        let is_reachable = |address: &SocketAddr| sources.first().is_none_or(|source| source.is_ipv4() == address.is_ipv4());
        let addresses: Vec<_> = found.filter(is_reachable).collect();
        if addresses.is_empty() {
            return Err(format!("{target}: no address of the family of --source"));
        }
        Ok(Self { addresses, sources, tls })
    }

    /// What one phone remembers of TLS, so that it can resume its own sessions: `None` without TLS.
    pub(super) fn memory(&self) -> Option<Arc<ClientConfig>> {
        let tls = self.tls.as_ref()?;
        if !tls.resume {
            return Some(Arc::clone(&tls.config));
        }
        let mut config = ClientConfig::clone(&tls.config);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Some(Arc::new(config))
    }

    /// A connection, ready for the first request, and how TLS began. Not cancel safe.
    pub(super) async fn connect(&self, phone: usize, memory: Option<&Arc<ClientConfig>>) -> Result<(Line, Option<HandshakeKind>), Mishap> {
        let tcp = self.tcp(phone).await?;
        let (Some(tls), Some(memory)) = (&self.tls, memory) else { return Ok((Line::new(Box::new(tcp)), None)) };
        let mut line = Line::new(Box::new(tcp));
        if tls.by_start_tls {
            let id = line.send(&Request::start_tls()).await?;
            let code = line.result(id, op::EXTENDED_RESPONSE).await?;
            if code != ResultCode::SUCCESS {
                return Err(Mishap::new(Trouble::Tls, format_args!("StartTLS refused: {code}")));
            }
        }
        let stream = line.into_stream().ok_or_else(|| Mishap::new(Trouble::Tls, "octets before the handshake"))?;
        let connected = TlsConnector::from(Arc::clone(memory)).connect(tls.name.clone(), stream).await;
        let stream = connected.map_err(|error| Mishap::new(Trouble::Tls, error))?;
        let kind = stream.get_ref().1.handshake_kind();
        let stream: Box<dyn Stream> = Box::new(stream);
        Ok((Line::new(stream), kind))
    }

    async fn tcp(&self, phone: usize) -> Result<TcpStream, Mishap> {
        let mut failure = Mishap::new(Trouble::Connect, "no address");
        for address in &self.addresses {
            match self.tcp_to(*address, phone).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Mishap::new(Trouble::Connect, format_args!("{address}: {error}")),
            }
        }
        Err(failure)
    }

    async fn tcp_to(&self, address: SocketAddr, phone: usize) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.sources.get(phone % self.sources.len().max(1)) {
            socket.bind(SocketAddr::new(*source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Tls {
    fn new(target: &Target, manner: &TlsManner<'_>) -> Result<Self, String> {
        let mut config = if manner.insecure {
            Trusting::client_config().map_err(|error| error.to_string())?
        } else {
            ClientConfig::clone(&*client_config(manner.ca).map_err(|error| error.to_string())?)
        };
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(target.host.clone()).map_err(|error| format!("{}: {error}", target.host))?;
        Ok(Self { config: Arc::new(config), name, by_start_tls: !target.tls, resume: manner.resume })
    }
}

/// Of one server; TLS 1.3 tickets are for one use, and a server sends a few at a time.
const SESSIONS: usize = 8;
