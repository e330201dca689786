//! From a server's name to a connection that may be used: resolve, TCP, TLS, bind, all under one deadline.
//!
//! TLS comes by LDAPS or StartTLS (RFC 4511 section 4.14) and is verified by name. There is no way from a failed step to a weaker one: a
//! server that refuses StartTLS is not spoken to. Errors name the server, the step and what to do, and hold no secrets.

mod dial;
mod names;
mod trust;

pub use self::dial::{Dial, Stream};
pub(crate) use self::names::Dns;
pub use self::names::{Names, Services, Srv};
pub use self::trust::TrustError;
pub(crate) use self::trust::client_config;
use super::connection::{Connection, Outgoing, Payload, Settings};
use crate::certificate::{SOON, not_after};
use crate::config::{Server, UpstreamSecurity};
use crate::directory::{Done, Reply};
use crate::ldap::ber;
use crate::ldap::envelope::{op, write_envelope};
use crate::ldap::frame::frame_length;
use crate::ldap::message::LdapResult;
use crate::ldap::{Envelope, MessageId, ResultCode, oid};
use crate::lifecycle::Lifecycle;
use crate::metrics::ServerMetrics;
use crate::secret::Secret;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use socket2::{SockRef, TcpKeepalive};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::warn;
use zeroize::Zeroizing;

/// Makes connections to one server.
#[derive(Debug)]
pub(crate) struct Connector {
    /// Where to.
    pub(crate) server: Server,
    /// Whom to trust.
    pub(crate) tls: Arc<ClientConfig>,
    /// Who knows its addresses; asked anew for each connection.
    pub(crate) names: Arc<dyn Names>,
    /// For everything together.
    pub(crate) timeout: Duration,
    /// Told to every connection.
    pub(crate) lifecycle: Lifecycle,
    /// `None`: by TCP.
    pub(crate) dial: Option<Arc<dyn Dial>>,
    /// Who is told when the server's certificate expires.
    pub(crate) metrics: Option<Arc<ServerMetrics>>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ConnectError {
    #[error("{server}: the name cannot be resolved ({why}); check the name in `servers`, or in DNS, and this machine's resolver")]
    Resolve { server: String, why: String },
    #[error("{server}: no TCP connection ({why}); check that the server runs and that no firewall is between")]
    Tcp { server: String, why: String },
    #[error("{server}: StartTLS refused ({code}); enable TLS on the server, or use ldaps://. Redial does not go on without")]
    StartTlsRefused { server: String, code: ResultCode },
    #[error("{server}: StartTLS was not answered as RFC 4511 section 4.14 asks ({why}); somebody may stand between")]
    StartTlsMisbehaved { server: String, why: &'static str },
    #[error("{server}: TLS failed ({why}); check the name and dates in the server's certificate, and that `ca` holds its issuer")]
    Tls { server: String, why: String },
    #[error("{server}: bind refused ({code}): {diagnostic}; check the account's name and password")]
    BindRefused { server: String, code: ResultCode, diagnostic: String },
    #[error("{server}: no answer to the bind ({why})")]
    BindLost { server: String, why: String },
    #[error("{server}: not connected within {timeout:?} (while {step}); raise `connect_timeout` if the server is only slow")]
    TimedOut { server: String, step: &'static str, timeout: Duration },
}

impl Connector {
    /// Connects, and binds where a name and password are given. `held` is dropped when the connection has ended. Not cancel safe.
    ///
    /// # Errors
    /// As [`ConnectError`] says.
    pub(crate) async fn connect<H>(&self, bind_as: Option<(&str, &Secret)>, settings: Settings, held: H) -> Result<Connection, ConnectError>
    where
        H: Send + 'static,
    {
        let deadline = Instant::now() + self.timeout;
        let mut stream: Box<dyn Stream> = match &self.dial {
            None => Box::new(self.tcp(deadline).await?),
            Some(dial) => {
                let lost = |error: std::io::Error| ConnectError::Tcp { server: self.name(), why: error.to_string() };
                self.within(deadline, "dialling", dial.dial(&self.server)).await?.map_err(lost)?
            }
        };
        let connection = if self.server.security == UpstreamSecurity::Plain {
            Connection::spawn(stream, settings, self.lifecycle.clone(), held)
        } else {
            if self.server.security == UpstreamSecurity::StartTls {
                self.within(deadline, "asking for StartTLS", self.start_tls(&mut stream)).await??;
            }
            let name = ServerName::try_from(self.server.host.clone()).map_err(|error| self.tls_error(&error))?;
            let handshake = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
            let tls = self.within(deadline, "in the TLS handshake", handshake).await?.map_err(|error| self.tls_error(&error))?;
            self.note_expiry(tls.get_ref().1.peer_certificates());
            Connection::spawn(tls, settings, self.lifecycle.clone(), held)
        };
        if let Some((name, password)) = bind_as {
            self.bind(&connection, name, password, deadline).await?;
        }
        Ok(connection)
    }

    /// Of the server's own certificate, which comes first.
    fn note_expiry(&self, shown: Option<&[CertificateDer<'_>]>) {
        let not_after = shown.and_then(|shown| shown.first()).and_then(|certificate| not_after(certificate));
        if let (Some(metrics), Some(not_after)) = (&self.metrics, not_after) {
            let is_news = metrics.certificate_expires(not_after);
            if is_news && UNIX_EPOCH + not_after < SystemTime::now() + SOON {
                let when = humantime::format_rfc3339_seconds(UNIX_EPOCH + not_after);
                warn!(server = self.server.url, not_after = %when, "a controller's certificate expires soon");
            }
        }
    }

    async fn tcp(&self, deadline: Instant) -> Result<TcpStream, ConnectError> {
        let Server { host, port, .. } = &self.server;
        let resolve = |why: String| ConnectError::Resolve { server: self.name(), why };
        let found = self.within(deadline, "resolving the name", self.names.addresses(host, *port)).await?;
        let addresses = found.map_err(resolve)?;
        let mut why = None;
        for (tried, address) in addresses.iter().enumerate() {
            // An address that swallows packets leaves time for the others.
            let share = deadline.saturating_duration_since(Instant::now()) / (addresses.len() - tried).try_into().unwrap_or(u32::MAX);
            match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    set_options(&stream);
                    return Ok(stream);
                }
                Ok(Err(error)) => why = Some(format!("{address}: {error}")),
                Err(_) => why = Some(format!("{address}: no answer")),
            }
        }
        let Some(why) = why else { return Err(resolve("no address".to_owned())) };
        Err(ConnectError::Tcp { server: self.name(), why })
    }

    /// Asks for TLS. Octets that follow the response before the handshake may be an attacker's (CVE-2011-0411): they are refused, not kept.
    async fn start_tls(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), ConnectError> {
        let misbehaved = |why| ConnectError::StartTlsMisbehaved { server: self.name(), why };
        let lost = |error: std::io::Error| ConnectError::Tcp { server: self.name(), why: error.to_string() };
        let mut request = Vec::new();
        write_envelope(&mut request, START_TLS_ID, &extended_op(oid::START_TLS), None);
        stream.write_all(&request).await.map_err(lost)?;
        let mut response = Vec::with_capacity(START_TLS_RESPONSE_AT_MOST);
        let length = loop {
            let length = frame_length(&response, START_TLS_RESPONSE_AT_MOST).map_err(|_| misbehaved("not an LDAPMessage"))?;
            if let Some(length) = length.filter(|length| *length <= response.len()) {
                break length;
            }
            if stream.read_buf(&mut response).await.map_err(lost)? == 0 {
                return Err(misbehaved("the connection was closed"));
            }
        };
        if response.len() > length {
            return Err(misbehaved("octets follow before the handshake"));
        }
        let envelope = Envelope::parse(&response).map_err(|_| misbehaved("a malformed message"))?;
        if envelope.message_id != START_TLS_ID || envelope.op_tag != op::EXTENDED_RESPONSE {
            return Err(misbehaved("another message"));
        }
        let code = LdapResult::parse(envelope.op_content).map_err(|_| misbehaved("a malformed result"))?.code;
        if code == ResultCode::SUCCESS { Ok(()) } else { Err(ConnectError::StartTlsRefused { server: self.name(), code }) }
    }

    async fn bind(&self, connection: &Connection, name: &str, password: &Secret, deadline: Instant) -> Result<(), ConnectError> {
        let lost = |error: &dyn std::fmt::Display| ConnectError::BindLost { server: self.name(), why: error.to_string() };
        let done = bind(connection, name, password, deadline).await.map_err(|error| lost(&error))?;
        if done.code == ResultCode::SUCCESS {
            return Ok(());
        }
        let diagnostic =
            ber::Reader::new(&done.op).element().and_then(|bind| LdapResult::parse(bind.content)).map_or(&[][..], |r| r.diagnostic);
        let diagnostic = String::from_utf8_lossy(diagnostic).chars().filter(|c| !c.is_control()).take(200).collect();
        Err(ConnectError::BindRefused { server: self.name(), code: done.code, diagnostic })
    }

    async fn within<F: Future>(&self, deadline: Instant, step: &'static str, work: F) -> Result<F::Output, ConnectError> {
        let timed_out = |_| ConnectError::TimedOut { server: self.name(), step, timeout: self.timeout };
        timeout_at(deadline, work).await.map_err(timed_out)
    }

    fn tls_error(&self, error: &dyn std::fmt::Display) -> ConnectError {
        ConnectError::Tls { server: self.name(), why: error.to_string() }
    }

    fn name(&self) -> String {
        self.server.url.clone()
    }
}

/// One simple bind on a connection, whatever comes of it (RFC 4511 section 4.2). Dropping the future ends the connection.
///
/// # Errors
/// When no response comes.
pub(crate) async fn bind(
    connection: &Connection,
    name: &str,
    password: &Secret,
    deadline: Instant,
) -> Result<Done, crate::directory::DirectoryError> {
    let request = Outgoing { op: Payload::Secret(bind_op(name, password)), controls: None };
    let mut in_flight = connection.begin(request, deadline).await?;
    match in_flight.next().await {
        Some(Ok(Reply::Done(done))) => Ok(done),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Err(crate::directory::DirectoryError::Misbehaved("no BindResponse")),
    }
}

/// A BindRequest with a password, made in one piece so that no copy stays behind.
fn bind_op(name: &str, password: &Secret) -> Zeroizing<Vec<u8>> {
    let at_most = name.len() + password.expose().len() + 32;
    let mut content = Zeroizing::new(Vec::with_capacity(at_most));
    ber::write_integer(&mut content, ber::tag::INTEGER, 3);
    ber::write_element(&mut content, ber::tag::OCTET_STRING, name.as_bytes());
    ber::write_element(&mut content, SIMPLE, password.expose());
    let mut request = Zeroizing::new(Vec::with_capacity(at_most));
    ber::write_element(&mut request, op::BIND_REQUEST, &content);
    request
}

/// An ExtendedRequest without a value (RFC 4511 section 4.12).
pub(crate) fn extended_op(name: &str) -> Vec<u8> {
    let mut request = Vec::new();
    ber::write_constructed(&mut request, op::EXTENDED_REQUEST, |out| ber::write_element(out, REQUEST_NAME, name.as_bytes()));
    request
}

/// Small requests leave at once, and a controller that vanished is noticed though nothing is sent. A system that lacks an option goes
/// without it.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3));
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

/// `simple [0] OCTET STRING`.
const SIMPLE: u8 = 0x80;
/// `requestName [0] LDAPOID`.
const REQUEST_NAME: u8 = 0x80;
/// The first message of a connection, and the last before TLS.
const START_TLS_ID: MessageId = MessageId::new(1).expect("1 is in range");
/// An ExtendedResponse with a diagnostic and a few referrals.
const START_TLS_RESPONSE_AT_MOST: usize = 4096;
/// Idle time before the system asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Octets unacknowledged for so long end the connection; above the usual loss recovery, below the idle limits of firewalls.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::lifecycle;
    use futures_util::future::BoxFuture;
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use tokio::net::TcpListener;

    /// What a name stands for, from one look-up to the next.
    #[derive(Debug)]
    struct Moves(Mutex<Vec<Vec<SocketAddr>>>);

    impl Names for Moves {
        fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Services, String>> {
            Box::pin(async { Ok(Services::default()) })
        }

        fn addresses<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>> {
            let addresses = self.0.lock().unwrap().remove(0);
            Box::pin(async { Ok(addresses) })
        }
    }

    #[tokio::test]
    async fn a_server_is_looked_up_for_each_connection_and_its_addresses_are_tried_in_turn() {
        let [first, second, gone] =
            [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("[::1]:0").await]
                .map(Result::unwrap);
        let [at_first, at_second, nowhere] = [&first, &second, &gone].map(|listener| listener.local_addr().unwrap());
        drop(gone);
        let (_ending, lifecycle) = lifecycle();
        let connector = Connector {
            server: Server {
                url: "ldap://dc1.corp.example".to_owned(),
                host: "dc1.corp.example".to_owned(),
                port: 389,
                security: UpstreamSecurity::Plain,
                priority: 1,
                weight: 1,
            },
            tls: client_config(None).unwrap(),
            names: Arc::new(Moves(Mutex::new(vec![vec![nowhere, at_first], vec![at_second], vec![]]))),
            timeout: Duration::from_secs(10),
            lifecycle,
            dial: None,
            metrics: None,
        };
        let settings = Settings {
            frame_limit: 1 << 20,
            idle: Duration::from_secs(300),
            max_age: None,
            backlog: 1 << 20,
            stall: Duration::from_secs(10),
            fast_bind: false,
        };
        let stays = connector.connect(None, settings, ()).await.unwrap();
        first.accept().await.unwrap();
        let _moved = connector.connect(None, settings, ()).await.unwrap();
        second.accept().await.unwrap();
        assert!(stays.is_open(), "a connection that stands is left alone");
        let error = connector.connect(None, settings, ()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
    }
}
