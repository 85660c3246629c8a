//! The one place that runs programs.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// How a role of this program is connected.
#[derive(Debug)]
pub struct Wiring<'a> {
    /// Its standard input.
    pub stdin: Stdio,
    /// Its standard output.
    pub stdout: Stdio,
    /// Its standard error.
    pub stderr: Stdio,
    /// All of its environment beside `PATH` and `LC_ALL`.
    pub env: &'a [(&'a str, String)],
}

/// Starts this very program again in another role: the running image itself, whatever lies at its path by now, in a
/// process group of its own.
///
/// # Errors
/// What the kernel said.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn start_again(arguments: &[&OsStr], wiring: Wiring<'_>) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", PATH)
        .envs(wiring.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(wiring.stdin)
        .stdout(wiring.stdout)
        .stderr(wiring.stderr)
        .process_group(0)
        .spawn()
}
