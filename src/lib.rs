//! Redial (skeleton).

pub mod admin;
pub mod cli;
pub mod access;
pub mod cache;
pub mod config;
pub mod directory;
pub mod identity;
pub mod ldap;
pub mod lifecycle;
pub mod metrics;
pub mod outcome;
pub mod pipeline;
pub mod rootdse;
pub mod secret;
pub mod session;
pub mod telemetry;
