//! See `penpal_fuzz::invite`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penpal_fuzz::invite::check(data));
