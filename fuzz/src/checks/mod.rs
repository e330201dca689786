//! What is true of any octets whatsoever. Shared by the fuzz targets, the replay of their corpus and the properties, which pull
//! this file in by its path.

pub mod controller;
pub mod files;
pub mod memory;
pub mod sequence;
pub mod wire;

/// A check, by the name of its corpus.
pub type Check = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Check; 12] = [
    ("frame", wire::frame),
    ("envelope", wire::envelope),
    ("request", wire::request),
    ("filter", wire::filter),
    ("filter_text", wire::filter_text),
    ("dn", wire::dn),
    ("proxy_header", wire::proxy_header),
    ("memory", memory::of_decoding),
    ("session", sequence::session),
    ("controller", controller::replies),
    ("ldif", files::ldif),
    ("configuration", files::configuration),
];

/// Those that look at octets and at nothing else.
pub const OF_OCTETS: &[Check] = ALL.split_at(8).0;
