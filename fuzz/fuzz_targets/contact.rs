//! See `penpal_fuzz::contact`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::contact::check(data));
