//! See `penpal_fuzz::keyfile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::keyfile::check(data));
