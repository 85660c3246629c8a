//! What this machine has, and which tests it can run.
//!
//! A test that cannot run is ignored, with one line that says why; it is never counted as passed.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use nix::sched::{CloneFlags, unshare};

use crate::programs::find;
use crate::run::{note, say};

/// What a test requires beside network namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Root itself, not root of a user namespace: more than one user, mounts.
    Root,
    /// An installed program.
    Program(&'static str),
    /// Python with `cryptography`, for the independent peer.
    Peer,
    /// /dev/net/tun, and the Python that opens it.
    Tun,
    /// Python with `prometheus_client`, which parses metrics.
    MetricsParser,
    /// Anything else: its name, and whether it is met.
    Other(&'static str, bool),
}

/// The machine that runs the tests.
#[derive(Clone)]
pub struct Machine {
    /// In front of the names of tests.
    module: String,
    /// Why no test can run here.
    obstacle: Option<String>,
    is_root: bool,
}

impl Machine {
    /// Looks at the machine. Without root, moves this process into a user namespace; call it before any thread starts.
    pub fn inspect() -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let obstacle = if is_root {
            try_namespace().err()
        } else {
            become_root_of_a_user_namespace().err()
        };
        Self {
            module: String::new(),
            obstacle,
            is_root,
        }
    }

    /// The same machine for the tests of a module: their names begin with the module's.
    #[must_use]
    pub fn module(&self, name: &str) -> Self {
        let module = format!("{}{name}::", self.module);
        Self {
            module,
            ..self.clone()
        }
    }

    /// A test, ignored where a requirement is not met.
    pub fn trial(
        &self,
        name: impl Into<String>,
        requirements: &[Requirement],
        test: impl FnOnce() + Send + 'static,
    ) -> Trial {
        let name = format!("{}{}", self.module, name.into());
        let missing = self.missing(requirements);
        if let Some(why) = &missing {
            say(&format!("not run: {name}: {why}"));
        }
        let is_ignored = missing.is_some();
        let noted = name.clone();
        let run = move || match missing {
            Some(why) => Err(Failed::from(why)),
            None => {
                let start = Instant::now();
                test();
                note(&noted, start.elapsed());
                Ok(())
            }
        };
        Trial::test(name, run).with_ignored_flag(is_ignored)
    }

    /// Whether it meets all of these.
    pub fn meets(&self, requirements: &[Requirement]) -> bool {
        self.missing(requirements).is_none()
    }

    fn missing(&self, requirements: &[Requirement]) -> Option<String> {
        let first = || requirements.iter().find_map(|one| self.misses(*one));
        self.obstacle.clone().or_else(first)
    }

    fn misses(&self, requirement: Requirement) -> Option<String> {
        let missing = |what: &str, is_met: bool| (!is_met).then(|| format!("{what} is missing"));
        match requirement {
            Requirement::Root => (!self.is_root).then(|| "it needs root".to_owned()),
            Requirement::Program(name) => {
                missing(&format!("the program {name}"), find(name).is_some())
            }
            Requirement::Peer => missing("python3-cryptography", imports("cryptography")),
            Requirement::MetricsParser => missing(
                "python3-prometheus-client",
                imports("prometheus_client.openmetrics.parser"),
            ),
            Requirement::Tun => {
                let tun = fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open("/dev/net/tun");
                missing("the right to open /dev/net/tun", tun.is_ok())
                    .or_else(|| missing("the program python3", find("python3").is_some()))
            }
            Requirement::Other(what, is_met) => missing(what, is_met),
        }
    }
}

/// A trial for each of these functions, under its own name.
#[macro_export]
macro_rules! trials {
    ($machine:ident, $requirements:expr; $($($name:ident)::+),* $(,)?) => {
        vec![$($machine.trial(stringify!($($name)::+).split_whitespace().collect::<String>(), $requirements, $($name)::+)),*]
    };
}

/// The same for functions of a variant: a trial for each of these variants.
#[macro_export]
macro_rules! trials_by {
    ($machine:ident, $requirements:expr, $variants:expr; $($($name:ident)::+),* $(,)?) => {{
        let mut trials = Vec::new();
        for variant in $variants {
            $(
                let name = stringify!($($name)::+).split_whitespace().collect::<String>();
                let name = format!("{name}::{variant}");
                trials.push($machine.trial(name, $requirements, move || $($name)::+(variant)));
            )*
        }
        trials
    }};
}

fn try_namespace() -> Result<(), String> {
    let made = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    made.map_err(|_| "a thread died".to_owned())?
        .map_err(|error| format!("root may not make network namespaces here: {error}"))
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

fn imports(module: &str) -> bool {
    Command::new("/usr/bin/python3")
        .args(["-c", &format!("import {module}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
