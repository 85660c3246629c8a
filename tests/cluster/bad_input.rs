//! Coordinators that are wrong, and clocks and keys of other gates: each is named in the log, the status, the metrics and by `check`.
//! What was open stays.

use postern_harness::world::key;
use postern_harness::{text, wait_until};

use super::claims::Test;
use super::fleet::{Fleet, Gate};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("clock_that_is_off_is_named", clock_that_is_off_is_named),
    ("other_fleet_key_is_named", other_fleet_key_is_named),
];

const SHARED: &str = "fleet_key_file = \"fleet.key\"";

/// The first gate, which has one grant, refuses the knock for this host.
pub(crate) fn refuses(fleet: &Fleet, host: u16, reason: &str) {
    let gate = &fleet.gates[0];
    let open = gate.daemon.grants();
    assert_eq!(open.len(), 1);
    let refused = gate.daemon.status().count("refuse coordinator") + 1;
    fleet.deliver_to(gate, &fleet.knock(host));
    gate.daemon.wait_for_count("refuse coordinator", refused);
    wait_until(reason, || {
        let away = gate.cluster()["away"].take();
        away.as_str().is_some_and(|why| why.contains(reason))
    });
    let logged = gate.daemon.logged(&["WARN", reason]);
    assert!(!logged.is_empty(), "{reason}");
    wait_for_metric(gate, "postern_coordinator_answers 0\n");
    let counter = format!("postern_refused_total{{rule=\"coordinator\"}} {refused}\n");
    wait_for_metric(gate, &counter);
    found(gate, "coordinator", reason);
    assert_eq!(gate.daemon.grants(), open);
}

fn wait_for_metric(gate: &Gate, line: &str) {
    wait_until(line, || gate.measures(line));
}

/// What `posternd check` finds.
fn found(gate: &Gate, id: &str, what: &str) {
    let said = text(&gate.at_gate(&["check", "--json"]));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let mut findings = said["findings"].as_array().unwrap().iter();
    let is_it = |one: &serde_json::Value| one["id"] == id && one.to_string().contains(what);
    assert!(findings.any(is_it), "{id}, {what}: {said:#}");
}

/// Beside a right clock one that is so far behind that the window is over.
fn clock_that_is_off_is_named(kind: &'static str) {
    let mut fleet = Fleet::start_with(kind, 1, SHARED);
    fleet.gates.push(fleet.gate_ahead(2, SHARED, -31));
    let [right, behind] = &fleet.gates[..] else {
        unreachable!();
    };
    wait_until("both to hear each other", || {
        let members = |gate: &Gate| gate.cluster()["fleet"]["members"][0]["age_ms"].as_i64();
        members(right).is_some_and(|age| age > 30_000)
            && members(behind).is_some_and(|age| age < -30_000)
    });
    for (gate, other) in [(right, "gate2"), (behind, "gate1")] {
        wait_until("the metric", || {
            let metrics = text(&gate.daemon.asked(&["metrics"]));
            let name = "postern_fleet_clock_difference_seconds ";
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.is_some_and(|seconds| seconds.parse::<f64>().unwrap() > 30.0)
        });
        let what = format!("the clocks of {other} and of this gate differ by");
        found(gate, "cluster-clock", &what);
    }
    // It drops what is right elsewhere, and opens what the other gate has admitted.
    let knock = fleet.knock(1);
    fleet.deliver_to(behind, &knock);
    behind.daemon.wait_for_count("drop too-new", 1);
    fleet.deliver_to(right, &knock);
    wait_until("both to open", || fleet.grants() == 2);
}

fn other_fleet_key_is_named(kind: &'static str) {
    let fleet = Fleet::start_with(kind, 2, SHARED);
    fleet.deliver_to(&fleet.gates[0], &fleet.knock(1));
    wait_until("both to open", || fleet.grants() == 2);
    let path = fleet.gates[1].folder.path().join("fleet.key");
    let other = key("another fleet");
    postern::adapters::files::write_private(&path, other.as_bytes(), true).unwrap();
    fleet.gates[1].reload();
    for gate in &fleet.gates {
        wait_until("the metric", || {
            gate.measures("postern_fleet_refused_total{reason=\"seal\"}")
        });
        found(
            gate,
            "fleet-seal",
            "can't be opened with this gate's fleet key",
        );
    }
    assert_eq!(fleet.grants(), 2);
}
