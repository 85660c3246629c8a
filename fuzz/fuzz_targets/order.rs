//! See `entries/order.rs`.
#![no_main]

#[path = "../entries/order.rs"]
mod order;

libfuzzer_sys::fuzz_target!(|data: &[u8]| order::run(data));
