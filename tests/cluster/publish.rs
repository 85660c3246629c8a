//! What one gate publishes is told to all gates of its name, also after the coordinator was away.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::core::claims::{Answer, Ask, Publish, PublishKind, SEALED_MAX, gate_hash};
use postern_harness::{Namespace, number, run, say, text};

use super::claims::Test;
use super::fleet;
use super::outages::{self, Fault, Shore};
use super::process::{Process, grant, memory_kb};
use super::servers::Server;

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "published_is_told_to_every_gate",
        published_is_told_to_every_gate,
    ),
    ("lost_claim_publishes_nothing", lost_claim_publishes_nothing),
    ("gap_is_told_and_closed", gap_is_told_and_closed),
    ("slow_engine_starts_anew", slow_engine_starts_anew),
];

fn published_is_told_to_every_gate(kind: &'static str) {
    let shore = Shore::start(kind);
    let gates = ["gate1", "gate2"].map(|member| shore.process(member));
    for gate in &gates {
        gate.wait_until_back();
        assert!(gate.live().is_empty());
    }
    gates[0].ask(&Ask::Publish(grant(1, "AAAA")));
    let heartbeat = Publish {
        kind: PublishKind::Heartbeat,
        lasts_ms: 10_000,
        ..grant(7, "BBBB")
    };
    gates[0].ask(&Ask::Publish(heartbeat));
    for gate in &gates {
        gate.wait_for("BBBB");
    }
    assert_eq!(gates[1].claim(1, Some(grant(2, "CCCC"))), Answer::Won);
    gates[0].wait_for("CCCC");
    let port = if kind == "etcd" { 2379 } else { 6379 };
    // Its name is looked up, and the first address may refuse.
    let joined = Process::start_at(&shore.space, kind, "gate3", &[("localhost", port)]);
    joined.wait_until_back();
    assert_eq!(joined.live(), ["AAAA", "BBBB", "CCCC"]);
    assert_eq!(joined.live(), ["AAAA", "BBBB", "CCCC"], "asked again");
}

/// The closed grant may be of a gate with longer grants.
pub(crate) fn close_outlives_the_grants_of_its_gate() {
    let shore = Shore::start("etcd");
    let gate = shore.process("gate1");
    gate.wait_until_back();
    gate.live();
    for (number, hours) in [(1, 1), (2, 10), (3, 2)] {
        let close = Publish {
            kind: PublishKind::Close,
            lasts_ms: hours * 3_600_000,
            ..grant(number, "AAAA")
        };
        let name = close.name.clone();
        gate.ask(&Ask::Publish(close));
        gate.wait_for("AAAA");
        let key = format!("/postern/grants/{}/close/{name}", gate_hash("gate"));
        let key = STANDARD.encode(key);
        let found = shore.ask("kv/range", &format!(r#"{{"key":"{key}"}}"#));
        let lease = found["kvs"][0]["lease"].as_str().unwrap().to_owned();
        let lasts = shore.ask("lease/timetolive", &format!(r#"{{"ID":"{lease}"}}"#));
        let lasts: u64 = lasts["TTL"].as_str().unwrap().parse().unwrap();
        assert!(lasts >= hours * 3600, "{lasts}");
    }
}

fn lost_claim_publishes_nothing(kind: &'static str) {
    let shore = Shore::start(kind);
    let gate = shore.process("gate1");
    gate.wait_until_back();
    assert!(gate.live().is_empty());
    assert_eq!(gate.claim(1, None), Answer::Won);
    let lost = gate.claim(1, Some(grant(1, "AAAA")));
    assert!(matches!(lost, Answer::Lost { .. }), "{lost:?}");
    let unsound = gate.claim(2, Some(grant(1, "not base64")));
    assert!(matches!(unsound, Answer::Unknown { .. }), "{unsound:?}");
    assert!(gate.live().is_empty());
}

fn gap_is_told_and_closed(kind: &'static str) {
    let mut shore = Shore::start(kind);
    let gates = ["gate1", "gate2"].map(|member| shore.process(member));
    for gate in &gates {
        gate.wait_until_back();
        gate.live();
    }
    gates[0].ask(&Ask::Publish(grant(1, "AAAA")));
    gates[1].wait_for("AAAA");
    for (count, fault) in (2..).zip([Fault::Kill, Fault::Pause, Fault::Stop, Fault::Cut]) {
        shore.begin(fault);
        let why = gates[1].wait_until_behind();
        let sealed = format!("gap{count}");
        gates[0].ask(&Ask::Publish(grant(count, &sealed)));
        shore.end(fault);
        let back = Instant::now();
        if !gates[1].until_current().contains(&sealed) {
            gates[1].wait_for(&sealed);
        }
        say(&format!(
            "{fault:?}: {why}; closed after {:?}",
            back.elapsed()
        ));
    }
    if kind == "etcd" {
        compact(&shore);
    }
    assert_eq!(gates[1].live(), ["AAAA", "gap2", "gap3", "gap4", "gap5"]);
}

/// Removes the history of all keys.
fn compact(shore: &Shore) {
    let said = shore.ask("kv/range", r#"{"key":"YQ=="}"#);
    let revision = said["header"]["revision"].as_str().unwrap();
    let said = shore.ask("kv/compaction", &format!(r#"{{"revision":"{revision}"}}"#));
    assert!(!said["header"].is_null(), "{said}");
}

impl Shore {
    /// Asks etcd.
    fn ask(&self, call: &str, body: &str) -> serde_json::Value {
        let url = format!("http://127.0.0.1:2379/v3/{call}");
        let said = text(&run(&self.space, "curl", &["-s", &url, "-d", body]));
        serde_json::from_str(&said).unwrap()
    }
}

fn slow_engine_starts_anew(kind: &'static str) {
    let shore = Shore::start(kind);
    let (slow, other) = (shore.process("gate1"), shore.process("gate2"));
    for gate in [&slow, &other] {
        gate.wait_until_back();
        gate.live();
    }
    let count = 200;
    let mut all: Vec<String> = Vec::new();
    for name in 0..count {
        all.push(format!("{name:0>SEALED_MAX$}"));
        other.ask(&Ask::Publish(grant(name, &all[all.len() - 1])));
        other.wait_for(&all[all.len() - 1]);
    }
    // It reads nothing for longer than it may.
    std::thread::sleep(Duration::from_secs(3));
    assert!(memory_kb(&slow) < 64 << 10);
    slow.wait_until_behind();
    let mut live = slow.until_current();
    live.sort();
    assert!(live == all, "{} of {count}", live.len());
}

/// POSTERN_CLAIMS=1000 cargo test --release --features etcd,redis --test cluster claim_latency
pub(crate) fn claim_latency(kind: &'static str) {
    let shore = Shore::start(kind);
    let gate = shore.process("gate1");
    gate.wait_until_back();
    gate.live();
    for with_grant in [false, true] {
        let mut took: Vec<Duration> = Vec::new();
        for number in 0..u64::from(number("POSTERN_CLAIMS", 100)) {
            let mark = number + u64::from(with_grant) * 1_000_000;
            let publish = with_grant.then(|| grant(mark, "AAAA"));
            let start = Instant::now();
            let answer = gate.claim(mark, publish);
            took.push(start.elapsed());
            assert_eq!(answer, Answer::Won);
        }
        took.sort_unstable();
        let (half, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        let what = if with_grant { " with a grant" } else { "" };
        say(&format!(
            "{kind}: {} claims{what}: p50 {half:?}, p99 {most:?}, longest {:?}",
            took.len(),
            took[took.len() - 1]
        ));
    }
}

pub(crate) fn two_clusters_of_etcd_are_refused() {
    let shore = Shore::start("etcd");
    let own = fleet::folder();
    let here = own.path().display();
    let line = format!(
        "--data-dir {here}/other --listen-client-urls http://0.0.0.0:2479 --advertise-client-urls http://127.0.0.1:2479 --listen-peer-urls http://127.0.0.1:2480"
    );
    let more: Vec<&str> = line.split_whitespace().collect();
    let _other = Server::start("etcd", &shore.space, own.path(), &more);
    let both = [("127.0.0.1", 2379), ("127.0.0.1", 2479)];
    shore.process("gate1").wait_until_back();
    postern_harness::wait_until("the other etcd to answer", || {
        let url = "http://127.0.0.1:2479/v3/kv/range";
        let said = run(
            &shore.space,
            "curl",
            &["-s", url, "-d", r#"{"key":"YQ=="}"#],
        );
        text(&said).contains("header")
    });
    let gate = Process::start_at(&shore.space, "etcd", "gate2", &both);
    gate.ask(&Ask::Probe { number: 1 });
    let is_refused = |told: &_| matches!(told, postern::core::claims::Told::Away { why, .. } if why.contains("another coordinator"));
    gate.told_until("a refusal", is_refused);
    let answer = gate.claim(1, None);
    assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
}

/// Claims go on while one of three nodes is away, and each is won once.
pub(crate) fn three_nodes_survive_the_loss_of_one() {
    let (space, folders) = (Namespace::new(), [(); 3].map(|()| fleet::folder()));
    let peers = (1..=3).map(|node| format!("n{node}=http://127.0.0.1:248{node}"));
    let peers = peers.collect::<Vec<_>>().join(",");
    let mut nodes: Vec<Server> = (1..=3)
        .zip(&folders)
        .map(|(node, folder)| {
            let line = format!(
                "--name n{node} --initial-cluster {peers} --initial-advertise-peer-urls http://127.0.0.1:248{node} \
                 --listen-peer-urls http://127.0.0.1:248{node} --listen-client-urls http://127.0.0.1:247{node} \
                 --advertise-client-urls http://127.0.0.1:247{node} --election-timeout 500 --heartbeat-interval 50"
            );
            let more: Vec<&str> = line.split_whitespace().collect();
            Server::start("etcd", &space, folder.path(), &more)
        })
        .collect();
    let ports = [1, 2, 3].map(|node| ("127.0.0.1", 2470 + node));
    let gates = ["gate1", "gate2"].map(|member| {
        let gate = Process::start_at(&space, "etcd", member, &ports);
        gate.wait_until_back();
        gate.live();
        gate
    });
    let mut mark = 0;
    for node in &mut nodes {
        for fault in [Fault::Pause, Fault::Kill] {
            outages::begin(node, &space, fault);
            let start = Instant::now();
            for gate in &gates {
                gate.wait_until_back();
            }
            let back = start.elapsed();
            let mut won = 0;
            for _ in 0..20 {
                mark += 1;
                let answers = gates.each_ref().map(|gate| gate.claim(mark, None));
                let winners = answers.iter().filter(|one| **one == Answer::Won).count();
                assert!(winners <= 1, "{answers:?}");
                won += winners;
                if winners == 0 {
                    gates.iter().for_each(Process::wait_until_back);
                }
            }
            assert!(won >= 17, "{won} of 20 with {fault:?}");
            say(&format!("{fault:?}: back after {back:?}, {won} of 20 won"));
            outages::end(node, &space, fault);
            gates.iter().for_each(Process::wait_until_back);
        }
    }
}
