//! How a server is reached: by TCP, unless somebody brings streams of their own.

use super::names::Names;
use crate::config::Server;
use futures_util::future::BoxFuture;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Opens streams to servers; TLS and LDAP come on top. A test brings one whose other end it holds, and keeps the clock to itself.
pub trait Dial: std::fmt::Debug + Send + Sync + 'static {
    /// Opens one stream. It is given up when the connect timeout passes.
    fn dial(&self, server: &Server) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;

    /// Who names the servers; `None`: DNS.
    fn names(&self) -> Option<Arc<dyn Names>> {
        None
    }
}

/// Octets both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
