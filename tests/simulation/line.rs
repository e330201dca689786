//! A network connection in memory that can break as TCP's do: with a reset, after which neither end hears what was still under way.

use futures_util::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// One end of it. Dropped or shut down, it says so in order (a FIN).
#[derive(Debug)]
pub(crate) struct End {
    stream: DuplexStream,
    breaker: Breaker,
    /// Of this end in the breaker.
    reading: usize,
    writing: usize,
}

/// What breaks it, in whoever's hand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_broken: AtomicBool,
    /// Who reads and who writes, at either end.
    waiting: [AtomicWaker; 4],
}

/// Both ends; so many octets may be under way in each direction.
pub(crate) fn line(capacity: usize) -> (End, End) {
    let (near, far) = duplex(capacity);
    let breaker = Breaker::default();
    (End { stream: near, breaker: breaker.clone(), reading: 0, writing: 1 }, End { stream: far, breaker, reading: 2, writing: 3 })
}

impl Breaker {
    /// A reset (RST).
    pub(crate) fn reset(&self) {
        self.0.is_broken.store(true, Ordering::SeqCst);
        self.0.waiting.iter().for_each(AtomicWaker::wake);
    }

    fn check(&self, waiting: usize, cx: &Context<'_>) -> io::Result<()> {
        self.0.waiting[waiting].register(cx.waker());
        if self.0.is_broken.load(Ordering::SeqCst) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl End {
    pub(crate) fn breaker(&self) -> Breaker {
        self.breaker.clone()
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.breaker.check(self.reading, cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.breaker.check(self.writing, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
