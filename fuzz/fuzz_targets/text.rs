//! See `penpal_fuzz::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::text::check(data));
