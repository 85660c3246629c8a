//! Every committed fuzz input in `fuzz/seeds` runs through its target's entry.
//!
//! With `POSTERN_CORPUS=1` also what the fuzzers gathered in `fuzz/corpus`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut folders = vec![fuzz.join("seeds").join(target)];
    let gathered = fuzz.join("corpus").join(target);
    if std::env::var_os("POSTERN_CORPUS").is_some() && gathered.exists() {
        folders.push(gathered);
    }
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        let data = fs::read(&path).unwrap();
        let result = std::panic::catch_unwind(|| run(&data));
        assert!(result.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "{target} has no seeds");
}

/// A test for each target, so that a failure names it.
macro_rules! replay {
    ($($target:ident),* $(,)?) => {
        mod invariant_8_no_seed_panics {$(
            #[test]
            fn $target() {
                super::replay(stringify!($target), postern_fuzz_entries::$target::run);
            }
        )*}
    };
}

replay!(
    body,
    config,
    control,
    daemon,
    dropped,
    enrol,
    frame,
    fwknop,
    gate,
    hostile_engine,
    import,
    knock,
    log_line,
    order,
    packet,
    publication,
    recording,
    roster,
    sequence,
    stun,
);
