//! See `penpal_fuzz::pair`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::pair::check(data));
