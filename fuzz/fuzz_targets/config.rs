//! See `penpal_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::config::check(data));
