//! A real coordinator in a namespace: started, killed, paused, started again with what it kept.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postern_harness::{Namespace, find};
use rustix::process::{Pid, Signal, kill_process};

/// An etcd of this many nodes.
pub(crate) const THREE: &str = "etcd-of-three";

pub(crate) struct Server {
    kind: &'static str,
    folder: PathBuf,
    more: Vec<String>,
    nodes: Vec<Option<Child>>,
    /// What signals and faults reach: all nodes, or one.
    pub(crate) reached: Range<usize>,
}

impl Server {
    pub(crate) fn start(
        kind: &'static str,
        space: &Namespace,
        folder: &Path,
        more: &[&str],
    ) -> Self {
        let count = if kind == THREE { 3 } else { 1 };
        let mut server = Self {
            kind,
            folder: folder.to_owned(),
            more: more.iter().map(ToString::to_string).collect(),
            nodes: (0..count).map(|_| None).collect(),
            reached: 0..count,
        };
        server.start_again(space);
        server
    }

    /// The port of each node.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        let first = if self.kind == "redis" { 6379 } else { 2379 };
        (0_u16..)
            .map(move |node| first + 10 * node)
            .take(self.nodes.len())
    }

    pub(crate) fn reached_ports(&self) -> Vec<u16> {
        let Range { start, end } = self.reached;
        self.ports().take(end).skip(start).collect()
    }

    /// Starts it with what it kept.
    pub(crate) fn start_again(&mut self, space: &Namespace) {
        let ports: Vec<u16> = self.ports().collect();
        for node in self.reached.clone() {
            assert!(self.nodes[node].is_none(), "it runs already");
            let child = self.start_node(space, &ports, node);
            self.nodes[node] = Some(child);
        }
    }

    fn start_node(&self, space: &Namespace, ports: &[u16], node: usize) -> Child {
        let data = self.folder.join(format!("coordinator{node}"));
        std::fs::create_dir_all(&data).unwrap();
        let (here, port) = (data.display(), ports[node]);
        let (program, line) = match self.kind {
            "redis" => (
                "redis-server",
                format!(
                    "--bind 0.0.0.0 --protected-mode no --dir {here} --appendonly yes --appendfsync always \
                     --maxmemory-policy noeviction"
                ),
            ),
            _ => {
                let peer = |port: &u16| format!("http://127.0.0.1:{}", port + 1);
                let named = ports.iter().enumerate();
                let cluster: Vec<String> = named
                    .map(|(node, port)| format!("node{node}={}", peer(port)))
                    .collect();
                (
                    "etcd",
                    format!(
                        "--name node{node} --data-dir {here}/etcd --listen-client-urls http://0.0.0.0:{port} \
                         --advertise-client-urls http://127.0.0.1:{port} --listen-peer-urls {peer} \
                         --initial-advertise-peer-urls {peer} --initial-cluster {} \
                         --auto-compaction-mode periodic --auto-compaction-retention 5m \
                         --heartbeat-interval 10 --election-timeout 100 --log-level error",
                        cluster.join(","),
                        peer = peer(&port),
                    ),
                )
            }
        };
        let program = find(program).unwrap();
        let mut arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        arguments.extend(self.more.iter().cloned());
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("coordinator.log"))
            .unwrap();
        space.run(move || {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap()
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        for node in self.reached.clone() {
            let child = self.nodes[node].as_ref().expect("it does not run");
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    /// Ends it as an administrator would.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    pub(crate) fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        self.signal(signal);
        for node in self.reached.clone() {
            let mut child = self.nodes[node].take().expect("it does not run");
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
