//! Gates of one name while the coordinator is killed, paused, stopped and cut off: no knock is ever admitted twice.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use postern_harness::{number, say, wait_for, wait_until};
use rustix::process::Signal;

use super::claims::Test;
use super::fleet::Fleet;

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
enum Fault {
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
    let rounds = [Fault::Kill, Fault::Pause, Fault::Stop, Fault::Cut];
    let each = (knocks / 8).max(10);
    for fault in rounds {
        for _ in 0..each {
            give(&fleet, &mut sent, true);
        }
        // The last healthy ones have their time.
        sleep(Duration::from_millis(u64::from(deadline)));
        begin(&mut fleet, fault);
        for _ in 0..each {
            give(&fleet, &mut sent, false);
        }
        end(&mut fleet, fault);
        let answered = wait_for("an answer of the coordinator", || answers(&fleet, kind));
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

fn begin(fleet: &mut Fleet, fault: Fault) {
    match fault {
        Fault::Kill => fleet.server().kill(),
        Fault::Stop => fleet.server().stop(),
        Fault::Pause => fleet.server().signal(Signal::STOP),
        Fault::Cut => {
            let port = fleet.server().port();
            let table = format!(
                "add table inet cut\nadd chain inet cut in {{ type filter hook input priority 0; }}\n\
                 add rule inet cut in iifname != \"lo\" tcp dport {port} drop\n"
            );
            nft(fleet, table);
        }
    }
}

fn end(fleet: &mut Fleet, fault: Fault) {
    match fault {
        Fault::Kill | Fault::Stop => {
            fleet.start_server();
        }
        Fault::Pause => fleet.server().signal(Signal::CONT),
        Fault::Cut => nft(fleet, "delete table inet cut\n".to_owned()),
    }
}

fn nft(fleet: &Fleet, commands: String) {
    fleet.space.run(move || {
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
fn answers(fleet: &Fleet, kind: &'static str) -> Option<Instant> {
    let port = if kind == "etcd" { 2379 } else { 6379 };
    let (request, good) = if kind == "etcd" {
        let body = "{\"key\":\"YQ==\"}";
        let request = format!(
            "POST /v3/kv/range HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        (request, "200 OK")
    } else {
        ("PING\r\n".to_owned(), "+PONG")
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
