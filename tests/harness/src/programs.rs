//! Where programs are, and what they printed.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;

/// The path of the built `postern`.
pub fn postern() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| built("postern"));
    &PATH
}

/// The path of the built `posternd`.
pub fn posternd() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| built("posternd"));
    &PATH
}

/// Cargo puts a test program into `deps`, one folder below the programs that it builds for it.
fn built(program: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    folder.join(program).display().to_string()
}

/// The folder of the repository.
pub fn repository() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .canonicalize()
            .unwrap()
    });
    &PATH
}

/// The path of an installed program, also where only root's path has it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders.find_map(|folder| Some(Path::new(folder).join(program)).filter(|path| path.is_file()))
}

/// What a program wrote to standard output.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
