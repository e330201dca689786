//! Octets that a slow peer has not taken yet. Empty, and without memory, on nearly every connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// A tail of output.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    octets: Vec<u8>,
    written: usize,
}

impl Unwritten {
    /// How many octets wait.
    pub(super) const fn len(&self) -> usize {
        self.octets.len() - self.written
    }

    /// None wait.
    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `octets` behind what waits.
    pub(super) fn push(&mut self, octets: &[u8]) {
        // What has gone is cut off when it is the larger part, so that each octet is moved at most about once.
        if self.written > self.len() {
            self.octets.drain(..self.written);
            self.written = 0;
        }
        self.octets.extend_from_slice(octets);
    }

    /// Writes until all is gone or the peer takes no more; `true` when any went. Memory is given back at the end.
    ///
    /// # Errors
    /// When the stream is broken.
    pub(super) fn write<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut progressed = false;
        while let Some(waiting) = self.octets.get(self.written..).filter(|waiting| !waiting.is_empty()) {
            match Pin::new(&mut *stream).poll_write(cx, waiting) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    progressed = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(progressed),
            }
        }
        *self = Self::default();
        Ok(progressed)
    }
}

/// Writes `octets` at once as far as the peer takes them; what is left goes behind `unwritten`, which must be empty if order matters.
///
/// # Errors
/// When the stream is broken.
pub(super) fn write_now<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    octets: &[u8],
    unwritten: &mut Unwritten,
) -> io::Result<()> {
    let mut rest = octets;
    while unwritten.is_empty() && !rest.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, rest) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    if !rest.is_empty() {
        unwritten.push(rest);
    }
    Ok(())
}
