//! TLS handshakes with phones: each in its connection's task, under a deadline, and few of them computed at once.
//!
//! A handshake costs up to half a millisecond of a core, nearly all of it when the ClientHello has arrived. That piece of work waits for a
//! permit, of which there are fewer than cores, and a permit is passed on only after everybody else who is ready had a turn. So thousands of
//! phones after a power cut stand in line here instead of in front of phones already connected. Nobody holds a permit while the network is
//! waited for, so silent and dawdling peers hinder no one.

use super::client_hello::{HANDSHAKE_RECORD, Opening};
use super::tls::Tls;
use bytes::{Buf, BufMut, Bytes};
use rustls::HandshakeKind;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
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
    /// At most `at_once` are computed at the same time, and one core is left for everybody else where there are several; each is over after
    /// `timeout`.
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
        let accepted = timeout(self.timeout, async {
            read_first_record(&mut stream, &mut hello).await?;
            let read = Bytes::copy_from_slice(&hello);
            self.compute(tls, Replay { read, stream, is_used: true }).await
        })
        .await;
        match accepted {
            Ok(Ok(shaken)) => Ok(shaken),
            Ok(Err(why)) => Err(HandshakeError { opening: Opening::of(&hello), why }),
            Err(_) => Err(HandshakeError { opening: Opening::of(&hello), why: Failure::TimedOut }),
        }
    }

    async fn compute<S>(&self, tls: &Tls, stream: Replay<S>) -> Result<Shaken<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let in_force = tls.current();
        let mut handshake = pin!(TlsAcceptor::from(Arc::clone(&in_force.config)).accept(stream));
        // Closed never: the semaphore lives as long as this.
        let permit = self.permits.acquire().await.ok();
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
}

/// Reads one TLS record, which nearly always holds the whole ClientHello, and not an octet more.
async fn read_first_record<S: AsyncRead + Unpin>(stream: &mut S, record: &mut Vec<u8>) -> Result<(), Failure> {
    loop {
        let wanted = match *record.as_slice() {
            [first, ..] if first != HANDSHAKE_RECORD => return Err(Failure::NotTls),
            [_, _, _, high, low, ..] => RECORD_HEADER + usize::from(u16::from_be_bytes([high, low])),
            _ => RECORD_HEADER,
        };
        if wanted > LARGEST_RECORD {
            return Err(Failure::NotTls);
        }
        let missing = wanted - record.len();
        if missing == 0 {
            return Ok(());
        }
        match stream.read_buf(&mut (&mut *record).limit(missing)).await {
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

/// Content type, version, length.
const RECORD_HEADER: usize = 5;
/// RFC 8446 section 5.1: a plaintext record holds at most 2^14 octets.
const LARGEST_RECORD: usize = RECORD_HEADER + (1 << 14);
