//! See `penpal_fuzz::hook`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::hook::check(data));
