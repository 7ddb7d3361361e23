//! See `penpal_fuzz::log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::log::check(data));
