//! A controller that answers anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| redial_fuzz::checks::controller::replies(octets));
