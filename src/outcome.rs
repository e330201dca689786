//! The one record of an operation: what was asked, how it was served, what came of it. Metrics and logs are made from it and nothing else.
//!
//! The [`Outcome`] is of numbers and kinds; the [`Subject`] has the names, which only logs may show.

use crate::ldap::message::{ResultCode, WriteKind};
use std::net::SocketAddr;
use std::time::Duration;

/// The operations that are told apart in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// RFC 4511 section 4.2.
    Bind,
    /// Section 4.5.
    Search,
    /// Section 4.10.
    Compare,
    /// Section 4.6.
    Modify,
    /// Section 4.7.
    Add,
    /// Section 4.8.
    Delete,
    /// Section 4.9.
    ModifyDn,
    /// Section 4.12.
    Extended,
}

impl OperationKind {
    /// All of them, for making metric handles once.
    pub const ALL: [Self; 8] =
        [Self::Bind, Self::Search, Self::Compare, Self::Modify, Self::Add, Self::Delete, Self::ModifyDn, Self::Extended];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Search => "search",
            Self::Compare => "compare",
            Self::Modify => "modify",
            Self::Add => "add",
            Self::Delete => "delete",
            Self::ModifyDn => "modify_dn",
            Self::Extended => "extended",
        }
    }

    /// It may change something in a directory: of the extended operations only Password Modify comes as far as a record.
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Modify | Self::Add | Self::Delete | Self::ModifyDn | Self::Extended)
    }
}

impl From<WriteKind> for OperationKind {
    fn from(kind: WriteKind) -> Self {
        match kind {
            WriteKind::Modify => Self::Modify,
            WriteKind::Add => Self::Add,
            WriteKind::Delete => Self::Delete,
            WriteKind::ModifyDn => Self::ModifyDn,
        }
    }
}

/// Where the answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Served {
    /// From the cache, fresh.
    Hit,
    /// From the cache, past its time, since the directory failed or dawdled.
    Stale,
    /// From the directory, asked for somebody else who wanted the same.
    Coalesced,
    /// From the directory.
    Miss,
    /// From the directory, of a kind that is not cached.
    Forwarded,
    /// By Redial itself: rootDSE, WhoAmI, local accounts.
    Local,
    /// Refused by Redial.
    Refused,
    /// The directory gave no answer.
    Failed,
    /// The client abandoned it or went away.
    Abandoned,
}

impl Served {
    /// All of them, for making metric handles once.
    pub const ALL: [Self; 9] =
        [Self::Hit, Self::Stale, Self::Coalesced, Self::Miss, Self::Forwarded, Self::Local, Self::Refused, Self::Failed, Self::Abandoned];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Coalesced => "coalesced",
            Self::Miss => "miss",
            Self::Forwarded => "forwarded",
            Self::Local => "local",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// One operation, finished.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// What was asked.
    pub kind: OperationKind,
    /// Where the answer came from.
    pub served: Served,
    /// What the client was told.
    pub code: ResultCode,
    /// Entries in the answer.
    pub entries: u32,
    /// From the request's last octet read to the answer's last octet handed to the connection.
    pub took: Duration,
}

/// Whom and what an operation was about: for the logs, never for a metric. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// From where.
    pub peer: SocketAddr,
    /// The index of the listener in the configuration.
    pub listener: usize,
    /// The name that the client sent in its Bind; empty: nobody.
    pub principal: String,
    /// The DN of the entry, or the base of the search.
    pub target: Option<String>,
    /// Of a search.
    pub filter: Option<String>,
}
