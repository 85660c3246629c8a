//! What the tests stand on: which of them this machine can run, and why not the others.
//!
//! A test that cannot run is ignored, with one line that says why; it is never counted as passed.
#![allow(dead_code, reason = "no tests need all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use nix::sched::{CloneFlags, unshare};

/// What a test may need beside namespaces and the firewall's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// More users than one: root, not a user namespace.
    Users,
    Program(&'static str),
    /// The independent implementation: /usr/bin/python3 with `cryptography`.
    Peer,
    /// /dev/net/tun, and python3 that holds it.
    Tun,
    /// What a file of tests has found out by itself: what, and whether it is there.
    That(&'static str, bool),
    /// A parser of monitoring systems' own: /usr/bin/python3 with `prometheus_client`.
    Parser,
}

/// The machine, as it was found.
pub(crate) struct Ground {
    /// Why no test can run.
    none: Option<String>,
    /// Whether this is root itself, not root of a user namespace.
    root: bool,
}

impl Ground {
    /// Without root, moves this process into a user namespace of its own. Must come before any thread.
    pub(crate) fn find() -> Self {
        let root = rustix::process::geteuid().is_root();
        let none = if root {
            try_namespace().err()
        } else {
            become_root_of_a_user_namespace().err()
        };
        Self { none, root }
    }

    /// A test, ignored where something is missing.
    pub(crate) fn trial(
        &self,
        name: impl Into<String>,
        needs: &[Need],
        test: impl FnOnce() + Send + 'static,
    ) -> Trial {
        let name = name.into();
        let missing = self
            .none
            .clone()
            .or_else(|| needs.iter().find_map(|need| self.missing(*need)));
        if let Some(why) = &missing {
            say(&format!("not run: {name}: {why}"));
        }
        let ignored = missing.is_some();
        let run = move || match missing {
            Some(why) => Err(Failed::from(why)),
            None => {
                test();
                Ok(())
            }
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    }

    /// Whether nothing of this is missing.
    pub(crate) fn has(&self, needs: &[Need]) -> bool {
        needs.iter().all(|need| self.missing(*need).is_none())
    }

    fn missing(&self, need: Need) -> Option<String> {
        let missing = |what: &str, there: bool| (!there).then(|| format!("{what} is missing"));
        match need {
            Need::Users => (!self.root).then(|| "it needs root".to_owned()),
            Need::Program(name) => missing(&format!("the program {name}"), find(name).is_some()),
            Need::Peer => missing(
                "python3-cryptography",
                runs("/usr/bin/python3", &["-c", "import cryptography"]),
            ),
            Need::That(what, there) => missing(what, there),
            Need::Parser => missing(
                "python3-prometheus-client",
                runs(
                    "/usr/bin/python3",
                    &["-c", "import prometheus_client.openmetrics.parser"],
                ),
            ),
            Need::Tun => missing(
                "the right to open /dev/net/tun",
                fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open("/dev/net/tun")
                    .is_ok(),
            )
            .or_else(|| missing("the program python3", find("python3").is_some())),
        }
    }
}

/// A trial for each of these functions, under its own name.
#[allow(unused_macros, reason = "for tests that are plain functions")]
macro_rules! trials {
    ($ground:ident, $needs:expr; $($($name:ident)::+),* $(,)?) => {
        vec![$($ground.trial(stringify!($($name)::+).split_whitespace().collect::<String>(), $needs, $($name)::+)),*]
    };
}
#[allow(unused_imports, reason = "for tests that are plain functions")]
pub(crate) use trials;

fn try_namespace() -> Result<(), String> {
    let made = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    made.map_err(|_| "a thread died".to_owned())?
        .map_err(|error| format!("this root may not make network namespaces: {error}"))
}

fn become_root_of_a_user_namespace() -> Result<(), String> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|error| format!("not root, and no user namespace: {error}"))?;
    for (map, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(format!("/proc/self/{map}"), text)
            .map_err(|error| format!("not root, and no user namespace: {map}: {error}"))?;
    }
    try_namespace()
}

/// Where a program is, also those that only root's path names.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders.find_map(|folder| Some(Path::new(folder).join(program)).filter(|path| path.is_file()))
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[expect(clippy::print_stderr, reason = "what is not tested is said")]
fn say(line: &str) {
    eprintln!("{line}");
}
