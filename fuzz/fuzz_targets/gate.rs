//! See `entries/gate.rs`.
#![no_main]

#[path = "../entries/gate.rs"]
mod gate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate::run(data));
