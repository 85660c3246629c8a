//! See `entries/liar.rs`.
#![no_main]

#[allow(dead_code, reason = "it is a target of its own")]
#[path = "../entries/body.rs"]
mod body;
#[allow(dead_code, reason = "it is a target of its own")]
#[path = "../entries/knock.rs"]
mod knock;
#[path = "../entries/liar.rs"]
mod liar;
#[allow(dead_code, reason = "it is a target of its own")]
#[path = "../entries/packet.rs"]
mod packet;

libfuzzer_sys::fuzz_target!(|data: &[u8]| liar::run(data));
