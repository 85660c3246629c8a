//! Gates of one name while the coordinator is killed, paused, stopped and cut off: no knock is ever admitted twice.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use postern_harness::{Namespace, number, say, wait_for, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

use super::claims::Test;
use super::fleet::{self, Fleet};
use super::process::Process;
use super::servers::Server;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("faults_admit_no_knock_twice", faults_admit_no_knock_twice),
    (
        "gone_coordinator_refuses_at_once",
        gone_coordinator_refuses_at_once,
    ),
];

const DEADLINE_MS: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Kill,
    Pause,
    Stop,
    Cut,
}

/// What one knock met.
struct Sent {
    host: u16,
    is_healthy: bool,
}

pub(crate) fn faults_admit_no_knock_twice(kind: &'static str) {
    let gates = u8::try_from(number("POSTERN_GATES", 3)).unwrap();
    let knocks = number("POSTERN_KNOCKS", 240);
    let deadline = number("POSTERN_DEADLINE_MS", 500);
    let mut fleet = Fleet::start_with(kind, gates, &format!("deadline = \"{deadline}ms\""));
    let (mut sent, mut host, mut returns) = (Vec::new(), 0, Vec::new());
    let mut give = |fleet: &Fleet, sent: &mut Vec<Sent>, is_healthy| {
        host += 1;
        fleet.deliver(&fleet.knock(host));
        sent.push(Sent { host, is_healthy });
        sleep(BETWEEN);
        host
    };
    let nodes = fleet.server().reached.len();
    let mut rounds = Vec::new();
    for (number, fault) in [Fault::Kill, Fault::Pause, Fault::Stop, Fault::Cut]
        .into_iter()
        .enumerate()
    {
        rounds.push((fault, 0..nodes));
        if nodes > 1 {
            let one = number % nodes;
            rounds.push((fault, one..one + 1));
        }
    }
    let each = (knocks / u32::try_from(2 * rounds.len()).unwrap()).max(10);
    for (fault, reached) in rounds {
        fleet.server().reached = reached;
        for _ in 0..each {
            give(&fleet, &mut sent, true);
        }
        // The last healthy ones have their time.
        sleep(Duration::from_millis(u64::from(deadline)));
        fleet.with_server(|server, space| begin(server, space, fault));
        for _ in 0..each {
            give(&fleet, &mut sent, false);
        }
        let ports = fleet.server().reached_ports();
        fleet.with_server(|server, space| end(server, space, fault));
        let answered = wait_for("an answer of the coordinator", || {
            let mut answers = ports.iter().map(|port| answers(&fleet, kind, *port));
            answers.find_map(|answer| answer)
        });
        let back = wait_for("a knock to open", || {
            let host = give(&fleet, &mut sent, false);
            let at = Instant::now();
            let is_open = || {
                let gates = fleet.gates.iter();
                gates.into_iter().any(|gate| {
                    let mut grants = gate.daemon.grants().into_iter();
                    grants.any(|grant| grant.allow.addr() == address(host))
                })
            };
            sleep(Duration::from_millis(u64::from(deadline / 2)));
            is_open().then_some(at)
        });
        returns.push(back.duration_since(answered));
        fleet.wait_until_back();
    }
    settle(
        &fleet,
        u64::from(gates) * u64::try_from(sent.len()).unwrap(),
    );
    judge(&fleet, &sent, &returns);
}

fn address(host: u16) -> std::net::IpAddr {
    let [high, low] = host.to_be_bytes();
    [10, 99, high, low].into()
}

/// A coordinator in its namespace.
pub(crate) struct Shore {
    pub(crate) space: Namespace,
    server: Server,
    kind: &'static str,
    _folder: TempDir,
}

impl Shore {
    pub(crate) fn start(kind: &'static str) -> Self {
        let (folder, space) = (fleet::folder(), Namespace::new());
        let server = Server::start(kind, &space, folder.path(), &[]);
        Self {
            space,
            server,
            kind,
            _folder: folder,
        }
    }

    pub(crate) fn process(&self, member: &str) -> Process {
        Process::start(&self.space, self.kind, member)
    }

    pub(crate) fn begin(&mut self, fault: Fault) {
        begin(&mut self.server, &self.space, fault);
    }

    pub(crate) fn end(&mut self, fault: Fault) {
        end(&mut self.server, &self.space, fault);
    }
}

/// Gates reach the coordinator by a link, and processes alone by 127.0.0.2. etcd itself uses 127.0.0.1.
pub(crate) fn begin(server: &mut Server, space: &Namespace, fault: Fault) {
    match fault {
        Fault::Kill => server.kill(),
        Fault::Stop => server.stop(),
        Fault::Pause => server.signal(Signal::STOP),
        Fault::Cut => {
            let mut table = "add table inet cut\nadd chain inet cut in { type filter hook input priority 0; }\n".to_owned();
            for port in server.reached_ports() {
                for from in ["iifname != \"lo\"", "ip daddr 127.0.0.2"] {
                    table += &format!("add rule inet cut in {from} tcp dport {port} drop\n");
                }
            }
            nft(space, table);
        }
    }
}

pub(crate) fn end(server: &mut Server, space: &Namespace, fault: Fault) {
    match fault {
        Fault::Kill | Fault::Stop => server.start_again(space),
        Fault::Pause => server.signal(Signal::CONT),
        Fault::Cut => nft(space, "delete table inet cut\n".to_owned()),
    }
}

fn nft(space: &Namespace, commands: String) {
    space.run(move || {
        let mut child = std::process::Command::new("nft")
            .args(["-f", "-"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(commands.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    });
}

/// When the coordinator first carried out a request of its own host.
fn answers(fleet: &Fleet, kind: &'static str, port: u16) -> Option<Instant> {
    let (request, good) = if kind == "redis" {
        ("PING\r\n".to_owned(), "+PONG")
    } else {
        let body = "{\"key\":\"YQ==\"}";
        let request = format!(
            "POST /v3/kv/range HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        (request, "200 OK")
    };
    fleet.space.run(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).ok()?;
        let is_good = String::from_utf8_lossy(&answer[..length]).contains(good);
        is_good.then(Instant::now)
    })
}

/// Waits until every gate has decided about every knock.
fn settle(fleet: &Fleet, most: u64) {
    wait_until("every gate to decide", || {
        let decided = fleet.count("drop duplicate")
            + fleet.count("drop replay")
            + fleet.count("refuse coordinator")
            + u64::try_from(fleet.grants()).unwrap();
        decided >= most
    });
}

fn judge(fleet: &Fleet, sent: &[Sent], returns: &[Duration]) {
    let mut opened: BTreeMap<std::net::IpAddr, u32> = BTreeMap::new();
    for gate in &fleet.gates {
        for grant in gate.daemon.grants() {
            *opened.entry(grant.allow.addr()).or_default() += 1;
        }
    }
    let twice = opened.values().filter(|count| **count > 1).count();
    let healthy: Vec<&Sent> = sent.iter().filter(|one| one.is_healthy).collect();
    let admitted = healthy
        .iter()
        .filter(|one| opened.get(&address(one.host)) == Some(&1))
        .count();
    say(&format!(
        "{} knocks to {} gates: {twice} admitted twice; {admitted} of {} sent in calm admitted by one gate; back after {returns:.0?}",
        sent.len(),
        fleet.gates.len(),
        healthy.len(),
    ));
    assert_eq!(twice, 0);
    assert!(admitted * 100 >= healthy.len() * 97);
    assert!(returns.iter().all(|took| *took < Duration::from_secs(2)));
}

/// With the coordinator gone, every knock is refused, and none waits longer than the deadline.
pub(crate) fn gone_coordinator_refuses_at_once(kind: &'static str) {
    let knocks = number("POSTERN_KNOCKS", 100).min(1000);
    let mut fleet = Fleet::start_with(kind, 1, &format!("deadline = \"{DEADLINE_MS}ms\""));
    fleet.server().kill();
    let mut took: Vec<Duration> = Vec::new();
    for host in 1..=u16::try_from(knocks).unwrap() {
        let knock = fleet.knock(host);
        let start = postern_harness::now();
        fleet.deliver(&knock);
        let line = wait_for("a refusal", || {
            let lines = fleet.gates[0].daemon.logged(&["refused: alice"]);
            lines.get(usize::from(host) - 1).cloned()
        });
        let at = line.split_whitespace().next().unwrap();
        let at: jiff::Timestamp = at.parse().unwrap();
        let at = u64::try_from(at.as_millisecond()).unwrap();
        took.push(Duration::from_millis(at.saturating_sub(start.as_millis())));
    }
    took.sort_unstable();
    let (half, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    say(&format!(
        "{knocks} knocks refused: p50 {half:?}, p99 {most:?}"
    ));
    assert_eq!(fleet.count("refuse coordinator"), u64::from(knocks));
    assert_eq!(fleet.grants(), 0);
}
