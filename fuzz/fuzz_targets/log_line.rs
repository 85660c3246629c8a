//! See `entries/src/log_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postern_fuzz_entries::log_line::run(data));
