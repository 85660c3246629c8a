//! See `entries/src/sequence`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postern_fuzz_entries::sequence::run(data));
