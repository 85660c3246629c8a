//! What an engine and a monitor can't do any more, tried from inside a process that gave up the same rights in the same order.
//!
//! The test starts itself again in the role of the one inside, which says of each deed what the kernel said; the test judges.
//! That all an engine must do still works is shown by every test of a whole gate, for the sandbox is always on.
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

mod inside;
#[path = "../netns/mod.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod netns;

use netns::ground::{Ground, Need, trials};

/// Makes this program the one inside.
const ENGINE: &str = "--inside-an-engine";
const MONITOR: &str = "--inside-a-monitor";

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    match arguments.nth(1).as_deref() {
        Some(ENGINE) => return inside::engine(Path::new(&arguments.next().unwrap())),
        Some(MONITOR) => return inside::monitor(Path::new(&arguments.next().unwrap())),
        _ => {}
    }
    let ground = Ground::find();
    let trials = trials![
        ground, &[Need::Users];
        an_engine_touches_no_file_but_its_state,
        an_engine_starts_no_program_and_no_process,
        an_engine_makes_and_connects_no_socket,
        an_engine_neither_traces_nor_signals_anyone,
        an_engine_runs_no_code_that_it_wrote_itself,
        an_engine_gains_no_right_back,
        an_engine_still_has_what_it_needs,
        a_monitor_writes_starts_connects_and_loads_nothing_that_it_has_no_use_for,
        a_monitor_still_has_what_it_needs,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What the kernel said to each deed: `done`, or the name of an error.
fn deeds(role: &str) -> BTreeMap<String, String> {
    let folder = tempfile::Builder::new().prefix("postern-sandbox-").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    if role == ENGINE {
        std::os::unix::fs::chown(&state, Some(inside::USER), Some(inside::USER)).unwrap();
    }
    std::fs::write(folder.path().join("open-to-all"), "x").unwrap();
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me).arg(role).arg(&state).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter_map(|line| line.split_once(": ")).map(|(deed, said)| (deed.to_owned(), said.to_owned())).collect()
}

#[track_caller]
fn expect(wanted: &[&str], all: &[&str]) {
    expect_of(ENGINE, wanted, all);
}

#[track_caller]
fn expect_of(role: &str, wanted: &[&str], all: &[&str]) {
    let deeds = deeds(role);
    for deed in all {
        let said = deeds.get(*deed).unwrap_or_else(|| panic!("{deed} was not tried: {deeds:?}"));
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
    expect(REFUSED, &["TCP socket", "UDP socket", "packet socket", "netlink socket", "unix socket", "vsock", "connect a socket it has"]);
}

fn an_engine_neither_traces_nor_signals_anyone() {
    expect(REFUSED, &["trace its parent", "read its parent's memory", "signal its parent", "open a handle on its parent"]);
}

fn an_engine_runs_no_code_that_it_wrote_itself() {
    expect(REFUSED, &["map executable memory", "make memory executable"]);
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
            "more memory than its limits",
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

fn a_monitor_writes_starts_connects_and_loads_nothing_that_it_has_no_use_for() {
    expect_of(
        MONITOR,
        REFUSED,
        &[
            "write to /etc",
            "write to /tmp",
            "execute /bin/true",
            "connect",
            "trace its parent",
            "mount",
            "set the clock",
            "load a module",
            "load another kernel",
            "make a namespace",
        ],
    );
}

fn a_monitor_still_has_what_it_needs() {
    let needs = ["read a file anywhere", "write to its state", "open a packet socket", "talk to the firewall", "start itself again"];
    expect_of(MONITOR, &["done"], &needs);
}
