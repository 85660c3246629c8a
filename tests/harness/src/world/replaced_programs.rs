//! A script in the place of the programs of iptables, for one gate alone: it is mounted over them in the gate's own mount namespace.

use std::fs;

use super::World;
use crate::{find, run};

/// Where it lies: the monitor may run programs of this folder and of no other, so all that the script needs is there.
const FOLDER: &str = "/usr/sbin";
/// The real program, which takes its role as its first argument.
pub const REAL: &str = "/usr/sbin/real";

const ROLES: [&str; 4] = [
    "iptables-restore",
    "ip6tables-restore",
    "iptables-save",
    "ip6tables-save",
];
/// What scripts run, and what a test runs there.
const NEEDED: [&str; 8] = [
    "sh",
    "cat",
    "head",
    "sleep",
    "ip",
    "nft",
    "iptables",
    "ip6tables",
];

/// From now on the gate runs this script in place of `iptables-restore`, `ip6tables-save` and the like. `FOLDER` in
/// it is the world's folder, and `REAL` the program itself.
pub fn replace_iptables(world: &World, script: &str) {
    let folder = world.folder().display().to_string();
    let script = script
        .replace("#!/bin/sh", "#!/usr/sbin/sh")
        .replace("FOLDER", &folder)
        .replace("REAL", REAL);
    let programs = world.folder().join("programs");
    fs::create_dir(&programs).unwrap();
    let real = fs::canonicalize("/usr/sbin/iptables-restore").unwrap();
    fs::copy(&real, programs.join("real")).unwrap();
    for program in NEEDED {
        if let Some(path) = find(program) {
            fs::copy(path, programs.join(program)).unwrap();
        }
    }
    for role in ROLES {
        assert_eq!(
            fs::canonicalize(format!("/usr/sbin/{role}")).unwrap(),
            real,
            "one program has all roles"
        );
        world.install(&format!("programs/{role}"), &script);
    }
    world
        .gate
        .run(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap());
    for arguments in [
        &["--make-rprivate", "/"][..],
        &["--bind", &programs.display().to_string(), FOLDER],
    ] {
        let ran = run(&world.gate, "mount", arguments);
        assert!(
            ran.status.success(),
            "mount {arguments:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}
