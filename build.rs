//! Links the unwinder of the C compiler into the programs: the loader then maps one library less at each start.
//! Puts the functions that run beside each other.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| var(variable).is_ok_and(|is| is == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") {
        return;
    }
    // With musl, and in a program without shared libraries, it is in there already.
    if is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
    let script = "dist/functions.ld";
    println!("cargo::rerun-if-changed={script}");
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let reads_scripts = !["gold", "mold"].iter().any(|linker| flags.contains(linker));
    let is_wanted = is("PROFILE", "release") && reads_scripts;
    if let (Ok(folder), true) = (var("CARGO_MANIFEST_DIR"), is_wanted) {
        // One by one: -Wl would divide a folder's name at its commas.
        for argument in ["-T".to_owned(), format!("{folder}/{script}")] {
            println!("cargo::rustc-link-arg-bins=-Xlinker");
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
