//! Redial: an LDAP proxy and cache between SIP phones and their domain controllers.
//!
//! A phone sends a search per key pressed and per call, mostly on a new TLS connection, to controllers that do not index phone numbers. Redial
//! stands between: it ends the TLS, decides who may ask what, answers from memory, and asks a controller only for what it does not know.
//!
//! # The way of a request
//!
//! ```text
//!  phone ══TCP══▶ downstream::listener    may this address connect?                                   [IO]
//!                 downstream::tls         handshake, now or after StartTLS                            [IO]
//!                 downstream::connection  octets in ▼                                ▲ octets out     [IO]
//!                 ldap::frame             whole LDAPMessages ▼                       │                [pure]
//!                 session                 legal now? which operation? ▼              │                [pure]
//!       ┌         access                  allow and narrow ▼     refuse ─────────────┤                [pure]
//!  pipeline       cache                   miss ▼                 hit ────────────────┤                [memory]
//!       └         directory               controllers, or a phonebook in memory ▼    │
//!                 upstream::pool          choose a server, borrow a connection ▼     │                [IO]
//!                 upstream::connection    messageID mapped ══TLS══▶ controller ══▶ replies (▶ cache)  [IO]
//! ```
//!
//! *Downstream* is the phone, *upstream* the controller: in every name, metric, log line and page. *Access* is a rule of the configuration that
//! says who may ask what. *Answer* is the complete reply to a search, kept as octets. *Outcome* is the one record of an operation. A *fill*
//! brings an answer from the directories; a *flight* is one fill for all who ask the same at that moment. A *principal* is a user under all of
//! its names. Everything else is called as in RFC 4511.
//!
//! # Where to read
//!
//! 1. [`pipeline`]: one operation from accepted to answered, in one file; in its folder a file for each kind, `search.rs` first.
//! 2. [`session`]: what a phone may do when; a state machine without I/O.
//! 3. [`access`] and [`cache`]: who sees what, and how an answer is kept for them.
//! 4. [`directory`]: the one trait; behind it [`upstream`] (controllers) and [`book`] (a phonebook in memory).
//! 5. [`downstream`]: sockets, TLS, back-pressure.
//!
//! # What holds everywhere
//!
//! Received octets are what is relayed and kept, under a new messageID, once the whole tree of their lengths and tags was checked. Every
//! wait has a deadline, every queue a bound, every recursion over input a counted depth. Pure rooms know no socket, file, clock or random
//! number; `tests/architecture.rs` sees to it, and that no room uses one above it.

pub mod cli;

pub mod proxy;

mod admin;
pub mod downstream;

pub mod pipeline;

mod audit;
pub mod book;
pub mod pressure;
pub mod upstream;

mod rootdse;

pub mod access;
pub mod cache;
pub mod directory;
pub mod session;

pub mod identity;

pub mod config;
pub mod ldap;

mod certificate;
pub mod lifecycle;
pub mod metrics;
pub mod outcome;
mod patience;
pub mod secret;
pub mod telemetry;
mod turns;
