//! Redial (skeleton).

pub mod cli;
pub mod config;
pub mod directory;
pub mod identity;
pub mod ldap;
pub mod lifecycle;
pub mod metrics;
pub mod outcome;
pub mod pipeline;
pub mod secret;
pub mod session;
