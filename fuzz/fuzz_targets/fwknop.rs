//! See `entries/src/fwknop`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postern_fuzz_entries::fwknop::run(data));
