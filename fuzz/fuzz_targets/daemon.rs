//! See `entries/src/daemon`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postern_fuzz_entries::daemon::run(data));
