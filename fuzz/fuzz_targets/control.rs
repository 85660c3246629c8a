//! See `entries/control.rs`.
#![no_main]

#[path = "../entries/control.rs"]
mod control;

libfuzzer_sys::fuzz_target!(|data: &[u8]| control::run(data));
