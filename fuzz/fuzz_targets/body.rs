//! See `entries/body.rs`.
#![no_main]

#[path = "../entries/body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
