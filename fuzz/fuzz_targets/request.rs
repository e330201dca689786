//! One message, understood.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| redial_fuzz::checks::wire::request(octets));
