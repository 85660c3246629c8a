//! What the kernel refuses inside the sandboxes of engine and monitor.
//!
//! The test starts itself again inside a sandbox. That process tries each action and prints what the kernel said.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};

mod cluster_inside;
mod engine_inside;
mod kernels;
mod monitor_inside;

use postern_harness::{Machine, Requirement, run_tests, trials};

const ROLE: &str = "--inside-an-engine";
const CLUSTER: &str = "--inside-a-cluster-process";
const MONITOR: &str = "--inside-a-monitor";

/// The name of a test, what the kernel may say, and the actions.
type Case = (&'static str, &'static [&'static str], &'static str);

const REFUSED: &[&str] = &["EPERM", "EACCES"];
const DONE: &[&str] = &["done"];

const LIMITED: &[&str] = &[
    "File too large (os error 27)",
    "Cannot allocate memory (os error 12)",
    "Too many open files (os error 24)",
];

const ENGINES: [Case; 10] = [
    (
        "engine_changes_nothing_shared",
        REFUSED,
        "shorten the log, move in the log, duplicate the log, make the log non-blocking, \
         make a socket block, shut its control socket, lock a filter, make a ring, \
         promiscuous mode",
    ),
    (
        "engine_takes_bounded_resources",
        LIMITED,
        "make a long file, take much memory, open many files",
    ),
    (
        "engine_passes_no_descriptor",
        REFUSED,
        "send a descriptor, send several messages",
    ),
    (
        "engine_uses_only_its_state",
        REFUSED,
        "read /etc/passwd, read a file that all may read, list /, write to /tmp, \
         read its own memory map, make a folder in its state, \
         link a file of another folder, mount",
    ),
    (
        "engine_starts_no_process",
        REFUSED,
        "execute /bin/true, fork",
    ),
    (
        "engine_makes_no_socket",
        REFUSED,
        "TCP socket, UDP socket, packet socket, netlink socket, unix socket, vsock, \
         connect a socket it has, command netfilter through the socket of dropped packets",
    ),
    (
        "engine_traces_and_signals_nobody",
        REFUSED,
        "trace its parent, read its parent's memory, signal its parent, \
         open a handle on its parent",
    ),
    (
        "engine_maps_no_executable_memory",
        REFUSED,
        "map executable memory, make memory executable",
    ),
    (
        "engine_regains_no_right",
        REFUSED,
        "become root, set capabilities, load an eBPF program, make a namespace, io_uring, \
         core dumps, raise its limit of core dumps, change a limit of its own, set the clock",
    ),
    (
        "engine_keeps_what_it_needs",
        DONE,
        "open its store, commit a mark, start a thread, read the clock, random bytes, \
         accept on its control socket, bind its packet socket",
    ),
];

const CLUSTERS: [Case; 2] = [
    (
        "cluster_process_only_connects_to_its_coordinator",
        REFUSED,
        "connect to another port, listen on a port, bind a UDP port, packet socket, unix socket, vsock, list the state, \
         read a file that all may read, write to /tmp, signal its parent, trace its parent, fork, execute /bin/true",
    ),
    (
        "cluster_process_keeps_what_it_needs",
        DONE,
        "connect to the coordinator, look up localhost, start a thread",
    ),
];

const MONITORS: [Case; 6] = [
    ("monitor_writes_only_its_files", REFUSED, OUTSIDE_FILES),
    (
        "monitor_starts_no_shell",
        REFUSED,
        "start a shell, start a program that it made, connect to a port",
    ),
    ("monitor_signals_nobody", REFUSED, OTHERS),
    (
        "monitor_regains_no_right",
        REFUSED,
        "trace its parent, read its parent's memory, mount, make a mount namespace, reboot, \
         raise its limit of core dumps, raise CAP_SYS_ADMIN, raise CAP_SYS_MODULE, \
         raise CAP_SYS_PTRACE, raise CAP_DAC_OVERRIDE, raise CAP_SYS_TIME",
    ),
    ("monitor_writes_its_files", DONE, PLACES),
    (
        "monitor_keeps_what_it_needs",
        DONE,
        "read its config, open a packet socket, listen on a port, start itself",
    ),
];

/// Only the system call filter refuses these to root.
const FILTERED: Case = (
    "monitor_makes_no_other_system_call",
    REFUSED,
    "make a user namespace, io_uring, keep a secret in the kernel, watch the kernel, \
     load a kernel module, load another kernel, set the clock",
);
const PROGRAMS: Case = ("monitor_runs_iptables", DONE, "run iptables-restore");

const OUTSIDE_FILES: &str = "make a file, write to a file, make a folder, rename a file, remove a file, \
     read a file of another user";
const OTHERS: &str = "read its parent's environment, signal its parent";
const PLACES: &str = "write to state/marks, write to state.monitor/kept, write to run/control.sock";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [ROLE, state] => return engine_inside::engine(Path::new(state)),
        [CLUSTER, folder] => return cluster_inside::cluster(Path::new(folder)),
        [MONITOR, folder] => return monitor_inside::monitor(Path::new(folder), None),
        [MONITOR, folder, backend] => {
            return monitor_inside::monitor(Path::new(folder), Some(backend));
        }
        [monitor_inside::NOTHING] => return ExitCode::SUCCESS,
        _ => {}
    }
    let machine = Machine::inspect();
    let mut trials = trials![
        machine, &[Requirement::Root];
        nothing_is_refused_outside_the_sandbox,
        kernels::check_reports_missing_kernel_parts,
        kernels::check_reports_config_programs,
    ];
    for (name, wanted, all) in ENGINES {
        let test = move || expect(&engine_actions(), wanted, all);
        trials.push(machine.trial(name, &[Requirement::Root], test));
    }
    for (name, wanted, all) in CLUSTERS {
        let test = move || expect(&cluster_actions(), wanted, all);
        trials.push(machine.trial(name, &[Requirement::Root], test));
    }
    let iptables = Requirement::Program("iptables-restore");
    for (backend, own, needs) in [
        ("nftables", FILTERED, &[Requirement::Root][..]),
        ("iptables", PROGRAMS, &[Requirement::Root, iptables]),
    ] {
        for (name, wanted, all) in MONITORS.into_iter().chain([own]) {
            let test = move || expect(&monitor_actions(Some(backend)), wanted, all);
            trials.push(machine.trial(format!("{backend}::{name}"), needs, test));
        }
    }
    run_tests(trials, Vec::new())
}

fn engine_actions() -> Actions {
    let folder = folder();
    let state = folder.path().join("state");
    std::os::unix::fs::chown(&state, Some(engine_inside::USER), Some(engine_inside::USER)).unwrap();
    said(&[ROLE, state.to_str().unwrap()])
}

fn cluster_actions() -> Actions {
    let folder = folder();
    said(&[CLUSTER, folder.path().to_str().unwrap()])
}

fn monitor_actions(backend: Option<&str>) -> Actions {
    let folder = folder();
    let config = format!(
        "[gate]\nname = \"gate.test\"\nstate_dir = \"{0}/state\"\ncontrol_socket = \"{0}/run/control.sock\"\nrun_as = \"daemon\"\n",
        folder.path().display()
    );
    write_config(folder.path(), &config);
    let arguments = [MONITOR, folder.path().to_str().unwrap()];
    said(&arguments.into_iter().chain(backend).collect::<Vec<_>>())
}

type Actions = BTreeMap<String, String>;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new()
        .prefix("postern-sandbox-")
        .tempdir()
        .unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["state", "state.monitor", "run"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in ["open-to-all", "renamed", "removed", "private"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let private = folder.path().join("private");
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(
        private,
        Some(engine_inside::USER),
        Some(engine_inside::USER),
    )
    .unwrap();
    folder
}

fn write_config(folder: &Path, text: &str) {
    std::fs::write(folder.join("posternd.toml"), text).unwrap();
    std::fs::set_permissions(
        folder.join("posternd.toml"),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
}

fn said(arguments: &[&str]) -> Actions {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said.lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(action, said)| (action.to_owned(), said.to_owned()))
        .collect()
}

fn expect(actions: &Actions, wanted: &[&str], all: &str) {
    for action in all.split(", ") {
        let said = actions
            .get(action)
            .unwrap_or_else(|| panic!("{action} was not tried: {actions:?}"));
        assert!(wanted.contains(&said.as_str()), "{action}: {said}");
    }
}

fn nothing_is_refused_outside_the_sandbox() {
    let actions = monitor_actions(None);
    for list in [
        OUTSIDE_FILES,
        OTHERS,
        PLACES,
        "start a shell, start a program that it made",
    ] {
        expect(&actions, DONE, list);
    }
    assert!(
        actions["connect to a port"].contains("refused"),
        "{actions:?}"
    );
}
