//! See `entries/hostile_engine.rs`.
#![no_main]

#[allow(dead_code, reason = "it is a target of its own")]
#[path = "../entries/body.rs"]
mod body;
#[allow(dead_code, reason = "it is a target of its own")]
#[path = "../entries/knock.rs"]
mod knock;
#[path = "../entries/hostile_engine.rs"]
mod hostile_engine;
#[allow(dead_code, reason = "it is a target of its own")]
#[path = "../entries/packet.rs"]
mod packet;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile_engine::run(data));
