//! Gate and `explain` judge every vector as the independent implementation does: verdict, reason, rule and step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use postern::adapters::config::bundle::Bundle;
use postern::adapters::config::{self, Loaded};
use postern::admin::explain::{Account, Cause, Explainer, Outcome as StepOutcome};
use postern::core::gate::{Decision, Gate, HintTable, User};
use postern::model::catalog::{Catalog, NamedService};
use postern::model::datagram::Datagram;
use postern::model::mark::StoredMarks;
use postern::model::policy::{MaxPrefix, Policy, Quota};
use postern::model::reason::Reason;
use postern::model::time::Timestamp;
use postern_proto::{
    GateName, KeyMaterial, PresharedKey, PrivateKey, PublicKey, RootKey, SharedKey,
};
use serde_json::Value;

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex text");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn key(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

fn keys_at_gate(vector: &Value) -> RootKey {
    RootKey::extract(&name_of_gate(vector), &material(vector))
}

fn name_of_gate(vector: &Value) -> GateName {
    GateName::new(
        vector["gate"]["gate_name"]
            .as_str()
            .unwrap_or(vector["gate_name"].as_str().unwrap()),
    )
    .unwrap()
}

fn material(vector: &Value) -> KeyMaterial {
    let (own, gate) = (&vector["key"], &vector["gate"]);
    if let Some(other) = gate.get("shared_key").filter(|key| !key.is_null()) {
        KeyMaterial::shared(&SharedKey::from_bytes(key(other)))
    } else if own["kind"] == "shared" {
        KeyMaterial::shared(&SharedKey::from_bytes(key(&own["shared_key"])))
    } else {
        let psk = (!own["psk"].is_null()).then(|| PresharedKey::from_bytes(key(&own["psk"])));
        let private = PrivateKey::from_bytes(key(&own["gate_private"]));
        KeyMaterial::pair_at_gate(
            &private,
            &PublicKey::from_bytes(key(&own["client_public"])),
            psk.as_ref(),
        )
        .unwrap()
    }
}

fn datagram(vector: &Value) -> Datagram {
    let source = vector["gate"]["source"].as_str().unwrap().parse().unwrap();
    Datagram::new(
        source,
        "192.0.2.1".parse().unwrap(),
        62201,
        &hex(&vector["packet_hex"]),
    )
}

/// A policy that allows everything, as in section 7 of proto/README.md.
fn everything() -> (Policy, Catalog) {
    let all = [
        "tcp/1-65535",
        "udp/1-65535",
        "sctp/1-65535",
        "icmp",
        "icmpv6",
    ];
    let services = all.iter().map(|service| service.parse().unwrap());
    let policy = Policy::for_user("alice", services.collect()).with(|rules| {
        rules.targets = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        rules.max_prefix = MaxPrefix { v4: 0, v6: 0 };
        rules.max_duration = Duration::from_secs(u64::from(u32::MAX));
        rules.quota = Quota {
            count: NonZeroU32::new(1_000_000).unwrap(),
            per: Duration::from_secs(1),
        };
    });
    (policy, Catalog::new())
}

fn policy_for(vector: &Value) -> (Policy, Catalog) {
    let (policy, mut catalog) = everything();
    for item in vector["request"]["items"].as_array().into_iter().flatten() {
        if let Some(name) = item["name"].as_str() {
            let service = NamedService {
                ports: vec!["tcp/80".parse().unwrap()],
                ..NamedService::default()
            };
            catalog.insert(name.to_owned(), service);
        }
    }
    (policy, catalog)
}

fn judge(vector: &Value) -> Decision {
    let gate_side = &vector["gate"];
    let (policy, catalog) = policy_for(vector);
    let window = Duration::from_millis(gate_side["window_ms"].as_u64().unwrap());
    let users = vec![User {
        keys: keys_at_gate(vector),
        policy,
    }];
    let mut gate = Gate::new(users, Vec::new(), catalog, window, StoredMarks::default());
    let datagram = datagram(vector);
    let mut decide = |at: u64| {
        let now = Timestamp::from_millis(at);
        if let Some(steps) = gate.table_wanted(now) {
            let table = HintTable::build(&gate.hint_keys(), steps);
            gate.install(table);
        }
        gate.handle(now, &datagram)
    };
    if let Some(before) = gate_side["seen_before_ms"].as_u64() {
        assert!(
            matches!(decide(before), Decision::Admit(_)),
            "the first copy is admitted"
        );
    }
    decide(gate_side["now_ms"].as_u64().unwrap())
}

fn any_config() -> Loaded {
    let key = SharedKey::from_bytes([7; 32]).to_base64();
    let text = format!(
        "[gate]\nname = 'gate'\n[[user]]\nname = 'alice'\nkey = '{}'\nservices = ['tcp/22']\n",
        &*key
    );
    config::load(&Bundle::of_main("/etc/postern/posternd.toml", text)).unwrap()
}

fn explain(vector: &Value) -> Account {
    let (policy, catalog) = policy_for(vector);
    let mut loaded = any_config();
    loaded.keys = vec![material(vector)];
    loaded.settings.policies = vec![policy].into();
    loaded.settings.catalog = catalog;
    loaded.settings.gate.name = name_of_gate(vector);
    loaded.settings.gate.window =
        Duration::from_millis(vector["gate"]["window_ms"].as_u64().unwrap());
    let names = vec![GateName::new(vector["gate_name"].as_str().unwrap()).unwrap()];
    let mut explainer = Explainer::new(loaded, names);
    if let Some(before) = vector["gate"]["seen_before_ms"].as_u64() {
        let first = explainer.datagram(Timestamp::from_millis(before), &datagram(vector));
        assert_eq!(first.cause, Cause::Admitted, "the first copy is admitted");
    }
    explainer.datagram(
        Timestamp::from_millis(vector["gate"]["now_ms"].as_u64().unwrap()),
        &datagram(vector),
    )
}

fn vectors() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/tests/vectors");
    let paths = std::fs::read_dir(folder)
        .expect("the folder of vectors")
        .map(|entry| entry.unwrap().path());
    paths
        .map(|path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
        .collect()
}

/// The reason's name, its rule and its step, or `None` for an admission.
type Outcome<'a> = Option<(&'a str, Option<&'a str>, u8)>;

fn outcome(reason: Option<Reason>) -> Outcome<'static> {
    reason.map(|reason| match reason {
        Reason::Drop(drop) => (drop.name(), drop.rule(), drop.step()),
        Reason::Refuse(rule) => (rule.name(), None, rule.step()),
    })
}

#[test]
fn gate_and_explain_agree_with_each_vector() {
    let (mut causes, mut seen, mut admitted) = (BTreeSet::new(), 0, 0);
    for vector in vectors() {
        let (name, expected) = (vector["name"].as_str().unwrap(), &vector["outcome"]);
        let expected: Outcome = (expected["verdict"] != "admit").then(|| {
            (
                expected["reason"].as_str().unwrap(),
                expected["rule"].as_str(),
                expected["step"].as_u64().unwrap() as u8,
            )
        });
        let reason = match judge(&vector) {
            Decision::Admit(_) => None,
            Decision::Drop(reason) => Some(Reason::Drop(reason)),
            Decision::Refuse(refusal) => Some(Reason::Refuse(refusal.rule)),
        };
        assert_eq!(outcome(reason), expected, "{name}");
        let account = explain(&vector);
        assert_eq!(outcome(account.reason()), expected, "{name}");
        let steps = account.steps();
        let failed = steps
            .iter()
            .find(|step| step.outcome == StepOutcome::Failed);
        let step = expected.map(|(.., step)| step);
        assert_eq!(failed.map(|step| step.number), step, "{name}: {steps:?}");
        let line = account.line();
        assert!(!line.is_empty() && !line.contains('\n'), "{name}");
        causes.insert(account.cause.name());
        seen += 1;
        admitted += usize::from(expected.is_none());
    }
    assert!(seen >= 200 && admitted >= 50, "some vectors are missing");
    for cause in [
        "admitted",
        "changed",
        "clock",
        "hint-of-another-time",
        "length",
        "malformed",
        "not-sealed",
        "other-gate",
        "replay",
        "unknown-key",
    ] {
        assert!(causes.contains(cause), "{cause}");
    }
}
