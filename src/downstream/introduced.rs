//! Connections that a trusted proxy introduces: its header says who has really connected (see `proxy_header`).
//!
//! Read in the connection's own task, before TLS, and within the time that a client has for its first message. Only where the connection comes
//! from an address of `proxy_protocol` is a header looked for, and there it must be; from anywhere else a header is no valid message
//! of LDAP or TLS, and is refused as such.

use super::proxy_header::{Decoded, HeaderError, Source, decode};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Why nobody was introduced.
#[derive(Debug, Error)]
pub(super) enum IntroductionError {
    /// What came is no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Nothing came, or not all of it.
    #[error("no whole PROXY header within {0:?}")]
    TimedOut(Duration),
    /// The proxy hung up: many look at a port so, to see whether it is open.
    #[error("closed before a whole PROXY header had come")]
    Lost(#[source] Option<io::Error>),
}

/// Reads the header, and not an octet more: who has connected.
pub(super) async fn introduction<S: AsyncRead + Unpin>(
    stream: &mut S,
    proxy: SocketAddr,
    patience: Duration,
) -> Result<SocketAddr, IntroductionError> {
    let mut header = Vec::new();
    let read = async {
        loop {
            match decode(&header)? {
                Decoded::Whole(_, Source::Peer) => return Ok(proxy),
                Decoded::Whole(_, Source::Client(client)) => return Ok(client),
                Decoded::Needs(more) => {
                    let missing = u64::try_from(more).unwrap_or(u64::MAX);
                    match (&mut *stream).take(missing).read_buf(&mut header).await {
                        Ok(0) => return Err(IntroductionError::Lost(None)),
                        Ok(_) => {}
                        Err(error) => return Err(IntroductionError::Lost(Some(error))),
                    }
                }
            }
        }
    };
    timeout(patience, read).await.unwrap_or(Err(IntroductionError::TimedOut(patience)))
}
