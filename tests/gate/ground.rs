//! What the tests stand on: which of them this machine can run, and why not the others.
//!
//! A test that cannot run is ignored, with one line that says why; it is never counted as passed.

use std::fs;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use nix::sched::{CloneFlags, unshare};

use crate::world::find;

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
        let none = if root { try_namespace().err() } else { become_root_of_a_user_namespace().err() };
        Self { none, root }
    }

    /// A test, ignored where something is missing.
    pub(crate) fn trial(&self, name: String, needs: &[Need], backend: &'static str, test: fn(&'static str)) -> Trial {
        let missing = self.none.clone().or_else(|| needs.iter().chain(firewall(backend)).find_map(|need| self.missing(*need)));
        if let Some(why) = &missing {
            say(&format!("not run: {name}: {why}"));
        }
        let ignored = missing.is_some();
        let run = move || match missing {
            Some(why) => Err(Failed::from(why)),
            None => {
                test(backend);
                Ok(())
            }
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    }

    fn missing(&self, need: Need) -> Option<String> {
        let missing = |what: &str, there: bool| (!there).then(|| format!("{what} is missing"));
        match need {
            Need::Users => (!self.root).then(|| "it needs root".to_owned()),
            Need::Program(name) => missing(&format!("the program {name}"), find(name).is_some()),
            Need::Peer => missing("python3-cryptography", runs("/usr/bin/python3", &["-c", "import cryptography"])),
            Need::Tun => missing("/dev/net/tun", fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_ok())
                .or_else(|| missing("the program python3", find("python3").is_some())),
        }
    }
}

fn firewall(backend: &str) -> &'static [Need] {
    match backend {
        "iptables" => &[Need::Program("ip"), Need::Program("iptables-restore"), Need::Program("ip6tables-restore")],
        _ => &[Need::Program("ip"), Need::Program("nft")],
    }
}

fn try_namespace() -> Result<(), String> {
    let made = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    made.map_err(|_| "a thread died".to_owned())?.map_err(|error| format!("this root may not make network namespaces: {error}"))
}

fn become_root_of_a_user_namespace() -> Result<(), String> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| format!("not root, and no user namespace: {error}"))?;
    for (map, text) in [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))] {
        fs::write(format!("/proc/self/{map}"), text).map_err(|error| format!("not root, and no user namespace: {map}: {error}"))?;
    }
    try_namespace()
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[expect(clippy::print_stderr, reason = "what is not tested is said")]
fn say(line: &str) {
    eprintln!("{line}");
}
