//! The PROXY protocol's header.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| redial_fuzz::checks::wire::proxy_header(octets));
