//! See `entries/daemon.rs`.
#![no_main]

#[allow(dead_code, reason = "tests look at more of it")]
#[path = "../entries/daemon.rs"]
mod daemon;

libfuzzer_sys::fuzz_target!(|data: &[u8]| daemon::run(data));
