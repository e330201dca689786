//! Redial between real clients and real directories: Samba as an Active Directory domain controller, and OpenLDAP's slapd.
//!
//! `tests/run` installs what this needs. Each server is started once for all tests (see [`bed`]); what is expected is asked of the
//! server itself, without Redial, wherever that can be.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test ends where something is not as expected; the helpers here are tests too"
)]

mod bed;
#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod image;
mod redial;
mod relay;

mod access;
mod binds;
mod clients;
mod discovery;
mod failover;
mod identities;
mod keys;
mod limits;
mod listeners;
mod operations;
mod phones;
mod revocation;
mod sessions;
mod who;
mod writes;
