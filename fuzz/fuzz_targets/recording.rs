//! See `entries/src/recording`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postern_fuzz_entries::recording::run(data));
