//! What decoding takes in memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| redial_fuzz::checks::memory::of_decoding(octets));
