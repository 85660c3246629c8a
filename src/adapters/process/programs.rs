//! Programs that the daemon runs: by absolute path, with an argument vector, a clean environment and a deadline (invariant 6).
//!
//! An exit status is passed on as it is; the caller judges it. Needs Linux 5.3 for process descriptors.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::child_io::attend;
use crate::model::run::{Call, Ran, Run, RunError};

const FOLDERS: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const DEADLINE: Duration = Duration::from_secs(5);

/// Runs programs for the adapters.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    deadline: Duration,
}

impl Default for Programs {
    fn default() -> Self {
        Self::with_deadline(DEADLINE)
    }
}

impl Programs {
    /// With another deadline than five seconds.
    #[must_use]
    pub fn with_deadline(deadline: Duration) -> Self {
        Self { deadline }
    }
}

impl Run for Programs {
    fn run(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        if !call.program.is_absolute() {
            return Err(RunError::Start("its path is not absolute".to_owned()));
        }
        let mut command = clean(call.program);
        command.args(call.args);
        let piped = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
        let mut child =
            spawn(command, piped).map_err(|error| RunError::Start(error.to_string()))?;
        attend(&mut child, call, self.deadline).inspect_err(|_| {
            // The child is not reaped yet, so its number is still its own.
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.kill();
            let _ = child.wait();
        })
    }
}

pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(is_program)
}

#[derive(Debug)]
pub(crate) struct StartOptions<'a> {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    pub(crate) env: &'a [(&'a str, String)],
}

/// Starts this program again in another role, in a process group of its own. It is the running image, even if another file
/// is now at its path. It has no deadline; the caller ends it.
pub(crate) fn start_self(arguments: &[&OsStr], options: StartOptions<'_>) -> io::Result<Child> {
    let mut command = clean(Path::new("/proc/self/exe"));
    command
        .arg0("posternd")
        .args(arguments)
        .envs(options.env.iter().map(|(name, value)| (name, value)));
    spawn(command, [options.stdin, options.stdout, options.stderr])
}

/// Starts a program that runs until it is ended, with these outputs. It has no deadline; the caller supervises it.
pub(crate) fn start_program(
    program: &Path,
    args: &[&str],
    [stdout, stderr]: [Stdio; 2],
) -> io::Result<Child> {
    if !program.is_absolute() {
        return Err(io::Error::other("its path is not absolute"));
    }
    let mut command = clean(program);
    command.args(args);
    spawn(command, [Stdio::null(), stdout, stderr])
}

/// Kills a child and waits this long for its end. The kernel ends it only after it has closed its files, which may take long.
/// `None`: it has not ended yet.
pub(crate) fn end(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let _ = child.kill();
    if let Ok(ended) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
        let within = Timespec::try_from(within).ok();
        let mut waited = [PollFd::new(&ended, PollFlags::IN)];
        let _ = retry_on_intr(|| poll(&mut waited, within.as_ref()));
    }
    child.try_wait().ok().flatten()
}

#[expect(clippy::disallowed_methods, reason = "process may run programs")]
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("PATH", PATH);
    command
}

fn spawn(mut command: Command, [stdin, stdout, stderr]: [Stdio; 3]) -> io::Result<Child> {
    command
        .current_dir("/")
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Instant;

    use super::super::child_io::STDERR_MAX;
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
    fn exit_status_and_output_are_passed_on() {
        let ran = sh("cat; echo no >&2; exit 4", b"in", LONG).unwrap();
        let expected = Ran {
            status: Some(4),
            stdout: "in".to_owned(),
            stderr: "no\n".to_owned(),
        };
        assert_eq!(ran, expected);
        assert_eq!(sh("kill -9 $$", b"", LONG).unwrap().status, None);
    }

    #[test]
    fn environment_is_clean() {
        let script = "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort; pwd";
        let ran = sh(script, b"", LONG).unwrap();
        let expected = "LC_ALL=C\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n/\n";
        assert_eq!(ran.stdout, expected);
    }

    #[test]
    fn full_pipes_do_not_block() {
        let much = vec![b'x'; 800_000];
        let script = "head -c 300000 /dev/zero >&2; cat; head -c 300000 /dev/zero >&2";
        let ran = sh(script, &much, LONG).unwrap();
        let expected = (Some(0), much.len(), STDERR_MAX);
        assert_eq!((ran.status, ran.stdout.len(), ran.stderr.len()), expected);
        let unread = sh("exit 0", &much, LONG).unwrap();
        assert_eq!(unread.status, Some(0), "a program need not read its input");
    }

    #[test]
    fn late_program_is_killed_with_its_children() {
        let start = Instant::now();
        let mark = format!("86{}", std::process::id());
        let script = format!("sleep {mark} & sleep {mark}");
        assert_eq!(sh(&script, b"", SHORT), Err(RunError::Deadline(SHORT)));
        assert!(start.elapsed() < Duration::from_secs(5));
        let script = format!(
            "for n in $(seq 100); do grep -lz '^{mark}$' /proc/[0-9]*/cmdline || exit 0; sleep 0.05; done"
        );
        let left = sh(&script, b"", LONG).unwrap();
        assert!(left.stdout.lines().count() < 100, "a grandchild is left");
    }

    #[test]
    fn grandchild_with_the_pipes_delays_nothing() {
        let start = Instant::now();
        let ran = sh("setsid sleep 6 & echo done", b"", LONG).unwrap();
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(0), "done\n"));
        let late = sh("setsid sleep 6 & sleep 6", b"", SHORT);
        assert_eq!(late, Err(RunError::Deadline(SHORT)));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn too_much_output_is_an_error() {
        let whole = sh("head -c 1048576 /dev/zero", b"", LONG).unwrap();
        assert_eq!(whole.stdout.len(), 1 << 20);
        for script in ["head -c 1048577 /dev/zero", "cat /dev/zero"] {
            assert_eq!(sh(script, b"", LONG), Err(RunError::TooMuch(1 << 20)));
        }
    }

    #[test]
    fn invariant_6_programs_run_by_absolute_path_only() {
        for program in ["/no/such/program", "sh", "/etc/passwd"] {
            let outcome = Programs::default().run(&Call {
                program: Path::new(program),
                args: &[],
                stdin: b"",
                most: 1,
            });
            assert!(matches!(outcome, Err(RunError::Start(_))), "{program}");
        }
        assert!(find("env").is_some_and(|path| path.is_absolute() && path.ends_with("env")));
        assert_eq!(find("no-such-program"), None);
    }
}
