//! Redial and an echo server of the same octet counts, side by side: what both are asked, both servers, and who asks them.
#![allow(clippy::allow_attributes, dead_code, reason = "two benches use it, each its part")]

pub(crate) mod load;
pub(crate) mod server;
pub(crate) mod workload;
