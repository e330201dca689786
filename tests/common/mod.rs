//! What several test programs use; each of them uses its part.
#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "tests fail by panicking, and each of them uses its part of this"
)]

pub(crate) mod addresses;
pub(crate) mod admin;
pub(crate) mod agreement;
pub(crate) mod bench;
pub(crate) mod ca;
pub(crate) mod certificates;
pub(crate) mod configuration;
pub(crate) mod dns;
pub(crate) mod domain;
pub(crate) mod faulty_site;
pub(crate) mod generate;
pub(crate) mod hearing;
pub(crate) mod house;
pub(crate) mod ldap_client;
pub(crate) mod messages;
pub(crate) mod phone;
pub(crate) mod program;
pub(crate) mod replicas;
pub(crate) mod requests;
pub(crate) mod scripted_controller;
pub(crate) mod scripted_directory;
pub(crate) mod site;
