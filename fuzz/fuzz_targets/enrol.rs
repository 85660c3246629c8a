//! See `entries/src/enrol`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postern_fuzz_entries::enrol::run(data));
