//! See `entries/frame.rs`.
#![no_main]

#[path = "../entries/frame.rs"]
mod frame;

libfuzzer_sys::fuzz_target!(|data: &[u8]| frame::run(data));
