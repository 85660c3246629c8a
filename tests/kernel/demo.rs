//! `posternd demo` as root and as a user, with and without the firewall's programs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use nix::sched::{CloneFlags, unshare};
use postern_harness::Requirement::{Other, Program, Root};
use postern_harness::{Machine, find, posternd, trials};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const NOBODY: u32 = 65534;

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let may_make_namespaces = fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone")
        .map_or(true, |text| text.trim() != "0");
    let namespaces = Other("user namespaces of users", may_make_namespaces);
    let root = [Root, Program("mount")];
    let user = [Root, Program("mount"), namespaces];
    let mut trials = trials![machine, &[]; demo_passes_for_current_user, classic_demo_passes_with_each_driver, interrupted_demo_leaves_nothing];
    let cluster = [
        Program("etcd"),
        Other("a posternd built with etcd", cfg!(feature = "etcd")),
    ];
    trials.extend(trials![machine, &cluster; cluster_demo_passes]);
    trials.extend(trials![machine, &root; demo_passes_as_root_without_programs]);
    trials.extend(trials![
        machine, &user; demo_passes_unprivileged, demo_passes_unprivileged_without_programs
    ]);
    trials
}

fn demo_passes_for_current_user() {
    let drivers = demo(None, &[]);
    assert!(drivers.contains(&"nftables".to_owned()), "{drivers:?}");
    let has_iptables = drivers.contains(&"iptables".to_owned());
    assert_eq!(has_iptables, find("iptables-restore").is_some());
}

fn classic_demo_passes_with_each_driver() {
    demo(None, &["--classic", "--backend", "nftables"]);
    if find("iptables-restore").is_some() {
        demo(None, &["--classic", "--backend", "iptables"]);
    }
}

fn cluster_demo_passes() {
    demo(None, &["--cluster"]);
}

fn demo_passes_unprivileged() {
    demo(Some(NOBODY), &["--classic"]);
    assert!(demo(Some(NOBODY), &[]).contains(&"nftables".to_owned()));
}

fn demo_passes_as_root_without_programs() {
    assert_eq!(without_programs(None), ["nftables"]);
}

fn demo_passes_unprivileged_without_programs() {
    assert_eq!(without_programs(Some(NOBODY)), ["nftables"]);
}

/// Runs the demo on a thread whose mount namespace hides the firewall's programs.
fn without_programs(user: Option<u32>) -> Vec<String> {
    let hidden = move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let mount = |arguments: &[&str]| {
            let status = Command::new("mount").args(arguments).status();
            assert!(status.unwrap().success(), "mount {arguments:?}");
        };
        mount(&["--make-rprivate", "/"]);
        let programs = ["iptables", "ip6tables"]
            .into_iter()
            .flat_map(|name| ["", "-restore", "-save"].map(|end| format!("{name}{end}")))
            .chain(["nft".to_owned()]);
        let programs: Vec<String> = programs.collect();
        // Several names may lead to one file, which is hidden once.
        for path in programs.iter().filter_map(|name| find(name)) {
            if path.is_file() {
                let path = fs::canonicalize(path).unwrap();
                mount(&["--bind", "/dev/null", path.to_str().unwrap()]);
            }
        }
        assert!(programs.iter().all(|name| find(name).is_none()));
        demo(user, &[])
    };
    std::thread::spawn(hidden).join().unwrap()
}

fn interrupted_demo_leaves_nothing() {
    for (line, signal, code) in [
        ("A client is", Signal::INT, 130),
        ("Postern demo", Signal::TERM, 143),
        ("5. ", Signal::INT, 130),
    ] {
        let (folder, mut command) = copied_program(None);
        let piped = command.arg("demo").stdout(Stdio::piped());
        let mut demo = piped.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        let mut told = lines.map(Result::unwrap);
        let is_there = told.any(|told| told.starts_with(line));
        assert!(is_there, "{line:?} was not printed");
        kill_process(Pid::from_child(&demo), signal).unwrap();
        let rest: Vec<String> = told.collect();
        let output = demo.wait_with_output().unwrap();
        let said = "posternd: the demo was interrupted; nothing is left behind\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), said);
        assert_eq!(output.status.code(), Some(code));
        let has_failed = rest.iter().any(|line| line.contains(": FAILED"));
        assert!(!has_failed, "{rest:?}");
        expect_nothing_left(&folder);
    }
}

/// Runs the demo: every step passes and nothing is left. Returns the firewall drivers with times, each once.
fn demo(user: Option<u32>, options: &[&str]) -> Vec<String> {
    let (folder, mut command) = copied_program(user);
    let output = command
        .args(["demo", "--json"])
        .args(options)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    expect_nothing_left(&folder);
    let steps = told.lines().map(|line| serde_json::from_str(line).unwrap());
    let steps: Vec<serde_json::Value> = steps.collect();
    let all_pass = steps.iter().all(|step| step["ok"] == true);
    let least = if options == ["--cluster"] { 9 } else { 13 };
    assert!(steps.len() >= least && all_pass, "{told}");
    let driver = |step: &serde_json::Value| {
        let title = step["title"].as_str().unwrap();
        let (_, driver) = title
            .strip_prefix("Knock to open port at ")?
            .split_once(", firewall by ")?;
        Some(driver.to_owned())
    };
    let mut drivers: Vec<String> = steps.iter().filter_map(driver).collect();
    assert_eq!(told.matches("the median of ").count(), drivers.len());
    drivers.dedup();
    drivers
}

fn expect_nothing_left(folder: &TempDir) {
    let left = fs::read_dir(folder.path().join("tmp")).unwrap();
    assert_eq!(left.count(), 0, "something is left");
}

/// A copy of the program, because other users may not reach the build folder.
fn copied_program(user: Option<u32>) -> (TempDir, Command) {
    let folder = tempfile::Builder::new()
        .prefix("postern-demo-test-")
        .tempdir()
        .unwrap();
    let (program, tmp) = (folder.path().join("posternd"), folder.path().join("tmp"));
    // cp makes it, so that no process of this test has it open for writing.
    let copied = Command::new("cp").arg(posternd()).arg(&program).status();
    assert!(copied.unwrap().success());
    fs::create_dir(&tmp).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&tmp, 0o1777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(&program);
    command.env_clear().env("TMPDIR", &tmp).stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    (folder, command)
}
