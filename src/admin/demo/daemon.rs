//! One posternd of the demo, with its folder. Drop ends it and removes the folder.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::interrupt::Interrupt;
use super::namespaces::Namespace;
use crate::adapters::clock;
use crate::adapters::control::{self, Answer, Question, Status};
use crate::adapters::files;
use crate::adapters::log;
use crate::adapters::process::{self, StartOptions};
use crate::adapters::random;
use crate::core::order::Selection;
use crate::model::exit::{ExitError, FAILED};
use crate::model::grant::Grant;

pub(super) struct Daemon {
    pub(super) folder: PathBuf,
    child: Option<Child>,
    interrupt: Interrupt,
}

impl Daemon {
    pub(super) fn make(interrupt: Interrupt) -> Result<Self, ExitError> {
        Ok(Self {
            folder: folder()?,
            child: None,
            interrupt,
        })
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), ExitError> {
        files::write_private(&self.folder.join(name), text.as_bytes(), true)
            .map_err(|error| ExitError::new(FAILED, error))
    }

    /// The config ends with these sections.
    pub(super) fn start(
        &mut self,
        sections: &str,
        backend: &str,
        space: &Namespace,
    ) -> Result<(), ExitError> {
        self.stop();
        let path = self.folder.display();
        let posternd = format!(
            "[gate]\nname = \"demo\"\nstate_dir = \"{path}/state\"\ncontrol_socket = \"{path}/control.sock\"\nrun_as = \"nobody\"\n\n[firewall]\nbackend = \"{backend}\"\n\n{sections}"
        );
        self.write("posternd.toml", &posternd)?;
        let config = self.folder.join("posternd.toml");
        // The log of an earlier daemon.
        let _ = std::fs::remove_file(self.log());
        let log = files::create_log(&self.log());
        let log = log.map_err(ExitError::system("making the daemon's log"))?;
        let run = move || {
            let env = [
                (log::LEVEL, "debug".to_owned()),
                (log::FORMAT, String::new()),
            ];
            let options = StartOptions {
                stdin: Stdio::null(),
                stdout: Stdio::null(),
                stderr: log.into(),
                env: &env,
            };
            let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
            process::start_self(&arguments, options)
        };
        let child = space.run(run)?;
        self.child = Some(child.map_err(ExitError::system("starting posternd"))?);
        let status = self.wait_for(Duration::from_secs(20), || self.status().ok());
        status.map(drop).ok_or_else(|| {
            let what = format!("posternd did not start; its log:\n{}", self.log_text());
            ExitError::new(FAILED, what)
        })
    }

    pub(super) fn wait_for<R>(
        &self,
        most: Duration,
        mut ask: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let answer = wait_for(most, || {
            if self.interrupt.arrived() {
                Some(None)
            } else {
                ask().map(Some)
            }
        });
        answer.flatten()
    }

    pub(super) fn has_no_grant_within(&self, most: Duration) -> bool {
        let none = || self.grants().ok().filter(Vec::is_empty);
        self.wait_for(most, none).is_some()
    }

    pub(super) fn profile(&self, name: &str) -> String {
        let file = self.folder.join(format!("{name}.toml"));
        file.display().to_string()
    }

    pub(super) fn status(&self) -> Result<Status, ExitError> {
        match self.ask(&Question::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => Err(ExitError::new(FAILED, "unexpected answer from posternd")),
        }
    }

    pub(super) fn grants(&self) -> Result<Vec<Grant>, ExitError> {
        match self.ask(&Question::Grants)? {
            Answer::Grants(listed) => Ok(listed.into_iter().map(|one| one.grant).collect()),
            _ => Err(ExitError::new(FAILED, "unexpected answer from posternd")),
        }
    }

    pub(super) fn close(&self, which: Selection) -> Result<(), ExitError> {
        match self.ask(&Question::Close(which))? {
            Answer::Closed(1..) => Ok(()),
            answer => {
                let what = format!("posternd closed no grant: {answer:?}");
                Err(ExitError::new(FAILED, what))
            }
        }
    }

    pub(super) fn backend(&self) -> &'static str {
        match self.logged(&["firewall by"]) {
            Some(line) if line.contains("firewall by iptables") => "iptables",
            _ => "nftables",
        }
    }

    fn ask(&self, question: &Question) -> Result<Answer, ExitError> {
        control::ask(&self.folder.join("control.sock"), question)
            .map_err(ExitError::system("asking posternd"))
    }

    pub(super) fn logged(&self, words: &[&str]) -> Option<String> {
        let text = self.log_text();
        let mut lines = text.lines().rev();
        let line = lines.find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("posternd.log")
    }

    fn log_text(&self) -> String {
        files::read_system(&self.log()).unwrap_or_default()
    }

    fn stop(&mut self) {
        if let Some(mut daemon) = self.child.take() {
            let _ = kill_process(Pid::from_child(&daemon), Signal::TERM);
            if wait_for(Duration::from_secs(5), || daemon.try_wait().ok().flatten()).is_none() {
                let _ = daemon.kill();
                let _ = daemon.wait();
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wait_for<R>(most: Duration, mut ask: impl FnMut() -> Option<R>) -> Option<R> {
    let start = clock::instant();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if clock::elapsed(start) > most {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn folder() -> Result<PathBuf, ExitError> {
    let bytes: [u8; 8] = random::bytes().map_err(ExitError::system("naming the demo's folder"))?;
    let name = format!("postern-demo-{:016x}", u64::from_be_bytes(bytes));
    let folder = std::env::temp_dir().join(name);
    let made = std::fs::DirBuilder::new().mode(0o755).create(&folder);
    made.map_err(ExitError::system(format!("making {}", folder.display())))?;
    Ok(folder)
}
