//! One operation from accepted to answered. (Interface; the bodies follow.)

use crate::directory::Directory;
use crate::identity::Identity;
use crate::session::{Accepted, ClientMessageId};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Whoever asks: what an access looks at.
#[derive(Debug, Clone)]
pub struct Client {
    /// From where.
    pub peer: SocketAddr,
    /// The index of the listener in the configuration.
    pub listener: usize,
    /// Who.
    pub identity: Identity,
}

/// What the running operations of one connection have to say to it.
#[derive(Debug)]
pub enum Said {
    /// Whole LDAPMessages of that operation, to be written as they are. More follow.
    Part(ClientMessageId, Bytes),
    /// The last of it.
    Finished(ClientMessageId, Bytes),
    /// A bind has ended: who the client is now, and the BindResponse.
    BindFinished(ClientMessageId, Identity, Bytes),
}

/// Where the running operations of one connection speak; bounded in octets, so a slow phone slows its answers.
pub type Outbox = mpsc::Sender<Said>;

/// What became of an operation that was begun.
#[derive(Debug)]
pub enum Begun {
    /// Its whole answer was appended.
    Answered,
    /// It needs time: spawn [`Pipeline::finish`].
    Running(Box<Running>),
}

/// An operation under way; owned, so it outlives the frame.
#[derive(Debug)]
pub struct Running {
    // the owned request, its access, key, ...
}

/// All that an operation meets on its way.
#[derive(Debug)]
pub struct Pipeline {
    directories: Vec<Arc<dyn Directory>>,
}

impl Pipeline {
    /// Begins an operation. What can be answered from memory is appended to `out` at once, without allocation or waiting.
    pub fn begin(&self, client: &Client, accepted: &Accepted<'_>, received_at: Instant, out: &mut Vec<u8>) -> Begun {
        todo!()
    }

    /// Carries an operation to its end, speaking into `outbox`. The last word is [`Said::Finished`] or [`Said::BindFinished`], whatever
    /// happens. Dropping the future abandons the operation.
    pub async fn finish(self: Arc<Self>, client: Client, running: Box<Running>, outbox: Outbox) {
        todo!()
    }
}
