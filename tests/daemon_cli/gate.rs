//! Runs `posternd` with a config of its own, in a network namespace of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use tempfile::TempDir;

const POSTERND: &str = env!("CARGO_BIN_EXE_posternd");

/// The key of alice. Its parts are easy to find in output.
pub(crate) const KEY: &str = "QUtleVRoYXROb2JvZHlNYXlTZWVJbkFueUxpbmVTYWk=";

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The only line of a run that failed with this exit code.
    pub(crate) fn one_line(self, code: i32) -> String {
        assert_eq!(
            (self.code, self.out.as_str()),
            (Some(code), ""),
            "{}",
            self.err
        );
        let line = self
            .err
            .strip_suffix('\n')
            .unwrap_or_else(|| panic!("not a whole line: {:?}", self.err));
        assert!(!line.contains('\n'), "{line}");
        line.strip_prefix("posternd: ")
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned()
    }
}

/// Arguments: one text with spaces between words, or a list.
pub(crate) trait Arguments {
    fn words(&self) -> Vec<&str>;
}

impl Arguments for &str {
    fn words(&self) -> Vec<&str> {
        self.split_whitespace().collect()
    }
}

impl Arguments for &[&str] {
    fn words(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl<const N: usize> Arguments for &[&str; N] {
    fn words(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl Arguments for &Vec<&str> {
    fn words(&self) -> Vec<&str> {
        self.to_vec()
    }
}

pub(crate) struct Gate {
    folder: TempDir,
}

impl Gate {
    /// Has no config yet.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("postern-cli-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// Has this config; FOLDER and KEY in it are replaced.
    pub(crate) fn new(config: &str) -> Self {
        let gate = Self::empty();
        gate.write("posternd.toml", config);
        gate
    }

    /// Has a valid config with these lines in `[gate]`, `[firewall]` and the user.
    pub(crate) fn good(gate: &str, firewall: &str, user: &str) -> Self {
        Self::new(&good(gate, firewall, user))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = text
            .replace("FOLDER", self.folder.path().to_str().unwrap())
            .replace("KEY", KEY);
        fs::write(&path, text).unwrap();
        self.mode(name, 0o600);
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn give_to(&self, name: &str, user: u32) {
        std::os::unix::fs::chown(self.path(name), Some(user), Some(user)).unwrap();
    }

    /// Runs `posternd` with this config.
    pub(crate) fn run(&self, arguments: impl Arguments) -> Ran {
        self.run_through("exec \"$@\"", arguments)
    }

    /// Runs a shell script in new network and mount namespaces. `"$@"` is `posternd` with this config.
    pub(crate) fn run_through(&self, script: &str, arguments: impl Arguments) -> Ran {
        let config = self.path("posternd.toml");
        run(
            script,
            &[
                arguments.words().as_slice(),
                &["--config", config.to_str().unwrap()],
            ]
            .concat(),
            &[],
        )
    }

    /// Runs `posternd` with this config as the user nobody.
    pub(crate) fn run_as_nobody(&self, arguments: impl Arguments) -> Ran {
        // Other users may not reach the build folder. cp makes the copy, so that no process of this test has it open for writing.
        let copy = self.path("posternd").display().to_string();
        let script = format!(
            "cp {POSTERND} {copy}; shift; exec setpriv --reuid 65534 --regid 65534 --clear-groups {copy} \"$@\""
        );
        self.run_through(&script, arguments)
    }

    /// Starts `posternd run` and waits until it serves.
    pub(crate) fn start(&self) -> Daemon {
        let log = self.path("log");
        let file = fs::File::create(&log).unwrap();
        let mut command = std::process::Command::new("unshare");
        command
            .args(["-n", POSTERND, "run", "--config"])
            .arg(self.path("posternd.toml"))
            .env_clear();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let daemon = Daemon(child);
        let start = Instant::now();
        while !fs::read_to_string(&log)
            .unwrap()
            .contains("the engine serves")
        {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "it did not come up: {}",
                fs::read_to_string(&log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }
}

/// A valid config with these lines in `[gate]`, `[firewall]` and the user.
pub(crate) fn good(gate: &str, firewall: &str, user: &str) -> String {
    format!(
        "[gate]\nname = \"gate.test\"\nstate_dir = \"FOLDER/state\"\ncontrol_socket = \"FOLDER/control.sock\"\n{gate}\n\
         [firewall]\n{firewall}\n[[user]]\nname = \"alice\"\nservices = [\"tcp/22\"]\n{user}\n"
    )
}

/// Runs `posternd`, and checks that it prints no key.
pub(crate) fn run(script: &str, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new("unshare");
    command
        .args(["-n", "-m", "/bin/sh", "-c", script, "sh", POSTERND])
        .args(arguments);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(env.iter().copied());
    let output = command.timeout(Duration::from_secs(60)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let ran = Ran {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    };
    for part in [&KEY[..10], &KEY[10..20], &KEY[20..30], &KEY[30..40]] {
        assert!(
            !ran.out.contains(part) && !ran.err.contains(part),
            "a key was said: {ran:?}"
        );
    }
    ran
}

/// A running daemon; drop stops it.
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        let _ = self.0.wait();
    }
}

/// A script that hides programs and runs the command.
pub(crate) fn without(programs: &[&str]) -> String {
    let hide: String = programs
        .iter()
        .map(|program| format!("mount --bind /dev/null {program} && "))
        .collect();
    format!("{hide} exec \"$@\"")
}

pub(crate) fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
