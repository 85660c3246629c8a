//! A stranger tries all the time, from before the host's rules are loaded until Postern is removed, on a host with Postern and
//! on the same host without it. With Postern no packet gets further (invariant 11).
//!
//! `POSTERN_ROUNDS=200` kills and reloads that often, also on more hosts. `POSTERN_PACE_US=1000` sets the pause between
//! attempts.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use libtest_mimic::Trial;
use postern_harness::Requirement::{self, Program};
use postern_harness::{FAMILIES, GateConfig, Machine, SERVICE, World, number, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, SockRef, Socket, Type};

use super::hosts::NFT_BASICS;

const NEEDS: &[Requirement] = &[Program("ip"), Program("nft"), Program("iptables-nft")];
const UDP: u16 = 2223;
/// Attempts that a phase must see, of four kinds each.
const ATTEMPTS: usize = 4;
/// Attempts that a client leaves open at once.
const OPEN: usize = 64;

const NFT: &str = "nft -f - <<'X'\nflush ruleset\ntable inet filter { chain input { type filter hook input priority filter; policy POLICY; BASICS END }; }\nX";
const IPTABLES: &str = "for v in iptables-VARIANT ip6tables-VARIANT; do $v-restore <<'X'\n*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n\
    -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\nEND\nCOMMIT\nX\ndone";

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("strangers");
    let nft = |policy: &str, end: &str| {
        let script = NFT.replace("BASICS", NFT_BASICS);
        script.replace("POLICY", policy).replace("END", end)
    };
    let iptables =
        |variant: &str, end: &str| IPTABLES.replace("VARIANT", variant).replace("END", end);
    let own = |name, script| (name, NEEDS, script);
    let mut hosts = vec![
        own("nft_final_drop", nft("accept", "drop;")),
        own("nft_final_reject", nft("accept", "reject;")),
        own("iptables", iptables("nft", "-A INPUT -j DROP")),
    ];
    // Without a last rule, the kernel lets packets in while a policy is loaded, also on the host alone.
    if std::env::var_os("POSTERN_ROUNDS").is_some() {
        hosts.extend([
            own("nft_policy_drop", nft("drop", "")),
            own("iptables_policy_drop", iptables("nft", "")),
            own("iptables_legacy_policy_drop", iptables("legacy", "")),
        ]);
        hosts.extend(super::hosts::reloadable());
    }
    let mut trials = Vec::new();
    for (name, needs, script) in hosts {
        let backends = match name {
            "iptables" => &["auto", "iptables"][..],
            _ => &["auto"],
        };
        for (backend, on_stop) in backends
            .iter()
            .flat_map(|backend| ["keep", "remove"].map(|on_stop| (*backend, on_stop)))
        {
            let script = script.clone();
            let name = format!("{name}_{on_stop}::{backend}");
            trials.push(machine.trial(name, needs, move || {
                never_further_than_without_postern(&script, backend, on_stop);
            }));
        }
    }
    trials.extend(postern_harness::trials_by![
        machine, NEEDS, ["iptables", "auto"]; known_source_port_opens_nothing,
    ]);
    trials
}

/// To connection tracking, a SYN with the ports of a known connection is established.
fn known_source_port_opens_nothing(backend: &'static str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    let gate = SocketAddr::from((FAMILIES[0].address(1), SERVICE));
    let connect = |world: &World| {
        world.second.space.run(move || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            let own = SocketAddr::from(([0, 0, 0, 0], 40_000));
            socket.bind(&own.into()).unwrap();
            socket
                .connect_timeout(&gate.into(), Duration::from_millis(300))
                .map(|()| socket)
        })
    };
    let known = connect(&world).unwrap();
    world.start_again();
    world.gate.sh(
        "nft 'table ip last { chain c { type filter hook input priority 2000; tcp flags syn / fin,syn,rst,ack counter; }; }'",
    );
    // The client goes without a word.
    world.second.space.sh(
        "nft 'table ip silent { chain c { type filter hook output priority 0; tcp flags fin,rst drop; }; }'",
    );
    SockRef::from(&known)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(known);
    assert!(connect(&world).is_err());
    let passed = world.gate.sh("nft list table ip last");
    assert!(passed.contains("counter packets 0"), "{passed}");
}

/// Attempts from the second client of a world, and those that reached the host's sockets.
struct Strangers {
    tried: Arc<AtomicUsize>,
    reached: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Strangers {
    fn begin(world: &World) -> Self {
        let pace = Duration::from_micros(number("POSTERN_PACE_US", 20_000).into());
        let [tried, reached] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let stop = Arc::<AtomicBool>::default();
        let strangers = FAMILIES.map(|family| world.second.address(family));
        let gates = FAMILIES.map(|family| family.address(1));
        let count = {
            let (reached, stop) = (Arc::clone(&reached), Arc::clone(&stop));
            move |mut receive: Box<dyn FnMut() -> Option<SocketAddr> + Send>| {
                let (reached, stop) = (Arc::clone(&reached), Arc::clone(&stop));
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let from = receive().map(|from| from.ip().to_canonical());
                        if from.is_some_and(|from| strangers.contains(&from)) {
                            reached.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            }
        };
        let service: TcpListener = world.service.try_clone().unwrap();
        let datagrams = world.gate.run(|| UdpSocket::bind(("::", UDP)).unwrap());
        let timeout = Some(Duration::from_millis(50));
        SockRef::from(&service).set_read_timeout(timeout).unwrap();
        datagrams.set_read_timeout(timeout).unwrap();
        let tcp = count(Box::new(move || Some(service.accept().ok()?.1)));
        let udp = count(Box::new(move || {
            Some(datagrams.recv_from(&mut [0; 9]).ok()?.1)
        }));
        let sender = {
            let (tried, stop) = (Arc::clone(&tried), Arc::clone(&stop));
            world.second.space.run(move || {
                thread::spawn(move || {
                    let datagram = UdpSocket::bind(("::", 0)).unwrap();
                    datagram.set_nonblocking(true).unwrap();
                    let mut open = VecDeque::new();
                    while !stop.load(Ordering::Relaxed) {
                        for gate in gates {
                            open.push_back(try_tcp((gate, SERVICE).into()));
                            let to = match gate {
                                std::net::IpAddr::V4(gate) => gate.to_ipv6_mapped(),
                                std::net::IpAddr::V6(gate) => gate,
                            };
                            let _ = datagram.send_to(b"x", (to, UDP));
                        }
                        while open.len() > OPEN {
                            open.pop_front();
                        }
                        tried.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(pace);
                    }
                })
            })
        };
        Self {
            tried,
            reached,
            stop,
            threads: vec![tcp, udp, sender],
        }
    }

    fn tried(&self) -> usize {
        self.tried.load(Ordering::Relaxed)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn try_tcp(gate: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(gate), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&gate.into());
    socket
}

/// The same host twice, with a stranger at each.
struct Pair {
    with: World,
    alone: World,
    strangers: [Strangers; 2],
    total: [usize; 2],
}

impl Pair {
    /// Something happens to one host or both. The stranger then gets no further with Postern than without.
    fn phase(&mut self, what: &str, happen: impl FnOnce(&mut World, &World)) {
        let before = self
            .strangers
            .each_ref()
            .map(|one| one.reached.load(Ordering::Relaxed));
        happen(&mut self.with, &self.alone);
        for one in &self.strangers {
            let enough = one.tried() + ATTEMPTS;
            wait_until("attempts", || one.tried() >= enough);
        }
        let after = self
            .strangers
            .each_ref()
            .map(|one| one.reached.load(Ordering::Relaxed));
        let [with, alone] = [0, 1].map(|side| after[side] - before[side]);
        self.total[0] += with;
        self.total[1] += alone;
        assert!(
            with == 0 || alone > 0,
            "{what}: {with} attempts got further than without Postern\n{}",
            self.with.daemon.log()
        );
    }
}

fn never_further_than_without_postern(host: &str, backend: &str, on_stop: &str) {
    let config = GateConfig::new(backend)
        .firewall(&format!("on_stop = \"{on_stop}\""))
        .user("dora", &format!("services = [\"udp/{UDP}\"]"));
    let [with, alone] = [(); 2].map(|()| World::prepare(&config));
    let strangers = [&with, &alone].map(Strangers::begin);
    let mut pair = Pair {
        with,
        alone,
        strangers,
        total: [0; 2],
    };
    let load = |world: &mut World, alone: &World| {
        alone.gate.sh(host);
        world.gate.sh(host);
    };
    pair.phase("before the boot", |_, _| ());
    assert!(pair.total[1] > 0, "the stranger's attempts count");
    pair.phase("early start", |world, _| world.start_again());
    pair.phase("the host's rules are loaded", load);
    pair.phase("stop", |world, _| assert!(world.daemon.stop().success()));
    pair.phase("start", |world, _| world.start_again());
    let rounds = number("POSTERN_ROUNDS", 2);
    for round in 0..rounds {
        pair.phase("a knock", |world, _| world.open_both("10m"));
        pair.phase("a reload", load);
        pair.phase("a close", |world, _| {
            drop(world.at_gate(&["close", "--all"]))
        });
        pair.phase("a kill", |world, _| {
            world.first.knock("alice", FAMILIES[0], &["--for", "10m"]);
            thread::sleep(Duration::from_micros(u64::from(round) * 7919 % 20_000));
            let engine = Pid::from_raw(i32::try_from(world.daemon.engine()).unwrap()).unwrap();
            world.kill();
            let _ = kill_process(engine, Signal::KILL);
            if round % 2 == 1 {
                let table = match backend {
                    "auto" => "postern",
                    _ => "postern_live",
                };
                world.gate.sh(&format!("nft delete table inet {table}"));
            }
        });
        pair.phase("a restart", |world, _| world.start_again());
    }
    pair.phase("a start that fails", |world, _| {
        world.daemon.stop();
        let socket = world.folder().join("control.sock");
        let _ = std::fs::remove_file(&socket);
        std::fs::create_dir_all(socket.join("in the way")).unwrap();
        world.daemon.start_process(&world.gate);
        assert!(!world.daemon.wait().success());
        std::fs::remove_dir_all(&socket).unwrap();
    });
    pair.phase("a start after it", |world, _| world.start_again());
    pair.phase("the removal", |world, _| {
        world.daemon.stop();
        world.at_gate(&["flush"]);
    });
    let [with, alone] = pair.total;
    let tried = pair.strangers.each_ref().map(Strangers::tried);
    postern_harness::say(&format!(
        "{rounds} rounds: {with} of {} attempts reached the host with Postern, {alone} of {} without",
        tried[0] * 4,
        tried[1] * 4
    ));
}
