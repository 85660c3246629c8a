//! See `entries/enrol.rs`.
#![no_main]

#[path = "../entries/enrol.rs"]
mod enrol;

libfuzzer_sys::fuzz_target!(|data: &[u8]| enrol::run(data));
