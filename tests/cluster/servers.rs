//! A real coordinator in a namespace: started, killed, paused, started again with what it kept.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postern_harness::{Namespace, find};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) struct Server {
    kind: &'static str,
    folder: PathBuf,
    more: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn start(
        kind: &'static str,
        space: &Namespace,
        folder: &Path,
        more: &[&str],
    ) -> Self {
        let mut server = Self {
            kind,
            folder: folder.to_owned(),
            more: more.iter().map(ToString::to_string).collect(),
            child: None,
        };
        server.start_again(space);
        server
    }

    pub(crate) fn port(&self) -> u16 {
        if self.kind == "etcd" { 2379 } else { 6379 }
    }

    /// Starts it with what it kept.
    pub(crate) fn start_again(&mut self, space: &Namespace) {
        assert!(self.child.is_none(), "it runs already");
        let data = self.folder.join("coordinator");
        std::fs::create_dir_all(&data).unwrap();
        let here = data.display();
        let (program, line) = match self.kind {
            "etcd" => (
                "etcd",
                format!(
                    "--data-dir {here}/etcd --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://127.0.0.1:2379 \
                     --listen-peer-urls http://127.0.0.1:2380 --auto-compaction-mode periodic --auto-compaction-retention 5m \
                     --heartbeat-interval 10 --election-timeout 100 --log-level error"
                ),
            ),
            _ => (
                "redis-server",
                format!(
                    "--bind 0.0.0.0 --protected-mode no --dir {here} --appendonly yes --appendfsync always \
                     --maxmemory-policy noeviction"
                ),
            ),
        };
        let program = find(program).unwrap();
        let mut arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        arguments.extend(self.more.iter().cloned());
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("coordinator.log"))
            .unwrap();
        self.child = Some(space.run(move || {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap()
        }));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it does not run");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Ends it as an administrator would.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("it does not run");
        child.wait().unwrap();
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it does not run");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
