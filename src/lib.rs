//! Redial (skeleton).

pub mod access;
pub mod admin;
pub mod cache;
pub mod cli;
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
