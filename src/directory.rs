//! The one trait of the house: a directory answers operations.
//!
//! Behind it stand controllers ([`crate::upstream`]) or a phonebook in memory ([`crate::book`]); tests put a scripted one there. What goes in
//! is an [`Operation`] that an access has already allowed and narrowed. What comes out is a stream of [`Reply`]s that ends in one
//! [`Reply::Done`]. Dropping the stream abandons the operation (RFC 4511 section 4.11). References never come out of it.

mod controllers;

pub use controllers::{Controller, NotMoved, Rotation};

use crate::config::Group;
use crate::identity::{Credentials, Who};
use crate::ldap::envelope::op;
use crate::ldap::message::{ResultCode, WriteKind};
use crate::secret::Secret;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Answers the operations below one naming context.
pub trait Directory: std::fmt::Debug + Send + Sync + 'static {
    /// Carries out one operation. The future resolves when the operation has been handed to whoever answers it; replies follow.
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>>;

    /// Could an operation be answered now? For readiness, and for the metrics.
    fn is_available(&self) -> bool;

    /// How many searches so far went to a server that may lack a write which another one has acknowledged, since that one is away. An answer
    /// during which the number moved may be given, and is not to be kept.
    fn answers_behind(&self) -> u64 {
        0
    }

    /// The controllers behind it, in no order; a phonebook in memory has none.
    fn controllers(&self) -> Vec<Controller> {
        Vec::new()
    }

    /// An administrator takes the controller with that URL out of rotation, or back.
    ///
    /// # Errors
    /// When it stays where it is.
    fn rotate(&self, _server: &str, _rotation: Rotation) -> Result<(), NotMoved> {
        Err(NotMoved::Unknown)
    }
}

/// One operation, allowed and narrowed.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Under whose name it runs.
    pub run_as: RunAs,
    /// What is asked.
    pub request: Asked,
    /// The contents of the controls element that travels along: only controls that the pipeline let through.
    pub controls: Option<Bytes>,
    /// No reply is wanted after this.
    pub deadline: Instant,
}

/// Under whose name an operation runs.
#[derive(Debug, Clone)]
pub enum RunAs {
    /// The configured service account.
    Service,
    /// A connection that is bound as this client.
    Client(Arc<Credentials>),
}

/// What is asked of a directory.
#[derive(Clone)]
pub enum Asked {
    /// Is this the password of that name? Leaves no identity behind on anything shared. One attempt, on one server. Where it is, and the
    /// server can say whose name that is, a [`Reply::Who`] comes before the end.
    Bind {
        /// The name as the client sent it.
        name: String,
        /// The password; never empty.
        password: Secret,
        /// Where it is right: in which of these groups is that principal?
        groups: Arc<Groups>,
    },
    /// In which of these groups is a principal who has bound some time ago? Asked under the service account's name. A [`Reply::Who`] comes
    /// before the end where the directory knows.
    Membership {
        /// [`Who::canonical`].
        of: String,
        /// The groups.
        groups: Arc<Groups>,
    },
    /// A search.
    Search {
        /// The protocolOp to send: as received, or rebuilt where an access narrowed it.
        op: Bytes,
        /// The most entries wanted, the client's and the access's limits taken together; `None`: all there are. A directory may send
        /// more; the pipeline cuts.
        entries_wanted: Option<u32>,
    },
    /// A compare.
    Compare {
        /// The protocolOp as received.
        op: Bytes,
        /// The entry.
        entry: String,
        /// The attribute description.
        attribute: String,
        /// The assertion value.
        value: Vec<u8>,
    },
    /// A write: sent once, never retried.
    Write {
        /// The protocolOp as received.
        op: Bytes,
        /// Which one.
        kind: WriteKind,
    },
    /// An extended operation that is passed on (Password Modify): sent once, never retried.
    Extended {
        /// The protocolOp as received.
        op: Bytes,
    },
}

/// Groups of which somebody wants to know who is in them.
#[derive(Debug, Default)]
pub struct Groups {
    /// Below this DN, as written, lie these groups, and those by way of which somebody may be in them.
    pub base: String,
    /// The groups themselves.
    pub groups: Vec<Group>,
}

impl Asked {
    /// Sending it twice changes nothing: a search or a compare may be tried on a second server.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Search { .. } | Self::Compare { .. } | Self::Membership { .. })
    }

    /// The tag of its protocolOp.
    pub fn tag(&self) -> u8 {
        match self {
            Self::Bind { .. } => op::BIND_REQUEST,
            Self::Membership { .. } => op::SEARCH_REQUEST,
            Self::Search { op, .. } | Self::Compare { op, .. } | Self::Write { op, .. } | Self::Extended { op } => {
                op.first().copied().unwrap_or_default()
            }
        }
    }

    /// It may change something.
    pub const fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Extended { .. })
    }
}

impl std::fmt::Debug for Asked {
    /// The kind alone: values may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bind { .. } => "Bind",
            Self::Membership { .. } => "Membership",
            Self::Search { .. } => "Search",
            Self::Compare { .. } => "Compare",
            Self::Write { .. } => "Write",
            Self::Extended { .. } => "Extended",
        })
    }
}

/// One step of an answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A SearchResultEntry protocolOp, tag and length included, as it came.
    Entry(Bytes),
    /// An IntermediateResponse protocolOp that belongs to this operation.
    Intermediate(Bytes),
    /// Whose name it was that a bind has proved.
    Who(Who),
    /// The server was lost, and the entries so far are void: they come again, from another server, to a reader that asks on. One that
    /// has passed them on stops here; nothing has been asked yet.
    Again,
    /// The end.
    Done(Done),
}

/// The response that ends an operation.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its resultCode.
    pub code: ResultCode,
    /// The protocolOp (SearchResultDone, BindResponse, ModifyResponse ...), tag and length included, as it came.
    pub op: Bytes,
    /// The contents of the response's controls element that the client may see (pre-read, post-read, password policy).
    pub controls: Option<Bytes>,
}

impl Done {
    /// As the end of a write: something may have changed. A server that reports a failure of its own may have got half-way.
    pub const fn may_have_changed(&self) -> bool {
        matches!(
            self.code,
            ResultCode::SUCCESS
                | ResultCode::OPERATIONS_ERROR
                | ResultCode::TIME_LIMIT_EXCEEDED
                | ResultCode::UNAVAILABLE
                | ResultCode::OTHER
        )
    }
}

/// The replies to one operation, in order; the last is [`Reply::Done`] or an error.
pub enum Replies {
    /// They were all there at once.
    Ready(std::vec::IntoIter<Reply>),
    /// They arrive from a connection; bounded, so a slow reader slows the connection.
    Arriving(mpsc::Receiver<Result<Reply, DirectoryError>>),
    /// They are made as they are read; the stream is fused.
    Streamed(BoxStream<'static, Result<Reply, DirectoryError>>),
}

impl std::fmt::Debug for Replies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready",
            Self::Arriving(_) => "Arriving",
            Self::Streamed(_) => "Streamed",
        })
    }
}

impl Replies {
    /// The next reply. `None` only after [`Reply::Done`]; a stream that breaks off earlier yields an error first.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Reply, DirectoryError>> {
        match self {
            Self::Ready(replies) => replies.next().map(Ok),
            Self::Arriving(replies) => replies.recv().await,
            Self::Streamed(replies) => replies.next().await,
        }
    }
}

/// Why a directory gives no answer. What it answers, good or bad, is a [`Done`]; this is for when it does not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DirectoryError {
    /// No server can be reached, or all are out of rotation.
    #[error("no server of the directory is available")]
    Unavailable,
    /// The connection was lost before an answer came. For a write the outcome is unknown.
    #[error("the connection to the directory was lost before it answered")]
    ConnectionLost {
        /// The request's octets had left, so the server may have carried it out.
        sent: bool,
    },
    /// The deadline passed. For a write the outcome is unknown.
    #[error("the directory did not answer in time")]
    TimedOut,
    /// Too many operations wait already.
    #[error("too many operations are waiting for the directory")]
    Busy,
    /// The server broke the protocol, after the request's octets had left. For a write the outcome is unknown.
    #[error("the directory answered nonsense: {0}")]
    Misbehaved(&'static str),
    /// The client's own credentials were refused when a connection was to be bound as the client.
    #[error("the directory no longer accepts these credentials")]
    CredentialsRefused,
    /// This directory does not carry out that kind of operation.
    #[error("this directory does not do that")]
    NotSupported,
}

impl DirectoryError {
    /// The same search may succeed on another server, now.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. } | Self::Misbehaved(_) | Self::Unavailable)
    }

    /// The request's octets had left, or may have: of a write nobody knows whether it was carried out.
    pub const fn leaves_unknown(&self) -> bool {
        matches!(self, Self::ConnectionLost { sent: true } | Self::TimedOut | Self::Misbehaved(_))
    }

    /// An answer that was good some time ago is better than this one.
    pub const fn allows_stale(&self) -> bool {
        !matches!(self, Self::CredentialsRefused | Self::NotSupported)
    }

    /// What the client is told: the only place where these errors become result codes.
    pub const fn result_code(&self) -> ResultCode {
        match self {
            Self::Unavailable | Self::ConnectionLost { .. } | Self::Misbehaved(_) | Self::TimedOut => ResultCode::UNAVAILABLE,
            Self::Busy => ResultCode::BUSY,
            Self::CredentialsRefused => ResultCode::INVALID_CREDENTIALS,
            Self::NotSupported => ResultCode::UNWILLING_TO_PERFORM,
        }
    }
}
