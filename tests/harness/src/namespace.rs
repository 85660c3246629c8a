//! Network namespaces for tests: a thread in a namespace of its own, and jobs that run on that thread.
//!
//! A namespace has no name. The kernel removes it with its thread and the sockets that were made in it, so nothing is left.
//! Needs root and `ip`.

use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::programs::find;
use crate::wait::wait_until;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with loopback up.
pub struct Namespace {
    jobs: Sender<Job>,
    /// By which `ip link … netns` finds it.
    pub thread_id: i32,
}

impl Namespace {
    #[expect(clippy::new_without_default, reason = "it starts a thread")]
    pub fn new() -> Self {
        let (jobs, queue) = channel::<Job>();
        let (ready, is_ready) = channel();
        thread::spawn(move || {
            assert!(
                rustix::process::geteuid().is_root(),
                "this test makes network namespaces: run it as root"
            );
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ready
                .send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            for job in queue {
                job();
            }
        });
        let namespace = Self {
            jobs,
            thread_id: is_ready.recv().expect("no namespace"),
        };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `job` inside; sockets it makes stay inside, wherever they go.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        self.jobs
            .send(Box::new(move || answer.send(job()).unwrap()))
            .expect("the namespace's thread has panicked");
        answered.recv().expect("the job panicked")
    }

    /// Runs `ip` with these words inside and returns what it printed.
    pub fn ip(&self, words: &str) -> String {
        self.sh(&format!("ip {words}"))
    }

    /// Runs lines of `ip` in one go.
    pub fn ip_batch(&self, lines: &str) {
        self.sh(&format!("ip -batch - <<END\n{lines}\nEND"));
    }

    /// The kernel starts to send on a link some time after it says that the link is up.
    pub fn wait_for_carrier(&self, interface: &str) {
        wait_until(&format!("carrier on {interface}"), || {
            self.ip(&format!("-o link show {interface}"))
                .contains(" state UP ")
        });
    }
}

/// A veth pair from `gate0` in the first to `peer0` in the second, with 192.0.2.1 and .2, 2001:db8::1 and ::2. The ends know
/// each other, so that no datagram waits for its neighbour to be found and is overtaken.
pub fn join(gate: &Namespace, peer: &Namespace) {
    let there = peer.thread_id;
    gate.ip(&format!("link add gate0 address 02:00:00:00:00:01 type veth peer name peer0 address 02:00:00:00:00:02 netns {there}"));
    for (end, name, host, other) in [(gate, "gate0", 1, 2), (peer, "peer0", 2, 1)] {
        end.ip(&format!("addr add 192.0.2.{host}/24 dev {name}"));
        end.ip(&format!("-6 addr add 2001:db8::{host}/64 dev {name} nodad"));
        end.ip(&format!("link set {name} up"));
        for address in [format!("192.0.2.{other}"), format!("2001:db8::{other}")] {
            end.ip(&format!(
                "neigh replace {address} lladdr 02:00:00:00:00:0{other} dev {name} nud permanent"
            ));
        }
    }
    gate.wait_for_carrier("gate0");
    peer.wait_for_carrier("peer0");
}

/// Runs a program in a namespace to its end, with no input.
pub fn run(namespace: &Namespace, program: &str, arguments: &[&str]) -> Output {
    let path = find(program).unwrap_or_else(|| panic!("the program {program} is missing"));
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    namespace.run(move || {
        Command::new(path)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    })
}
