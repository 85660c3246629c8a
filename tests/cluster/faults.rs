//! Gates of one name while the coordinator is killed, paused, stopped and cut off at random: no knock is ever admitted twice.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use postern_harness::{Namespace, Random, now, number, say, wait_for, wait_until};

use super::claims::Test;
use super::fleet::Fleet;
use super::outages::{Outage, begin, end, plan};
use super::servers::Server;
use super::timeline::{BACK_MS, Change, Timeline};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("faults_admit_no_knock_twice", faults_admit_no_knock_twice),
    (
        "gone_coordinator_refuses_at_once",
        gone_coordinator_refuses_at_once,
    ),
];

const DEADLINE_MS: u32 = 50;
const BETWEEN_MS: u64 = 10;

/// The build for tests runs on busy machines. A release is held to its figures.
const PATIENCE_MS: u64 = if cfg!(debug_assertions) { 1000 } else { 0 };

/// Every gate gets every knock, one each 10 ms, while faults come and go.
pub(crate) fn faults_admit_no_knock_twice(kind: &'static str) {
    let gates = u8::try_from(number("POSTERN_GATES", 3)).unwrap();
    let knocks = u64::from(number("POSTERN_KNOCKS", 1200));
    let deadline = u64::from(number("POSTERN_DEADLINE_MS", 500));
    let seed = number("POSTERN_SEED", std::process::id());
    say(&format!("POSTERN_SEED={seed}"));
    let mut fleet = Fleet::start_with(kind, gates, &format!("deadline = \"{deadline}ms\""));
    let mut server = fleet.server.take().expect("its own");
    let nodes = server.ports().count();
    let plan = plan(&mut Random(seed.into()), nodes, gates, knocks * BETWEEN_MS);
    let probes: Vec<Probes> = server
        .ports()
        .map(|port| Probes::start(&fleet.space, kind, port))
        .collect();
    let start = now().as_millis();
    let mut sent = Vec::new();
    let changes = thread::scope(|scope| {
        let space = &fleet.space;
        let (plan, server) = (&plan, &mut server);
        let faults = scope.spawn(move || carry_out(plan, server, space, start));
        for host in 1..=knocks {
            let knock = fleet.knock(u16::try_from(host).unwrap());
            sleep_until(start + host * BETWEEN_MS);
            sent.push(now().as_millis());
            fleet.deliver(&knock);
        }
        faults.join().unwrap()
    });
    fleet.server = Some(server);
    fleet.wait_until_back();
    settle(&fleet, u64::from(gates) * knocks);
    let timeline = Timeline {
        nodes,
        plan,
        changes,
        answers: probes.into_iter().map(Probes::stop).collect(),
        deadline,
        until: sent.last().copied().unwrap_or_default(),
    };
    judge(&fleet, &sent, &timeline);
}

/// Returns when each fault began and ended.
fn carry_out(plan: &[Outage], server: &mut Server, space: &Namespace, start: u64) -> Vec<Change> {
    let mut steps: Vec<(u64, bool, usize)> = Vec::new();
    for (number, outage) in plan.iter().enumerate() {
        steps.push((outage.times.start, true, number));
        steps.push((outage.times.end, false, number));
    }
    steps.sort_unstable();
    let mut changes = Vec::new();
    for (at, begins, outage) in steps {
        sleep_until(start + at);
        let Outage { fault, nodes, .. } = plan[outage].clone();
        server.reached = nodes;
        let from = now().as_millis();
        let act = if begins { begin } else { end };
        act(server, space, fault);
        changes.push(Change {
            outage,
            begins,
            times: from..now().as_millis(),
        });
    }
    changes
}

fn sleep_until(millis: u64) {
    sleep(Duration::from_millis(
        millis.saturating_sub(now().as_millis()),
    ));
}

/// Asks one node again and again, by the way of the gates.
struct Probes {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(u64, u64)>>,
}

impl Probes {
    fn start(space: &Namespace, kind: &'static str, port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let thread = space.run(move || {
            thread::spawn(move || {
                let mut answers = Vec::new();
                while !flag.load(Ordering::Relaxed) {
                    let asked = now().as_millis();
                    if answered(kind, port).is_some() {
                        answers.push((asked, now().as_millis()));
                    }
                    sleep(Duration::from_millis(10));
                }
                answers
            })
        });
        Self { is_over, thread }
    }

    /// When it asked and was answered.
    fn stop(self) -> Vec<(u64, u64)> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Whether the node carries out a request.
fn answered(kind: &'static str, port: u16) -> Option<()> {
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
    let within = Duration::from_millis(200);
    let address = ([127, 0, 0, 2], port).into();
    let mut stream = TcpStream::connect_timeout(&address, within).ok()?;
    stream.set_read_timeout(Some(within)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).ok()?;
    let is_good = String::from_utf8_lossy(&answer[..length]).contains(good);
    is_good.then_some(())
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

/// What one gate logged about each knock: when, and for which address it opened.
struct Decided {
    at: u64,
    opens: Option<String>,
    is_claimed: bool,
}

fn decided(log: &str) -> Vec<Decided> {
    let line = |line: &str| {
        let opens = line.split_once(" open: ").map(|(_, grant)| {
            let address = grant
                .split_whitespace()
                .find(|word| word.starts_with("10.99."));
            address.expect("an address").to_owned()
        });
        let is_claimed = opens.is_some() || line.contains("another gate admitted this knock first");
        let is_refused = line.contains("refused: alice");
        (is_claimed || is_refused).then(|| Decided {
            at: logged_at(line),
            opens,
            is_claimed,
        })
    };
    log.lines().filter_map(line).collect()
}

fn logged_at(line: &str) -> u64 {
    let at: jiff::Timestamp = line.split_whitespace().next().unwrap().parse().unwrap();
    u64::try_from(at.as_millisecond()).unwrap()
}

fn judge(fleet: &Fleet, sent: &[u64], timeline: &Timeline) {
    let logs = fleet.gates.iter().map(|gate| decided(&gate.daemon.log()));
    let logs: Vec<Vec<Decided>> = logs.collect();
    let mut opened: BTreeMap<&str, u32> = BTreeMap::new();
    for address in logs.iter().flatten().filter_map(|one| one.opens.as_deref()) {
        *opened.entry(address).or_default() += 1;
    }
    let twice = opened.values().filter(|count| **count > 1).count();
    let opened = |knock: usize| {
        let [high, low] = u16::try_from(knock + 1).unwrap().to_be_bytes();
        opened.contains_key(format!("10.99.{high}.{low}/32").as_str())
    };
    let healthy: Vec<usize> = timeline.healthy(sent);
    let admitted = healthy.iter().filter(|knock| opened(**knock)).count();
    let gone: Vec<usize> = timeline.gone(sent);
    let while_gone = gone.iter().filter(|knock| opened(**knock)).count();

    // A gate decides in the order of arrival, or nearly so.
    let waits = logs.iter().flat_map(|log| {
        assert_eq!(log.len(), sent.len());
        gone.iter()
            .map(|knock| log[*knock].at.saturating_sub(sent[*knock]))
    });
    let mut waits: Vec<u64> = waits.collect();
    waits.sort_unstable();
    let at = |percent: usize| {
        waits
            .get(waits.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };

    let mut returns = Vec::new();
    for back in timeline.returns() {
        for (number, log) in (1_u8..)
            .zip(&logs)
            .filter(|(number, _)| !back.apart.contains(number))
        {
            let first = log
                .iter()
                .find(|one| one.is_claimed && one.at >= back.answered);
            let took = first.map_or(u64::MAX, |first| first.at - back.answered);
            returns.push((took, number, back.answered));
        }
    }
    returns.sort_unstable();
    let slowest = returns.last().copied().unwrap_or_default();
    say(&format!(
        "{} knocks to {} gates, {} faults: {twice} admitted twice; {admitted} of {} sent in calm admitted by one gate; \
         {while_gone} of {} admitted while it was gone, refused after p50 {} ms, p99 {} ms; \
         {} returns, back after {} ms, the slowest {} ms (gate {})",
        sent.len(),
        fleet.gates.len(),
        timeline.plan.len(),
        healthy.len(),
        gone.len(),
        at(50),
        at(99),
        returns.len(),
        returns
            .get(returns.len() / 2)
            .copied()
            .unwrap_or_default()
            .0,
        slowest.0,
        slowest.1,
    ));
    if std::env::var_os("POSTERN_SEED").is_some() {
        timeline.tell(sent, &opened);
    }
    assert_eq!((twice, while_gone), (0, 0));
    assert!(admitted * 100 >= healthy.len() * 97);
    assert!(slowest.0 <= BACK_MS + PATIENCE_MS, "{slowest:?}");
    assert!(at(99) <= timeline.deadline + 30 + PATIENCE_MS);
}

/// With the coordinator gone, every knock is refused, and none waits longer than the deadline.
pub(crate) fn gone_coordinator_refuses_at_once(kind: &'static str) {
    let knocks = number("POSTERN_KNOCKS", 100).min(1000);
    let mut fleet = Fleet::start_with(kind, 1, &format!("deadline = \"{DEADLINE_MS}ms\""));
    fleet.server().kill();
    let mut took: Vec<u64> = Vec::new();
    for host in 1..=u16::try_from(knocks).unwrap() {
        let knock = fleet.knock(host);
        let start = now().as_millis();
        fleet.deliver(&knock);
        let line = wait_for("a refusal", || {
            let lines = fleet.gates[0].daemon.logged(&["refused: alice"]);
            lines.get(usize::from(host) - 1).cloned()
        });
        took.push(logged_at(&line).saturating_sub(start));
    }
    took.sort_unstable();
    let (half, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    say(&format!(
        "{knocks} knocks refused: p50 {half} ms, p99 {most} ms"
    ));
    assert_eq!(fleet.count("refuse coordinator"), u64::from(knocks));
    assert_eq!(fleet.grants(), 0);
    assert!(half <= 10 + PATIENCE_MS && most <= u64::from(DEADLINE_MS) + 30 + PATIENCE_MS);
}
