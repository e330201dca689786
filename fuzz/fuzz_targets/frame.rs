//! Whole messages out of a stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| redial_fuzz::checks::wire::frame(octets));
