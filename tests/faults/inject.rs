//! Faults where the kernel would have them: `strace` at a process of the daemon makes chosen system calls of it fail, wait, or be
//! the last thing that it does.
//!
//! Nothing in the program knows of it. A call that is made to fail is not made at all.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use postern_harness::{World, find, wait_for};

/// What is laid on a process; it is taken off again with this value.
pub(crate) struct Injector {
    strace: Child,
    log: PathBuf,
}

/// Whose calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// This thread's alone, not those of programs that it runs.
    OneThread,
    /// Those of every thread.
    AllThreads,
}

impl Injector {
    /// From now on `calls` of this process meet with `what`, in strace's own words, such as `error=EIO:when=1`.
    pub(crate) fn at(world: &World, pid: u32, of: Of, calls: &str, what: &str) -> Self {
        let log = world.folder().join("strace");
        let mut command = Command::new(find("strace").unwrap());
        command.args([
            "-s",
            "200",
            "-ttt",
            "-T",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={calls}:{what}"),
        ]);
        command
            .args((of == Of::AllThreads).then_some("-f"))
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

    /// The calls so far, a line each.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until so many of the calls were made to fail, or to wait and are over.
    pub(crate) fn wait_for_hits(&self, count: usize) {
        wait_for("the fault", || {
            (self.log().matches("(INJECTED)").count() + self.log().matches("(DELAYED)").count()
                >= count)
                .then_some(())
        });
    }

    /// Waits until the process is gone, and returns the calls that it made.
    pub(crate) fn until_it_is_gone(mut self) -> String {
        wait_for("the process to be killed at its step", || {
            self.strace.try_wait().unwrap()
        });
        self.log()
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        // By this it lets the process go on as before.
        if self.strace.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        }
        let _ = self.strace.wait();
    }
}
