//! See `penpal_fuzz::delivery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::delivery::check(data));
