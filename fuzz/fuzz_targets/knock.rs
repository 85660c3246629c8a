//! See `entries/knock.rs`.
#![no_main]

#[allow(dead_code, reason = "it is a target of its own")]
#[path = "../entries/body.rs"]
mod body;
#[path = "../entries/knock.rs"]
mod knock;
#[allow(dead_code, reason = "it is a target of its own")]
#[path = "../entries/packet.rs"]
mod packet;

libfuzzer_sys::fuzz_target!(|data: &[u8]| knock::run(data));
