//! See `penpal_fuzz::rows`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::rows::check(data));
