//! See `entries/stun.rs`.
#![no_main]

#[path = "../entries/stun.rs"]
mod stun;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stun::run(data));
