//! Runs `posternd` with a config of its own, in a network namespace of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use tempfile::TempDir;

pub(crate) use postern_harness::says;

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
    #[track_caller]
    pub(crate) fn one_line(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        says(&self.err, "posternd: …\n");
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        self.err["posternd: ".len()..].trim_end().to_owned()
    }

    /// Fails unless the run ended with this exit code and its only line is this pattern.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, pattern: &str) {
        says(&self.one_line(code), pattern);
    }

    /// The output of a success without messages.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    /// The JSON object of a success.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
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

    /// Has a valid config for iptables, with these lines in `[gate]`.
    pub(crate) fn with(gate: &str) -> Self {
        Self::good(gate, "backend = \"iptables\"", "key = \"KEY\"")
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

    /// Writes the file of a user, in a private folder.
    pub(crate) fn write_user(&self, name: &str, text: &str) {
        self.write(&format!("users.d/{name}.toml"), text);
        self.mode("users.d", 0o700);
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn mode_of(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// The path as text, for arguments and messages.
    pub(crate) fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn give_to(&self, name: &str, user: u32) {
        std::os::unix::fs::chown(self.path(name), Some(user), Some(user)).unwrap();
    }

    /// Runs `posternd` with this config.
    pub(crate) fn run(&self, arguments: &str) -> Ran {
        self.run_through("exec \"$@\"", arguments)
    }

    /// The same with arguments that may have spaces or be empty.
    pub(crate) fn run_words(&self, arguments: &[&str]) -> Ran {
        let config = self.place("posternd.toml");
        let arguments = [arguments, &["--config", &config]].concat();
        run("exec \"$@\"", &arguments)
    }

    /// Runs a shell script in new network and mount namespaces. `"$@"` is `posternd` with this config.
    pub(crate) fn run_through(&self, script: &str, arguments: &str) -> Ran {
        let config = self.place("posternd.toml");
        let arguments = arguments.split_whitespace().chain(["--config", &config]);
        run(script, &arguments.collect::<Vec<_>>())
    }

    /// Runs `posternd` with this config as the user nobody.
    pub(crate) fn run_as_nobody(&self, arguments: &str) -> Ran {
        // Other users may not reach the build folder. cp makes the copy, so that no process of this test has it open for writing.
        let copy = self.place("posternd");
        let script = format!(
            "cp {POSTERND} {copy}; shift; exec setpriv --reuid 65534 --regid 65534 --clear-groups {copy} \"$@\""
        );
        self.run_through(&script, arguments)
    }

    /// Starts `posternd run` and waits until it serves.
    pub(crate) fn start(&self) -> Daemon {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = std::process::Command::new("unshare");
        command
            .args(["-n", POSTERND, "run", "--config"])
            .arg(self.path("posternd.toml"))
            .env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let daemon = Daemon(command.stderr(log).spawn().unwrap());
        postern_harness::wait_for("the daemon to serve", || {
            let serves = self.text("log").contains("the engine serves");
            serves.then_some(())
        });
        daemon
    }
}

/// A valid config with these lines in `[gate]`, `[firewall]` and the user.
pub(crate) fn good(gate: &str, firewall: &str, user: &str) -> String {
    // Not every host has the user postern.
    let run_as = "run_as = \"daemon\"";
    let gate = match gate {
        "" => run_as.to_owned(),
        gate if gate.contains("run_as") => gate.to_owned(),
        gate => format!("{gate}\n{run_as}"),
    };
    format!(
        "[gate]\nname = \"gate.test\"\nstate_dir = \"FOLDER/state\"\ncontrol_socket = \"FOLDER/control.sock\"\n{gate}\n\
         [firewall]\n{firewall}\n[[user]]\nname = \"alice\"\nservices = [\"tcp/22\"]\n{user}\n"
    )
}

/// Runs `posternd`, and checks that it prints no key.
pub(crate) fn run(script: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new("unshare");
    command
        .args(["-n", "-m", "/bin/sh", "-c", script, "sh", POSTERND])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.timeout(Duration::from_secs(60)).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    };
    let shown = ran.out.clone() + &ran.err;
    for part in [&KEY[..10], &KEY[10..20], &KEY[20..30], &KEY[30..40]] {
        assert!(!shown.contains(part), "a key was shown: {ran:?}");
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
