//! Connections from phones: accept, TLS, and the way of octets into a session and out of it.
//!
//! [`Listener`] accepts and gives each connection a task of its own; [`Service`] is what all connections of a listener share, and serves
//! one over any stream, so that tests need no socket. Read next: `connection.rs`.

mod addresses;
mod client_certificate;
mod client_hello;
mod client_stream;
mod connection;
mod handshake;
mod introduced;
mod listener;
mod operations;
pub mod proxy_header;
mod service;
mod tickets;
mod tls;
mod unwritten;
mod when_woken;

pub use client_stream::ClientStream;
pub use listener::{Door, ListenError, Listener, PreparedDoor};
pub use service::Service;
pub use tls::{RenewedTls, Tls, TlsError};
