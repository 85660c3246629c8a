//! See `entries/src/hostile_engine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postern_fuzz_entries::hostile_engine::run(data));
