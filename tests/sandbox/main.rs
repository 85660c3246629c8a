//! What an engine and a monitor can't do any more, tried from inside a process that gave up the same rights in the same order.
//!
//! The test starts itself again in the role of the one inside, which says of each deed what the kernel said; the test judges.
//! That all they must do still works is shown by every test of a whole gate, for the sandbox is always on.
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

use libtest_mimic::Arguments;

mod enclosed;
mod inside;
mod kernels;

use postern_harness::{Machine, Requirement, trials};

/// Makes this program the one inside.
const ROLE: &str = "--inside-an-engine";
/// The same for a monitor; a folder follows, and the backend.
const MONITOR: &str = "--inside-a-monitor";

type Test = (&'static str, fn(&'static str));

/// Of a monitor with either backend.
const MONITORS: &[Test] = &[
    (
        "a_monitor_writes_to_no_file_but_its_own",
        a_monitor_writes_to_no_file_but_its_own,
    ),
    (
        "a_monitor_starts_no_shell_and_connects_to_no_port",
        a_monitor_starts_no_shell_and_connects_to_no_port,
    ),
    (
        "a_monitor_neither_traces_nor_reads_nor_signals_anyone_outside",
        a_monitor_neither_traces_nor_reads_nor_signals_anyone_outside,
    ),
    (
        "a_monitor_gains_no_right_back",
        a_monitor_gains_no_right_back,
    ),
    (
        "a_monitor_still_has_what_it_needs",
        a_monitor_still_has_what_it_needs,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [ROLE, state] => return inside::engine(Path::new(state)),
        [MONITOR, folder] => return enclosed::monitor(Path::new(folder), None),
        [MONITOR, folder, backend] => return enclosed::monitor(Path::new(folder), Some(backend)),
        [enclosed::NOTHING] => return ExitCode::SUCCESS,
        _ => {}
    }
    let machine = Machine::inspect();
    let mut trials = trials![
        machine, &[Requirement::Root];
        an_engine_touches_no_file_but_its_state,
        an_engine_starts_no_program_and_no_process,
        an_engine_makes_and_connects_no_socket,
        an_engine_neither_traces_nor_signals_anyone,
        an_engine_runs_no_code_that_it_wrote_itself,
        an_engine_gains_no_right_back,
        an_engine_still_has_what_it_needs,
        the_same_is_not_refused_outside_a_monitors_enclosure,
        kernels::a_kernel_that_lacks_parts_is_told_of_by_check_and_by_the_log,
        kernels::a_config_with_programs_is_told_of_by_check,
    ];
    for (backend, program) in [
        ("nftables", None),
        ("iptables", Some(Requirement::Program("iptables-restore"))),
    ] {
        let needs: Vec<Requirement> = [Requirement::Root].into_iter().chain(program).collect();
        for (name, test) in MONITORS {
            trials.push(machine.trial(format!("{backend}::{name}"), &needs, move || test(backend)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What the kernel said to each deed of an engine.
fn deeds() -> Deeds {
    let folder = folder();
    let state = folder.path().join("state");
    std::os::unix::fs::chown(&state, Some(inside::USER), Some(inside::USER)).unwrap();
    said(&[ROLE, state.to_str().unwrap()])
}

/// What it said to each deed of a monitor with this backend, or of one that has given up nothing.
fn deeds_of_monitor(backend: Option<&str>) -> Deeds {
    let folder = folder();
    let config = format!(
        "[gate]\nname = \"gate.test\"\nstate_dir = \"{0}/state\"\ncontrol_socket = \"{0}/run/control.sock\"\n",
        folder.path().display()
    );
    write_config(folder.path(), &config);
    let arguments = [MONITOR, folder.path().to_str().unwrap()];
    said(&arguments.into_iter().chain(backend).collect::<Vec<_>>())
}

/// For each deed `done`, or the name of an error.
type Deeds = BTreeMap<String, String>;

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
    std::os::unix::fs::chown(private, Some(inside::USER), Some(inside::USER)).unwrap();
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

fn said(arguments: &[&str]) -> Deeds {
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
        .map(|(deed, said)| (deed.to_owned(), said.to_owned()))
        .collect()
}

#[track_caller]
fn expect(wanted: &[&str], all: &[&str]) {
    expect_of(&deeds(), wanted, all);
}

#[track_caller]
fn expect_of(deeds: &Deeds, wanted: &[&str], all: &[&str]) {
    for deed in all {
        let said = deeds
            .get(*deed)
            .unwrap_or_else(|| panic!("{deed} was not tried: {deeds:?}"));
        assert!(wanted.contains(&said.as_str()), "{deed}: {said}");
    }
}

const REFUSED: &[&str] = &["EPERM", "EACCES"];

fn an_engine_touches_no_file_but_its_state() {
    expect(
        REFUSED,
        &[
            "read /etc/passwd",
            "read a file that all may read",
            "list /",
            "write to /tmp",
            "read its own memory map",
            "make a folder in its state",
            "link a file of another folder",
            "mount",
        ],
    );
}

fn an_engine_starts_no_program_and_no_process() {
    expect(REFUSED, &["execute /bin/true", "fork"]);
}

fn an_engine_makes_and_connects_no_socket() {
    expect(
        REFUSED,
        &[
            "TCP socket",
            "UDP socket",
            "packet socket",
            "netlink socket",
            "unix socket",
            "vsock",
            "connect a socket it has",
        ],
    );
}

fn an_engine_neither_traces_nor_signals_anyone() {
    expect(
        REFUSED,
        &[
            "trace its parent",
            "read its parent's memory",
            "signal its parent",
            "open a handle on its parent",
        ],
    );
}

fn an_engine_runs_no_code_that_it_wrote_itself() {
    expect(
        REFUSED,
        &["map executable memory", "make memory executable"],
    );
}

fn an_engine_gains_no_right_back() {
    expect(
        REFUSED,
        &[
            "become root",
            "set capabilities",
            "load an eBPF program",
            "make a namespace",
            "io_uring",
            "core dumps",
            "raise its limit of core dumps",
            "change a limit of its own",
            "set the clock",
        ],
    );
}

fn an_engine_still_has_what_it_needs() {
    expect(
        &["done"],
        &[
            "open its store",
            "commit a mark",
            "start a thread",
            "read the clock",
            "random bytes",
            "accept on its control socket",
            "bind its packet socket",
        ],
    );
}

const OUTSIDE_FILES: &[&str] = &[
    "make a file",
    "write to a file",
    "make a folder",
    "rename a file",
    "remove a file",
    "read a file of another user",
];
const OTHERS: &[&str] = &["read its parent's environment", "signal its parent"];
const PLACES: &[&str] = &[
    "write to state/marks",
    "write to state.monitor/kept",
    "write to run/control.sock",
];

fn a_monitor_writes_to_no_file_but_its_own(backend: &str) {
    expect_of(&deeds_of_monitor(Some(backend)), REFUSED, OUTSIDE_FILES);
}

fn a_monitor_starts_no_shell_and_connects_to_no_port(backend: &str) {
    expect_of(
        &deeds_of_monitor(Some(backend)),
        REFUSED,
        &[
            "start a shell",
            "start a program that it made",
            "connect to a port",
        ],
    );
}

fn a_monitor_neither_traces_nor_reads_nor_signals_anyone_outside(backend: &str) {
    let deeds = deeds_of_monitor(Some(backend));
    expect_of(&deeds, REFUSED, OTHERS);
    expect_of(
        &deeds,
        REFUSED,
        &["trace its parent", "read its parent's memory"],
    );
}

fn a_monitor_gains_no_right_back(backend: &str) {
    let deeds = deeds_of_monitor(Some(backend));
    expect_of(
        &deeds,
        REFUSED,
        &[
            "mount",
            "make a mount namespace",
            "reboot",
            "raise its limit of core dumps",
        ],
    );
    expect_of(
        &deeds,
        REFUSED,
        &[
            "raise CAP_SYS_ADMIN",
            "raise CAP_SYS_MODULE",
            "raise CAP_SYS_PTRACE",
            "raise CAP_DAC_OVERRIDE",
            "raise CAP_SYS_TIME",
        ],
    );
    if backend == "nftables" {
        // What only the filter for system calls refuses to root.
        expect_of(
            &deeds,
            REFUSED,
            &[
                "make a user namespace",
                "io_uring",
                "keep a secret in the kernel",
                "watch the kernel",
                "load a kernel module",
                "load another kernel",
                "set the clock",
            ],
        );
    }
}

fn a_monitor_still_has_what_it_needs(backend: &str) {
    let deeds = deeds_of_monitor(Some(backend));
    expect_of(&deeds, &["done"], PLACES);
    expect_of(
        &deeds,
        &["done"],
        &[
            "read its config",
            "open a packet socket",
            "listen on a port",
            "start itself",
        ],
    );
    if backend == "iptables" {
        expect_of(&deeds, &["done"], &["run iptables-restore"]);
    }
}

fn the_same_is_not_refused_outside_a_monitors_enclosure() {
    let deeds = deeds_of_monitor(None);
    for list in [
        OUTSIDE_FILES,
        OTHERS,
        PLACES,
        &["start a shell", "start a program that it made"],
    ] {
        expect_of(&deeds, &["done"], list);
    }
    assert!(deeds["connect to a port"].contains("refused"), "{deeds:?}");
}
