//! Grants that the gates of a name share: opened, ended and closed at all of them.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::adapters::files::write_private;
use postern::core::claims::gate_hash;
use postern::model::time::{Timestamp, parse_time};
use postern_harness::process::signal;
use postern_harness::world::{GATE_NAME, key};
use postern_harness::{SERVICE, number, run, say, text, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::json;

use super::claims::Test;

use super::fleet::{Fleet, Gate};
use super::outages::Fault;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("knock_opens_all_gates", knock_opens_all_gates),
    ("close_at_one_gate_closes_all", close_at_one_gate_closes_all),
    (
        "close_is_published_after_a_reload",
        close_is_published_after_a_reload,
    ),
    (
        "revoked_user_is_closed_everywhere",
        revoked_user_is_closed_everywhere,
    ),
    ("fleet_keys_change_by_reload", fleet_keys_change_by_reload),
    ("all_gates_open_in_time", all_gates_open_in_time),
];

const SHARED: &str = "fleet_key_file = \"fleet.key\"";

fn start(kind: &'static str, gates: u8) -> Fleet {
    let fleet = Fleet::start_with(kind, gates, SHARED);
    fleet
        .gates
        .iter()
        .for_each(|gate| wait_for_members(gate, fleet.gates.len() - 1));
    fleet
}

fn wait_for_members(gate: &Gate, others: usize) {
    wait_until("the gates to hear each other", || {
        let fleet = &gate.cluster()["fleet"];
        fleet["behind"].is_null() && fleet["members"].as_array().unwrap().len() == others
    });
}

fn open(fleet: &Fleet) -> Vec<usize> {
    let gates = fleet.gates.iter();
    gates.map(|gate| gate.daemon.grants().len()).collect()
}

fn wait_for_grants(fleet: &Fleet, each: usize) {
    wait_until("all gates to agree", || {
        open(fleet).iter().all(|count| *count == each)
    });
}

/// Whether the gate's firewall has a grant for this host.
fn is_in_firewall(gate: &Gate, host: u8) -> bool {
    let listed = text(&run(&gate.space, "nft", &["list", "ruleset"]));
    listed.contains(&format!("10.99.0.{host} "))
}

fn knock_opens_all_gates(kind: &'static str) {
    let mut fleet = start(kind, 2);
    let host = IpAddr::from([10, 99, 0, 1]);
    let knock = fleet.knocks.open(host, SERVICE, 20);
    fleet.deliver_to(&fleet.gates[0], &knock);
    wait_for_grants(&fleet, 1);
    // One that joins opens the rest.
    fleet.gates.push(fleet.gate(3, SHARED));
    wait_for_grants(&fleet, 1);
    assert!(fleet.gates.iter().all(|gate| is_in_firewall(gate, 1)));
    let ends: Vec<u64> = fleet
        .gates
        .iter()
        .map(|gate| gate.daemon.grants()[0].until.as_millis())
        .collect();
    let spread = ends.iter().max().unwrap() - ends.iter().min().unwrap();
    assert!(spread < 1000, "{ends:?}");
    let listed = text(&fleet.gates[2].daemon.asked(&["grants", "--cluster"]));
    assert!(
        listed.contains("gate1") && listed.contains("10.99.0.1/32"),
        "{listed}"
    );
    wait_for_grants(&fleet, 0);
    assert!(!fleet.gates.iter().any(|gate| is_in_firewall(gate, 1)));
}

fn close_at_one_gate_closes_all(kind: &'static str) {
    let fleet = start(kind, 3);
    for host in 1..=3 {
        fleet.deliver_to(&fleet.gates[usize::from(host) - 1], &fleet.knock(host));
    }
    wait_for_grants(&fleet, 3);
    let [one, two, three] = &fleet.gates[..] else {
        unreachable!();
    };
    one.daemon.asked(&["close", "--address", "10.99.0.2"]);
    wait_for_grants(&fleet, 2);
    let close = fleet.knocks.close([10, 99, 0, 3].into());
    fleet.deliver_to(two, &close);
    wait_for_grants(&fleet, 1);
    // What is told again after a restart opens only what is open.
    let engine = three.daemon.engine();
    signal(engine, Signal::KILL);
    wait_until("another engine", || {
        three
            .daemon
            .engines()
            .first()
            .is_some_and(|next| *next != engine)
    });
    wait_until("it to be told all", || {
        let said = three.daemon.ask(&["status", "--json"]);
        said.status.success() && three.cluster()["fleet"]["behind"].is_null()
    });
    wait_until("what is live to be known", || {
        three.cluster()["fleet"]["grants"] == 1
    });
    assert_eq!(open(&fleet), [1, 1, 1]);
}

/// The coordinator is away during the close and the reload.
fn close_is_published_after_a_reload(kind: &'static str) {
    let mut fleet = start(kind, 2);
    fleet.deliver_to(&fleet.gates[0], &fleet.knock(1));
    wait_for_grants(&fleet, 1);
    let server = fleet.server.as_mut().unwrap();
    super::outages::begin(server, &fleet.space, Fault::Pause);
    let one = &fleet.gates[0].daemon;
    let said = text(&one.asked(&["close", "--all"]));
    assert!(said.contains('1'), "{said}");
    let engine = one.engine();
    one.asked(&["reload"]);
    wait_until("the old engine to end", || !one.engines().contains(&engine));
    assert_eq!(open(&fleet), [0, 1]);
    let server = fleet.server.as_mut().unwrap();
    super::outages::end(server, &fleet.space, Fault::Pause);
    wait_for_grants(&fleet, 0);
}

/// Who owns etcd hides a close, tells the closed grant again, also to another engine, and makes grants up.
pub(crate) fn owner_of_the_coordinator_opens_nothing() {
    let fleet = start("etcd", 2);
    let ask = |call: &str, body: serde_json::Value| -> serde_json::Value {
        let url = format!("http://127.0.0.1:2379/v3/kv/{call}");
        let body = body.to_string();
        let said = run(&fleet.space, "curl", &["-s", &url, "-d", &body]);
        serde_json::from_str(&text(&said)).unwrap()
    };
    let all = |kind: &str| {
        let prefix = format!("/postern/grants/{}/{kind}/", gate_hash(GATE_NAME));
        let end = prefix.trim_end_matches('/').to_owned() + "0";
        json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end) })
    };
    let wait_for_refusal = |gate: &Gate, reason: &str| {
        wait_until(reason, || {
            let said = gate.daemon.ask(&["status", "--json"]);
            let is_there = said.status.success() && !gate.cluster()["fleet"].is_null();
            is_there && !gate.cluster()["fleet"]["counters"]["refused"][reason].is_null()
        });
        assert_eq!(open(&fleet), [0, 0]);
    };
    fleet.deliver_to(&fleet.gates[0], &fleet.knock(1));
    wait_for_grants(&fleet, 1);
    let grant = ask("range", all("grant"))["kvs"][0].clone();
    let put = |value: &serde_json::Value| {
        ask("put", json!({ "key": grant["key"], "value": value }));
    };
    fleet.gates[0].daemon.asked(&["close", "--all"]);
    wait_for_grants(&fleet, 0);
    wait_until("the close to be hidden", || {
        ask("deleterange", all("close"))["deleted"] == "1"
    });
    put(&grant["value"]);
    wait_for_refusal(&fleet.gates[1], "closed");
    let engine = fleet.gates[1].daemon.engine();
    signal(engine, Signal::KILL);
    wait_until("another engine", || {
        let engines = fleet.gates[1].daemon.engines();
        engines.first().is_some_and(|next| *next != engine)
    });
    wait_for_refusal(&fleet.gates[1], "closed");
    let mut forged = STANDARD.decode(grant["value"].as_str().unwrap()).unwrap();
    forged[40] = if forged[40] == b'A' { b'B' } else { b'A' };
    put(&STANDARD.encode(forged).into());
    for gate in &fleet.gates {
        wait_for_refusal(gate, "seal");
    }
}

fn revoked_user_is_closed_everywhere(kind: &'static str) {
    let fleet = start(kind, 2);
    fleet.deliver_to(&fleet.gates[0], &fleet.knock(1));
    wait_for_grants(&fleet, 1);
    let config = fleet.gates[1].folder.path().join("posternd.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("\"alice\"", "\"carol\"");
    write_private(&config, text.as_bytes(), true).unwrap();
    fleet.gates[1].daemon.asked(&["reload"]);
    wait_for_grants(&fleet, 0);
    // The first gate still has the user, the second opens nothing for her.
    fleet.deliver_to(&fleet.gates[0], &fleet.knock(2));
    wait_until("the first gate to open", || open(&fleet)[0] == 1);
    wait_until("the second to refuse", || {
        let refused = &fleet.gates[1].cluster()["fleet"]["counters"]["refused"];
        refused["unknown-user"]
            .as_u64()
            .is_some_and(|count| count > 0)
    });
    assert_eq!(open(&fleet), [1, 0]);
}

fn fleet_keys_change_by_reload(kind: &'static str) {
    let fleet = start(kind, 2);
    let (old, new) = (key("fleet"), key("the next fleet"));
    let put = |gate: &Gate, keys: &[&str]| {
        let path = gate.folder.path().join("fleet.key");
        write_private(&path, (keys.join("\n") + "\n").as_bytes(), true).unwrap();
        gate.daemon.ask(&["reload"])
    };
    let [one, two] = &fleet.gates[..] else {
        unreachable!();
    };
    let mut host = 0;
    let mut knock = |gate: &Gate| {
        host += 1;
        wait_until("the coordinator", || gate.is_back());
        fleet.deliver_to(gate, &fleet.knock(host));
        wait_for_grants(&fleet, usize::from(host));
    };
    for keys in [[&*old, &new], [&new, &old]] {
        assert!(put(one, &keys).status.success());
        knock(one);
        assert!(put(two, &keys).status.success());
        knock(two);
    }
    assert!(put(one, &[&new]).status.success() && put(two, &[&new]).status.success());
    knock(one);
    for wrong in [&["no key"][..], &[], &[&new, &new]] {
        assert!(!put(two, wrong).status.success());
    }
}

/// How long after the first gate the last one opens. POSTERN_GATES and POSTERN_KNOCKS make it larger.
fn all_gates_open_in_time(kind: &'static str) {
    let gates = u8::try_from(number("POSTERN_GATES", 3)).unwrap();
    let knocks = u16::try_from(number("POSTERN_KNOCKS", 20)).unwrap();
    let fleet = start(kind, gates);
    let mut spreads = Vec::new();
    for host in 1..=knocks {
        fleet.deliver_to(&fleet.gates[0], &fleet.knock(host));
        let [high, low] = host.to_be_bytes();
        let address = format!("10.99.{high}.{low}/32");
        let opened = |gate: &Gate| wait_for("a grant", || opened_at(&gate.daemon.log(), &address));
        let first = opened(&fleet.gates[0]);
        let others = fleet.gates.iter().skip(1).map(opened);
        let last = others.max().unwrap();
        spreads.push(last.since(first));
    }
    spreads.sort_unstable();
    let at = |percent: usize| spreads[(spreads.len() - 1) * percent / 100];
    say(&format!(
        "{kind}: the last of {gates} gates opened after the first, {knocks} knocks: p50 {:.1?}, p99 {:.1?}, most {:.1?}",
        at(50),
        at(99),
        at(100)
    ));
    // A gate that missed a grant reads all again after 6 s.
    assert!(at(50) < Duration::from_secs(2), "{:?}", at(50));
    wait_for_grants(&fleet, knocks.into());
}

/// When the monitor's log says that the grant for this address is open.
fn opened_at(log: &str, address: &str) -> Option<Timestamp> {
    let mut lines = log.lines();
    let line = lines.find(|line| line.contains("open") && line.contains(address))?;
    parse_time(line.split_whitespace().next()?).ok()
}
