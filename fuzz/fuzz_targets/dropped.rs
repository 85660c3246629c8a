//! See `entries/src/dropped`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postern_fuzz_entries::dropped::run(data));
