//! One message taken apart.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| redial_fuzz::checks::wire::envelope(octets));
