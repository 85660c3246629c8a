//! Programs that the daemon runs.
//!
//! Owns how: absolute path, argument vector, clean environment, own process group, a deadline (invariant 6). Never a
//! shell. Must not judge what a program said; an exit status is handed on as it is. Needs Linux 5.3 for process descriptors.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::model::run::{Call, Ran, Run, RunError};

/// Where [`find`] looks, in this order.
const PLACES: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const DEADLINE: Duration = Duration::from_secs(5);
/// Of standard error only the beginning is kept; the rest is read and thrown away.
const COMPLAINT: usize = 64 << 10;

/// Runs programs for the adapters.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    deadline: Duration,
}

impl Default for Programs {
    fn default() -> Self {
        Self { deadline: DEADLINE }
    }
}

impl Programs {
    /// With another deadline than five seconds.
    #[must_use]
    pub fn with_deadline(deadline: Duration) -> Self {
        Self { deadline }
    }
}

/// The absolute path of a program, `None` where it is in none of the usual places.
pub fn find(name: &str) -> Option<PathBuf> {
    PLACES
        .iter()
        .map(|place| Path::new(place).join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

impl Run for Programs {
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        if !call.program.is_absolute() {
            return Err(RunError::Start("its path is not absolute".to_owned()));
        }
        let mut child = start(call).map_err(|error| RunError::Start(error.to_string()))?;
        let outcome = attend(&mut child, call, self.deadline);
        if outcome.is_err() {
            end(&mut child);
        }
        outcome
    }
}

/// How a role of this program is connected.
#[derive(Debug)]
pub struct Wiring<'a> {
    /// Its standard input.
    pub stdin: Stdio,
    /// Its standard output.
    pub stdout: Stdio,
    /// Its standard error.
    pub stderr: Stdio,
    /// All of its environment beside `PATH` and `LC_ALL`.
    pub env: &'a [(&'a str, String)],
}

/// Starts this very program again in another role: the running image itself, whatever lies at its path by now, in a
/// process group of its own. It runs as long as it likes; the caller ends it.
///
/// # Errors
/// What the kernel said.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn start_again(arguments: &[&OsStr], wiring: Wiring<'_>) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", PATH)
        .envs(wiring.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(wiring.stdin)
        .stdout(wiring.stdout)
        .stderr(wiring.stderr)
        .process_group(0)
        .spawn()
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn start(call: &Call<'_>) -> io::Result<Child> {
    Command::new(call.program)
        .args(call.args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Feeds the child and reads it until it ends. One loop over all pipes, so that no full pipe can block another; the
/// child's end counts, not the end of its pipes, so that a grandchild that keeps them open cannot hold us.
fn attend(child: &mut Child, call: &Call<'_>, deadline: Duration) -> Result<Ran, RunError> {
    let lost = |error: Errno| RunError::Lost(error.to_string());
    let timer = timer(deadline).map_err(lost)?;
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map_err(lost)?;
    let mut input = Input::new(child.stdin.take().map(OwnedFd::from), call.stdin).map_err(lost)?;
    let mut output =
        Output::new(child.stdout.take().map(OwnedFd::from), call.most).map_err(lost)?;
    let mut complaint =
        Output::new(child.stderr.take().map(OwnedFd::from), COMPLAINT).map_err(lost)?;
    loop {
        let mut watched = vec![
            PollFd::new(&timer, PollFlags::IN),
            PollFd::new(&ended, PollFlags::IN),
        ];
        watched.extend(
            input
                .pipe
                .as_ref()
                .map(|pipe| PollFd::new(pipe, PollFlags::OUT)),
        );
        watched.extend(
            [&output, &complaint]
                .into_iter()
                .filter_map(|end| end.pipe.as_ref())
                .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
        );
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(lost(error)),
        }
        let is_ready = |index: usize| {
            watched
                .get(index)
                .is_some_and(|fd| !fd.revents().is_empty())
        };
        let (late, done) = (is_ready(0), is_ready(1));
        drop(watched);
        input.write();
        output.read();
        complaint.read();
        if output.over {
            return Err(RunError::TooMuch(call.most));
        }
        if done {
            let status = child
                .wait()
                .map_err(|error| RunError::Lost(error.to_string()))?
                .code();
            return Ok(Ran {
                status,
                stdout: output.text(),
                stderr: complaint.text(),
            });
        }
        if late {
            return Err(RunError::Deadline(deadline));
        }
    }
}

/// A descriptor that becomes readable when the time is up: it needs no reading of clocks.
fn timer(length: Duration) -> Result<OwnedFd, Errno> {
    let timer = timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
    )?;
    let length = length.max(Duration::from_nanos(1));
    let value = Timespec {
        tv_sec: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(length.subsec_nanos()),
    };
    timerfd_settime(
        &timer,
        TimerfdTimerFlags::empty(),
        &Itimerspec {
            it_interval: Timespec::default(),
            it_value: value,
        },
    )?;
    Ok(timer)
}

/// Kills all that the child started, then the child, and reaps it. The child is not reaped yet, so its number is still its own.
fn end(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.kill();
    let _ = child.wait();
}

/// The way into a program.
struct Input<'a> {
    pipe: Option<OwnedFd>,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn new(pipe: Option<OwnedFd>, rest: &'a [u8]) -> Result<Self, Errno> {
        do_not_wait_for(pipe.as_ref())?;
        Ok(Self { pipe, rest })
    }

    /// Writes what fits, and closes the pipe at the end or when the program no longer reads it: that is its business.
    fn write(&mut self) {
        while let Some(pipe) = self.pipe.as_ref() {
            match self.rest {
                [] => self.pipe = None,
                rest => match rustix::io::write(pipe.as_fd(), rest) {
                    Ok(written) => self.rest = rest.get(written..).unwrap_or_default(),
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return,
                    Err(_) => self.pipe = None,
                },
            }
        }
    }
}

/// One way out of a program.
struct Output {
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
    most: usize,
    over: bool,
}

impl Output {
    fn new(pipe: Option<OwnedFd>, most: usize) -> Result<Self, Errno> {
        do_not_wait_for(pipe.as_ref())?;
        Ok(Self {
            pipe,
            kept: Vec::new(),
            most,
            over: false,
        })
    }

    /// Reads what is there, up to one mebibyte a turn, so that an endless writer cannot keep us from looking at the time.
    fn read(&mut self) {
        let mut buffer = [0_u8; 16 << 10];
        for _ in 0..64 {
            let Some(pipe) = self.pipe.as_ref() else {
                return;
            };
            match rustix::io::read(pipe.as_fd(), &mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => self.keep(buffer.get(..length).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.most.saturating_sub(self.kept.len());
        self.over |= bytes.len() > room;
        self.kept
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

fn do_not_wait_for(pipe: Option<&OwnedFd>) -> Result<(), Errno> {
    pipe.map_or(Ok(()), |pipe| rustix::io::ioctl_fionbio(pipe, true))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sh(script: &str, stdin: &[u8], deadline: Duration) -> Result<Ran, RunError> {
        let call = Call {
            program: Path::new("/bin/sh"),
            args: &["-c", script],
            stdin,
            most: 1 << 20,
        };
        Programs::with_deadline(deadline).run(&call)
    }

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn exit_status_and_both_outputs_are_handed_on() {
        let ran = sh("cat; echo no >&2; exit 4", b"in", LONG).unwrap();
        assert_eq!(
            ran,
            Ran {
                status: Some(4),
                stdout: "in".to_owned(),
                stderr: "no\n".to_owned()
            }
        );
        assert_eq!(sh("kill -9 $$", b"", LONG).unwrap().status, None);
    }

    #[test]
    fn the_environment_is_clean_and_the_folder_is_the_root() {
        let ran = sh(
            "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort; pwd",
            b"",
            LONG,
        )
        .unwrap();
        assert_eq!(
            ran.stdout,
            "LC_ALL=C\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n/\n"
        );
    }

    #[test]
    fn full_pipes_in_all_directions_do_not_block() {
        let much = vec![b'x'; 800_000];
        let ran = sh(
            "head -c 300000 /dev/zero >&2; cat; head -c 300000 /dev/zero >&2",
            &much,
            LONG,
        )
        .unwrap();
        assert_eq!(
            (ran.status, ran.stdout.len(), ran.stderr.len()),
            (Some(0), much.len(), COMPLAINT)
        );
    }

    #[test]
    fn a_program_that_reads_nothing_is_no_error() {
        assert_eq!(
            sh("exit 0", &vec![b'x'; 800_000], LONG).unwrap().status,
            Some(0)
        );
    }

    #[test]
    fn one_that_hangs_is_killed_with_all_it_started() {
        let start = Instant::now();
        let mark = format!("86{}", std::process::id());
        assert_eq!(
            sh(&format!("sleep {mark} & sleep {mark}"), b"", SHORT),
            Err(RunError::Deadline(SHORT))
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        let left = sh(
            &format!("sleep 0.1; grep -lz '^{mark}$' /proc/[0-9]*/cmdline"),
            b"",
            LONG,
        )
        .unwrap();
        assert_eq!(left.stdout, "", "a grandchild is still there");
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipes_open_holds_nobody() {
        let start = Instant::now();
        let ran = sh("setsid sleep 6 & echo done", b"", LONG).unwrap();
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(0), "done\n"));
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(
            sh("setsid sleep 6 & sleep 6", b"", SHORT),
            Err(RunError::Deadline(SHORT))
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }

    #[test]
    fn output_over_the_limit_is_an_error_and_never_half_an_answer() {
        assert_eq!(
            sh("head -c 1048576 /dev/zero", b"", LONG)
                .unwrap()
                .stdout
                .len(),
            1 << 20
        );
        assert_eq!(
            sh("head -c 1048577 /dev/zero", b"", LONG),
            Err(RunError::TooMuch(1 << 20))
        );
        assert_eq!(
            sh("cat /dev/zero", b"", LONG),
            Err(RunError::TooMuch(1 << 20))
        );
    }

    #[test]
    fn a_missing_program_and_a_relative_path_are_refused() {
        for program in ["/no/such/program", "sh", "/etc/passwd"] {
            let outcome = Programs::default().run(&Call {
                program: Path::new(program),
                args: &[],
                stdin: b"",
                most: 1,
            });
            assert!(
                matches!(outcome, Err(RunError::Start(_))),
                "{program}: {outcome:?}"
            );
        }
    }

    #[test]
    fn programs_are_found_by_name_in_the_usual_places() {
        assert!(find("env").is_some_and(|path| path.is_absolute() && path.ends_with("env")));
        assert_eq!(find("no-such-program"), None);
    }
}
