//! A client's TCP stream, written to without asking the runtime for leave first.
//!
//! The socket of a phone that has just asked takes the answer at once. [`TcpStream`] as a stream makes ready to wait all the same, and counts
//! the write against what a task may do in one turn; that costs more than the write's own code. A connection limits its turns itself, and what
//! it reads still counts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// See the module.
#[derive(Debug)]
pub struct ClientStream(TcpStream);

impl From<TcpStream> for ClientStream {
    fn from(stream: TcpStream) -> Self {
        Self(stream)
    }
}

/// Done at once; or, where it would block, as `later` does it.
fn at_once(done: io::Result<usize>, later: impl FnOnce() -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => later(),
        done => Poll::Ready(done),
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        at_once(self.0.try_write(octets), || Pin::new(&mut self.0).poll_write(cx, octets))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        at_once(self.0.try_write_vectored(octets), || Pin::new(&mut self.0).poll_write_vectored(cx, octets))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn what_a_socket_does_not_take_at_once_it_takes_later() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (theirs, ours) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut theirs, mut ours) = (theirs.unwrap(), ClientStream::from(ours.unwrap().0));
        let said: Vec<u8> = (0..MORE_THAN_SOCKETS_HOLD).map(|number| number.to_le_bytes()[2]).collect();
        let echo = async {
            let mut heard = vec![0; said.len()];
            theirs.read_exact(&mut heard).await.unwrap();
            theirs.write_all(&heard).await.unwrap();
            drop(theirs);
        };
        let mut heard = Vec::new();
        let ((), ()) = tokio::join!(echo, async {
            ours.write_all(&said).await.unwrap();
            ours.read_to_end(&mut heard).await.unwrap();
        });
        assert!(heard == said);
    }

    const MORE_THAN_SOCKETS_HOLD: u32 = 32 << 20;
}
