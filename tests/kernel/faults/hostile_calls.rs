//! System calls of a hostile engine on everything that it is lent. Its successor is lent the same, and serves.
//!
//! The test traces the engine and makes the calls in its thread, inside its sandbox.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use postern_harness::process::children;
use postern_harness::world::checks::kill;
use postern_harness::{Family, GateConfig, World, wait_for, wait_until};

const METRICS: &str = "127.0.0.1:9476";
const LEVELS: [i32; 6] = [
    libc::SOL_SOCKET,
    libc::IPPROTO_IP,
    libc::IPPROTO_TCP,
    libc::IPPROTO_UDP,
    libc::IPPROTO_IPV6,
    libc::SOL_PACKET,
];

/// A thread of the engine that stopped in a system call.
struct Traced {
    thread: Pid,
    regs: libc::user_regs_struct,
}

impl Traced {
    fn new(engine: u32) -> Self {
        let thread = Pid::from_raw(engine.try_into().unwrap());
        let regs = wait_for("the engine to wait in a system call", || {
            ptrace::attach(thread).unwrap();
            waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
            let regs = ptrace::getregs(thread).unwrap();
            let code = ptrace::read(thread, (regs.rip - 2) as ptrace::AddressType).unwrap();
            if code & 0xffff == 0x050f {
                return Some(regs);
            }
            ptrace::detach(thread, None).unwrap();
            None
        });
        Self { thread, regs }
    }

    /// Puts words at the start of a part of the stack that nothing uses.
    fn place(&self, words: &[u64]) -> u64 {
        let start = self.regs.rsp - 8192;
        for (at, word) in (start..).step_by(8).zip(words) {
            ptrace::write(self.thread, at as ptrace::AddressType, *word as i64).unwrap();
        }
        start
    }

    fn call(&self, number: i64, arguments: &[u64]) -> i64 {
        let mut all = [0; 5];
        all[..arguments.len()].copy_from_slice(arguments);
        let mut regs = self.regs;
        regs.rip -= 2;
        (regs.rax, regs.orig_rax) = (number as u64, u64::MAX);
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8] = all;
        ptrace::setregs(self.thread, regs).unwrap();
        ptrace::step(self.thread, None).unwrap();
        waitpid(self.thread, Some(WaitPidFlag::__WALL)).unwrap();
        ptrace::getregs(self.thread).unwrap().rax as i64
    }

    /// Its parent can wait for its end only after [`Traced::kill`].
    fn kill_unnoticed(&self) {
        kill(self.thread.as_raw().try_into().unwrap());
    }

    fn kill(self) {
        self.kill_unnoticed();
        while waitpid(self.thread, Some(WaitPidFlag::__WALL)).is_ok() {}
    }

    fn harm(&self, descriptor: u64, is_log: bool) {
        self.call(libc::SYS_shutdown, &[descriptor, 2]);
        // A classic filter of one instruction, which drops everything; other options take its first bytes as a number.
        let start = self.regs.rsp - 8192;
        for value in [0, 1, 1 << 30] {
            self.place(&[value, start + 16, 0x06]);
            for level in LEVELS {
                for option in 0..=90 {
                    let arguments = [descriptor, level as u64, option, start, 16];
                    self.call(libc::SYS_setsockopt, &arguments);
                }
            }
            // FIONBIO and FIOASYNC
            for request in [0x5421, 0x5452] {
                self.call(libc::SYS_ioctl, &[descriptor, request, start]);
            }
        }
        for length in [2, 16, 28] {
            self.place(&[libc::AF_UNIX as u64, 0, 0, 0]);
            self.call(libc::SYS_bind, &[descriptor, start, length]);
            self.call(libc::SYS_connect, &[descriptor, start, length]);
        }
        self.call(libc::SYS_listen, &[descriptor, 0]);
        for flags in [
            0,
            libc::O_NONBLOCK,
            libc::O_ASYNC,
            libc::O_NONBLOCK | libc::O_APPEND,
        ] {
            let arguments = [descriptor, libc::F_SETFL as u64, flags as u64];
            self.call(libc::SYS_fcntl, &arguments);
        }
        if is_log {
            self.call(libc::SYS_fallocate, &[descriptor, 0, 0, 1 << 40]);
            self.call(libc::SYS_ftruncate, &[descriptor, 0]);
            self.call(libc::SYS_lseek, &[descriptor, 1 << 40, 0]);
            let copy = self.call(libc::SYS_dup, &[descriptor]);
            self.call(libc::SYS_ftruncate, &[copy as u64, 0]);
        }
    }
}

/// Descriptors of the engine, with whether it is the log's. Its own files and its end of the link are left out.
fn lent(engine: u32) -> Vec<(u64, bool)> {
    let folder = PathBuf::from(format!("/proc/{engine}/fd"));
    let target = |number: &str| fs::read_link(folder.join(number)).unwrap();
    let link = target("0");
    let names = fs::read_dir(&folder).unwrap();
    let names = names.map(|found| found.unwrap().file_name().into_string().unwrap());
    let lent = names.filter(|number| {
        let target = target(number);
        target != link
            && (["1", "2"].contains(&number.as_str())
                || target.to_string_lossy().starts_with("socket:"))
    });
    let numbers = lent.map(|number| number.parse().unwrap());
    numbers.map(|number| (number, number < 3)).collect()
}

fn metrics(world: &World) -> String {
    world.gate.run(|| {
        let address: SocketAddr = METRICS.parse().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    })
}

pub(crate) fn successor_serves_with_all_that_was_lent(backend: &'static str) {
    for capture in ["packet", "udp"] {
        let config = GateConfig::new(backend)
            .gate(&format!("capture = \"{capture}\""))
            .section(&format!("[metrics]\nlisten = \"{METRICS}\""));
        let world = World::start(&config);
        let (engine, log) = (world.daemon.engine(), world.daemon.log());
        let lent = lent(engine);
        // The log twice, control, metrics, and at least one capture.
        assert!(lent.len() > 4, "{lent:?}");
        let traced = Traced::new(engine);
        for (descriptor, is_log) in lent {
            traced.harm(descriptor, is_log);
        }
        traced.kill();
        world.daemon.wait_for_lines(2, &["the engine serves"]);
        assert!(world.daemon.log().starts_with(&log), "the log was cut");
        world.first.open("alice", Family::V4, &["--for", "10m"]);
        world.first.open("alice", Family::V6, &["--for", "10m"]);
        assert_eq!(world.daemon.status().admitted, 2);
        assert!(metrics(&world).starts_with("HTTP/1.1 200 OK"));
        world.daemon.asked(&["close", "--all"]);
    }
}

/// The kernel ends a killed process after it has closed its files, which may take long.
pub(crate) fn engine_that_ends_slowly_delays_no_close(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    world.first.open("alice", Family::V4, &["--for", "2s"]);
    let traced = Traced::new(world.daemon.engine());
    traced.kill_unnoticed();
    world.daemon.wait_for_lines(1, &["closed, ", "10.77.0.2"]);
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    world.first.open("alice", Family::V6, &["--for", "10m"]);
    traced.kill();
    let monitor = world.daemon.pid();
    wait_until("the engine to be waited for", || {
        children(monitor).len() == 1
    });
}
