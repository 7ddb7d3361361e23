//! See `penpal_fuzz::reconnect`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::reconnect::check(data));
