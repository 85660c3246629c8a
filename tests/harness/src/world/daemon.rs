//! posternd as a process of its own: started, asked with its own commands, stopped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use postern::model::grant::Grant;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::process::{children, is_engine};
use crate::{Namespace, posternd, say, wait_for};

/// What `posternd status --json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Status {
    pub users: usize,
    pub uptime_ms: u64,
    pub marks: usize,
    pub admitted: u64,
    pub reasons: BTreeMap<String, u64>,
    pub hint_filter: bool,
    pub captures: Vec<Captured>,
}

/// What `posternd status --json` says of one capture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Captured {
    pub received: u64,
    /// In the kernel, because the queue was full.
    pub dropped: Option<u64>,
    /// Why it captures nothing now.
    pub why: Option<String>,
    /// Of a log sensor.
    pub malformed: Option<u64>,
    pub restarts: Option<u64>,
}

impl Status {
    /// How many datagrams were admitted, refused or dropped.
    pub fn judged(&self) -> u64 {
        self.admitted + self.reasons.values().sum::<u64>()
    }

    /// How often this reason was given, such as `drop replay`.
    pub fn count(&self, reason: &str) -> u64 {
        self.reasons.get(reason).copied().unwrap_or_default()
    }
}

/// A posternd that runs or has run.
pub struct Daemon {
    folder: PathBuf,
    starts: u32,
    child: Option<Child>,
    /// Further arguments of `posternd run`.
    pub options: Vec<String>,
    /// A shell script that it is run through, in a mount namespace of its own; `"$@"` is the command.
    pub through: Option<String>,
    /// `debug`, so that a test sees all; or what it is about.
    pub level: &'static str,
}

impl Daemon {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            starts: 0,
            child: None,
            options: Vec::new(),
            through: None,
            level: "debug",
        }
    }

    /// Starts it and waits until its engine serves.
    pub fn start(&mut self, gate: &Namespace) {
        self.start_process(gate);
        wait_for("posternd to serve", || {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().unwrap());
            assert_eq!(ended, None, "posternd did not start:\n{}", self.log());
            self.log().contains("the engine serves").then_some(())
        });
    }

    /// Starts it and waits for nothing.
    pub fn start_process(&mut self, gate: &Namespace) {
        assert!(self.child.is_none(), "it runs already");
        self.starts += 1;
        let log = File::create(self.log_path()).unwrap();
        let (config, options, through, level) = (
            self.config(),
            self.options.clone(),
            self.through.clone(),
            self.level,
        );
        let child = gate.run(move || {
            let mut command = Command::new(if through.is_some() {
                "unshare"
            } else {
                posternd()
            });
            if let Some(script) = through {
                command.args(["--mount", "/bin/sh", "-c", &script, "sh", posternd()]);
            }
            command
                .args(["run", "--config", &config])
                .args(&options)
                .env_clear()
                .env("POSTERN_LOG", level)
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap()
        });
        self.child = Some(child);
    }

    /// Ends it with SIGTERM, as an administrator would, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(
            Pid::from_child(self.child.as_ref().expect("it does not run")),
            signal,
        )
        .unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it does not run");
        wait_for("posternd to end", || child.try_wait().unwrap())
    }

    /// The monitor's process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it does not run").id()
    }

    /// The engine's process: the monitor's only child that lasts.
    pub fn engine(&self) -> u32 {
        wait_for("an engine", || self.engines().first().copied())
    }

    /// The engine that serves, and one that is to follow.
    pub fn engines(&self) -> Vec<u32> {
        let mut children = children(self.pid());
        children.retain(|pid| is_engine(*pid));
        children
    }

    /// `posternd status --json`.
    pub fn status(&self) -> Status {
        serde_json::from_slice(&self.asked(&["status", "--json"]).stdout).unwrap()
    }

    /// `posternd grants --json`, in the order of their numbers.
    pub fn grants(&self) -> Vec<Grant> {
        let mut said: serde_json::Value =
            serde_json::from_slice(&self.asked(&["grants", "--json"]).stdout).unwrap();
        for grant in said["grants"].as_array_mut().unwrap() {
            // The fields that are no part of a grant.
            for field in ["left_ms", "knocks"] {
                let removed = grant.as_object_mut().unwrap().remove(field);
                assert!(removed.is_some(), "{field}: {grant}");
            }
        }
        let mut grants: Vec<Grant> = serde_json::from_value(said["grants"].take()).unwrap();
        grants.sort_by_key(|grant| grant.id);
        grants
    }

    /// Waits until this reason has been given so often, and returns the whole status.
    pub fn wait_for_count(&self, reason: &str, count: u64) -> Status {
        wait_for(&format!("{count} × {reason:?}"), || {
            Some(self.status()).filter(|status| status.count(reason) >= count)
        })
    }

    /// Waits until so many knocks were admitted, and returns the whole status.
    pub fn wait_for_admitted(&self, count: u64) -> Status {
        wait_for(&format!("{count} admitted knocks"), || {
            Some(self.status()).filter(|status| status.admitted >= count)
        })
    }

    /// Runs a command that must succeed, with this gate's config.
    pub fn asked(&self, arguments: &[&str]) -> Output {
        let output = self.ask(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "posternd {}: {said}",
            arguments.join(" ")
        );
        output
    }

    /// Runs a command that needs no namespace, with this gate's config.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(posternd());
        command
            .args(arguments)
            .args(["--config", &self.config()])
            .env_clear()
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Runs a command in the gate's namespace, with this gate's config.
    pub fn at_gate(&self, gate: &Namespace, arguments: &[&str]) -> Output {
        let config = self.config();
        crate::run(
            gate,
            posternd(),
            &[arguments, &["--config", &config]].concat(),
        )
    }

    /// Its log since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Lines of the log that contain all these words.
    pub fn logged(&self, words: &[&str]) -> Vec<String> {
        self.log()
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .map(str::to_owned)
            .collect()
    }

    /// Fails unless so many lines of the log contain all these words.
    pub fn expect_logged(&self, count: usize, words: &[&str]) {
        let lines = self.logged(words);
        assert_eq!(lines.len(), count, "{words:?}: {lines:#?}\n{}", self.log());
    }

    /// Waits until so many lines of the log contain all these words.
    pub fn wait_for_lines(&self, count: usize, words: &[&str]) -> Vec<String> {
        wait_for(&format!("{count} lines in the log with {words:?}"), || {
            Some(self.logged(words)).filter(|lines| lines.len() >= count)
        })
    }

    fn config(&self) -> String {
        self.folder.join("posternd.toml").display().to_string()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("posternd-{}.log", self.starts))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            say(&format!(
                "the last that posternd logged:\n{}",
                last.join("\n")
            ));
        }
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        for _ in 0..200 {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
