//! `posternd demo` as root and as a user, with and without the firewall's programs.
//!
//! A mount namespace of the test's thread hides the programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::Arguments;
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Pid, Signal, kill_process};

use postern_harness::{Machine, Requirement, find, trials};

const NOBODY: u32 = 65534;

const PROGRAMS: [&str; 7] = [
    "iptables",
    "iptables-restore",
    "iptables-save",
    "ip6tables",
    "ip6tables-restore",
    "ip6tables-save",
    "nft",
];

fn main() -> ExitCode {
    let machine = Machine::inspect();
    let mut trials =
        trials![machine, &[]; demo_passes_for_current_user, interrupted_demo_leaves_nothing];
    trials.extend(
        trials![machine, &[Requirement::Root, Requirement::Program("mount")]; demo_passes_as_root_without_programs],
    );
    let has_namespaces = fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone")
        .map_or(true, |text| text.trim() != "0");
    let users = trials![
        machine, &[Requirement::Root, Requirement::Program("mount")];
        demo_passes_unprivileged, demo_passes_unprivileged_without_programs,
    ];
    trials.extend(users.into_iter().map(|trial| {
        if has_namespaces {
            trial
        } else {
            trial.with_ignored_flag(true)
        }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn demo_passes_for_current_user() {
    let speeds = demo(None);
    assert!(speeds.contains(&"nftables".to_owned()), "{speeds:?}");
    assert_eq!(
        speeds.contains(&"iptables".to_owned()),
        find("iptables-restore").is_some()
    );
}

fn demo_passes_unprivileged() {
    assert!(demo(Some(NOBODY)).contains(&"nftables".to_owned()));
}

fn demo_passes_as_root_without_programs() {
    hide_programs();
    assert_eq!(demo(None), ["nftables"]);
}

fn demo_passes_unprivileged_without_programs() {
    hide_programs();
    assert_eq!(demo(Some(NOBODY)), ["nftables"]);
}

fn hide_programs() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let mount = |arguments: &[&str]| {
        assert!(
            Command::new("mount")
                .args(arguments)
                .status()
                .unwrap()
                .success(),
            "mount {arguments:?}"
        )
    };
    mount(&["--make-rprivate", "/"]);
    for path in PROGRAMS.iter().filter_map(|program| find(program)) {
        // Several names may lead to one file.
        if path.is_file() {
            mount(&[
                "--bind",
                "/dev/null",
                fs::canonicalize(path).unwrap().to_str().unwrap(),
            ]);
        }
    }
    assert!(PROGRAMS.iter().all(|program| find(program).is_none()));
}

fn interrupted_demo_leaves_nothing() {
    for (line, signal, code) in [
        ("A client is", Signal::INT, 130),
        ("Postern demo", Signal::TERM, 143),
        ("5. ", Signal::INT, 130),
    ] {
        let (folder, mut command) = copied_program(None);
        let mut demo = command
            .arg("demo")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(demo.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        assert!(
            told.any(|told| told.starts_with(line)),
            "{line:?} was not printed"
        );
        kill_process(Pid::from_child(&demo), signal).unwrap();
        let rest: Vec<String> = told.collect();
        let output = demo.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*complaint),
            (
                Some(code),
                "posternd: the demo was interrupted; nothing is left behind\n"
            )
        );
        assert!(
            !rest.iter().any(|line| line.contains(": FAILED")),
            "{rest:?}"
        );
        assert_eq!(
            fs::read_dir(folder.path().join("tmp")).unwrap().count(),
            0,
            "something is left"
        );
    }
}

/// Runs the demo: every step passes and nothing is left. Returns the firewall drivers with times, each once.
fn demo(user: Option<u32>) -> Vec<String> {
    let (folder, mut command) = copied_program(user);
    let output = command.args(["demo", "--json"]).output().unwrap();
    let (told, complaint) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{}\n{told}\n{complaint}",
        output.status
    );
    assert_eq!(
        fs::read_dir(folder.path().join("tmp")).unwrap().count(),
        0,
        "something is left"
    );
    let steps: Vec<serde_json::Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        steps.len() >= 13 && steps.iter().all(|step| step["ok"] == true),
        "{told}"
    );
    let mut speeds: Vec<String> = steps
        .iter()
        .filter_map(|step| driver_of(step["title"].as_str().unwrap()))
        .collect();
    assert!(
        steps
            .iter()
            .filter(|step| step["detail"].as_str().unwrap().contains("the median of "))
            .count()
            == speeds.len(),
        "{told}"
    );
    speeds.dedup();
    speeds
}

fn copied_program(user: Option<u32>) -> (tempfile::TempDir, Command) {
    let folder = tempfile::Builder::new()
        .prefix("postern-demo-test-")
        .tempdir()
        .unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Other users may not reach the build folder. cp makes the copy, so that no process of this test has it open for writing.
    let program = folder.path().join("posternd");
    assert!(
        Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_posternd"))
            .arg(&program)
            .status()
            .unwrap()
            .success()
    );
    let tmp = folder.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    fs::set_permissions(
        &tmp,
        fs::Permissions::from_mode(if user.is_some() { 0o1777 } else { 0o755 }),
    )
    .unwrap();
    let mut command = Command::new(&program);
    command.env_clear().env("TMPDIR", &tmp).stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    (folder, command)
}

fn driver_of(title: &str) -> Option<String> {
    Some(
        title
            .strip_prefix("Knock to open port at ")?
            .split_once(", firewall by ")?
            .1
            .to_owned(),
    )
}
