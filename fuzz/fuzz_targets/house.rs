//! See `entries/house.rs`.
#![no_main]

#[allow(dead_code, reason = "tests look at more of it")]
#[path = "../entries/house.rs"]
mod house;

libfuzzer_sys::fuzz_target!(|data: &[u8]| house::run(data));
