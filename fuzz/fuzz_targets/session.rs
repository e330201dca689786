//! A session and any sequence of what happens to it.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| redial_fuzz::checks::sequence::session(octets));
