//! A phonebook.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| redial_fuzz::checks::files::ldif(octets));
