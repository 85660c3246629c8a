//! Injects faults with `strace`: chosen system calls of a daemon process fail, wait, or kill it. A call that fails is not made. It also
//! watches without a fault.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use postern_harness::{World, find, wait_for, wait_until};

pub(crate) struct Injector {
    strace: Child,
    log: PathBuf,
}

impl Injector {
    pub(crate) fn engine(world: &World, calls: &str, what: &str) -> Self {
        let engine = world.daemon.engine();
        Self::at(world, engine, &["-f"], calls, Some(what))
    }

    pub(crate) fn monitor(world: &World, calls: &str, what: &str) -> Self {
        Self::at(world, world.daemon.pid(), &[], calls, Some(what))
    }

    /// All calls of all threads.
    pub(crate) fn watch(world: &World, pid: u32) -> Self {
        Self::at(world, pid, &["-f"], "all", None)
    }

    fn at(world: &World, pid: u32, follow: &[&str], calls: &str, what: Option<&str>) -> Self {
        let log = world.folder().join("strace");
        let mut command = Command::new(find("strace").unwrap());
        command
            .args(["-s", "200", "-ttt", "-T"])
            .args(["-e", &format!("trace={calls}")])
            .args(what.map(|what| format!("--inject={calls}:{what}")))
            .args(follow)
            .args(["-p", &pid.to_string(), "-o"])
            .arg(&log);
        let mut strace = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(strace.stderr.as_mut().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert!(said.contains("attached"), "strace: {said}");
        Self { strace, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn wait_for_hits(&self, count: usize) {
        wait_until("the fault", || {
            self.log().matches("(INJECTED)").count() + self.log().matches("(DELAYED)").count()
                >= count
        });
    }

    pub(crate) fn until_it_is_gone(mut self) -> String {
        wait_for("the process to be killed at its step", || {
            self.strace.try_wait().unwrap()
        });
        self.log()
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        // strace detaches, and the process continues.
        if self.strace.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        }
        let _ = self.strace.wait();
    }
}
