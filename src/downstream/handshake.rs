//! TLS handshakes with phones: each in its connection's task, under a deadline, and few of them computed at once.
//!
//! A handshake costs up to half a millisecond of a core, nearly all of it when the ClientHello has arrived. That piece of work waits for a
//! permit, of which there are fewer than cores, and a permit is passed on only after everybody else who is ready had a turn. So thousands of
//! phones after a power cut stand in line here instead of in front of phones already connected. Until its turn nothing is done for a phone but
//! one read, since the ClientHellos of all of them may come at the same moment. Nobody holds a permit while the network is waited for, so
//! silent and dawdling peers hinder no one; and the time in line is not the peer's, so it does not count against its deadline.

use super::client_hello::{HANDSHAKE_RECORD, Opening};
use super::tls::Tls;
use bytes::{Buf, Bytes};
use rustls::HandshakeKind;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The rules of a listener's handshakes.
#[derive(Debug)]
pub(super) struct Handshakes {
    permits: Semaphore,
    timeout: Duration,
}

/// A handshake that has succeeded.
pub(super) struct Shaken<S> {
    /// In a box: it is large, and would otherwise stand several times in the future of whoever awaits it.
    pub(super) stream: Box<TlsStream<Replay<S>>>,
    /// Did it resume a session?
    pub(super) kind: HandshakeKind,
    /// The name that the client's certificate proves, if it showed one and the listener looks.
    pub(super) client_name: Option<String>,
}

/// A handshake that failed: what the peer opened with, and what went wrong.
#[derive(Debug, Error)]
#[error("{why}; the peer offered {opening}")]
pub(super) struct HandshakeError {
    /// What came of the peer.
    pub(super) opening: Opening,
    /// What went wrong.
    pub(super) why: Failure,
}

/// What went wrong in a handshake.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The deadline.
    #[error("the TLS handshake took too long")]
    TimedOut,
    /// The first octet begins no TLS.
    #[error("not a TLS handshake")]
    NotTls,
    /// The peer went away.
    #[error("the peer left during the TLS handshake: {0}")]
    Lost(io::Error),
    /// The two have nothing in common, or the peer misbehaved.
    #[error("TLS handshake failed: {0}")]
    Refused(io::Error),
}

impl Handshakes {
    /// At most `at_once` are computed at the same time, and one core is left for everybody else where there are several. A peer has `timeout`
    /// for its ClientHello, and as much for the rest.
    pub(super) fn new(at_once: usize, timeout: Duration) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { permits: Semaphore::new(at_once.min(cores - 1).max(1)), timeout }
    }

    /// Carries out a handshake.
    ///
    /// Not cancel safe.
    pub(super) async fn accept<S>(&self, tls: &Tls, mut stream: S) -> Result<Shaken<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut hello = Vec::new();
        let accepted = async {
            self.in_time(read_first_record(&mut stream, &mut hello)).await?;
            // Closed never: the semaphore lives as long as this. The line is as long as there are connections, and moves.
            let permit = self.permits.acquire().await.ok();
            let read = Bytes::copy_from_slice(&hello);
            self.in_time(compute(tls, Replay { read, stream, is_used: true }, permit)).await
        };
        accepted.await.map_err(|why| HandshakeError { opening: Opening::of(&hello), why })
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        timeout(self.timeout, work).await.unwrap_or(Err(Failure::TimedOut))
    }
}

async fn compute<S>(tls: &Tls, stream: Replay<S>, permit: Option<SemaphorePermit<'_>>) -> Result<Shaken<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let in_force = tls.current();
    let mut handshake = pin!(TlsAcceptor::from(Arc::clone(&in_force.config)).accept(stream));
    let answered = std::future::poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
    // The runtime looks for octets that have come, and runs whoever got some, before this goes on.
    yield_now().await;
    drop(permit);
    let finished = match answered {
        Poll::Ready(finished) => finished,
        Poll::Pending => handshake.await,
    };
    let stream = Box::new(finished.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Failure::Refused(error),
        _ => Failure::Lost(error),
    })?);
    let session = stream.get_ref().1;
    let kind = session.handshake_kind().unwrap_or(HandshakeKind::Full);
    let certificates = session.peer_certificates().unwrap_or_default();
    if kind == HandshakeKind::Resumed {
        in_force.verify_client(certificates).map_err(|error| Failure::Refused(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    }
    let client_name = certificates.first().and_then(|certificate| tls.client_name(certificate));
    Ok(Shaken { stream, kind, client_name })
}

/// Reads until one TLS record is whole, which nearly always holds the whole ClientHello and is all there is: mostly one read.
async fn read_first_record<S: AsyncRead + Unpin>(stream: &mut S, octets: &mut Vec<u8>) -> Result<(), Failure> {
    octets.reserve(USUAL_HELLO);
    loop {
        let wanted = match *octets.as_slice() {
            [first, ..] if first != HANDSHAKE_RECORD => return Err(Failure::NotTls),
            [_, _, _, high, low, ..] => RECORD_HEADER + usize::from(u16::from_be_bytes([high, low])),
            _ => RECORD_HEADER,
        };
        if wanted > LARGEST_RECORD {
            return Err(Failure::NotTls);
        }
        if octets.len() >= wanted {
            return Ok(());
        }
        octets.reserve(wanted - octets.len());
        match stream.read_buf(octets).await {
            Ok(0) => return Err(Failure::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) => return Err(Failure::Lost(error)),
        }
    }
}

/// What stands below TLS: a stream of which the first octets have been read already. They come first.
///
/// rustls decrypts where it has read, and keeps that buffer for the next record. A connection that has sent its password and rests would so
/// keep it in memory; but the buffer comes here for each read, and is wiped when there is nothing to read.
#[derive(Debug)]
pub(super) struct Replay<S> {
    read: Bytes,
    stream: S,
    /// The buffer has been read into since it was wiped.
    is_used: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
            if polled.is_pending() && self.is_used {
                buf.initialize_unfilled().fill(0);
            }
            self.is_used = polled.is_ready();
            return polled;
        }
        let length = self.read.len().min(buf.remaining());
        buf.put_slice(self.read.get(..length).unwrap_or_default());
        self.read.advance(length);
        if self.read.is_empty() {
            // The memory goes back now, not with the connection.
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A ClientHello with key shares of all kinds.
const USUAL_HELLO: usize = 2048;
/// Content type, version, length.
const RECORD_HEADER: usize = 5;
/// RFC 8446 section 5.1: a plaintext record holds at most 2^14 octets.
const LARGEST_RECORD: usize = RECORD_HEADER + (1 << 14);

#[cfg(test)]
mod tests {
    use super::super::tls::tests::{Files, pair};
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::duplex;
    use tokio::time::sleep;
    use tokio_rustls::TlsConnector;

    #[tokio::test(start_paused = true)]
    async fn time_in_line_does_not_count_against_a_peer() {
        let (files, (certificate, key)) = (Files::new("line"), pair());
        let tls = Tls::load(&files.listener_tls(&certificate, &key)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
        let phone = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let (near, far) = duplex(4096);

        let handshakes = Handshakes::new(1, Duration::from_secs(10));
        let others = handshakes.permits.acquire().await.unwrap();
        let before_it = async {
            sleep(Duration::from_secs(25)).await;
            drop(others);
        };
        let name = ServerName::try_from("phonebook.example").unwrap();
        let (accepted, connected, ()) =
            tokio::join!(handshakes.accept(&tls, far), TlsConnector::from(Arc::new(phone)).connect(name, near), before_it);
        assert_eq!(accepted.map_err(|error| error.to_string()).unwrap().kind, HandshakeKind::Full);
        connected.unwrap();
    }
}
