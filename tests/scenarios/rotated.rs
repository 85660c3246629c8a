//! A user whose key was changed: the old one counts beside the new one for a stated time, and then for nothing.

use std::time::Duration;

use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::adapters::config::{self, OldKey};
use postern::core::gate::{ApprovedRequest as Admitted, Decision, Gate, HintTable, OldKeys, User};
use postern::model::datagram::Datagram;
use postern::model::mark::Kept;
use postern::model::reason::{Drop, Rule};
use postern::model::time::Timestamp;
use postern_proto::UserKeys;

use crate::knocks::{HOME, Knock};
use crate::world::{GATE, START, address, key};

/// Alice had bob's key before.
fn gate(until: Timestamp, lines: &str) -> Gate {
    let text = format!(
        "[gate]\nname = '{GATE}'\n[[user]]\nname = 'alice'\nservices = ['tcp/22']\nkey = '{}'\nold_key = '{}'\nold_until = {until}\n{lines}\n",
        &*key("alice").to_base64(),
        &*key("bob").to_base64()
    );
    let main = Some(BundleFile {
        path: "posternd.toml".into(),
        text: text.into(),
    });
    let loaded = config::load(&Bundle {
        main,
        ..Bundle::default()
    })
    .unwrap();
    let derived = |material| UserKeys::derive(&loaded.settings.gate.name, material);
    let users = loaded
        .settings
        .policies
        .iter()
        .cloned()
        .zip(&loaded.keys)
        .map(|(policy, key)| User {
            keys: derived(key),
            policy,
        });
    let old = loaded.old_keys.iter().map(
        |OldKey {
             user,
             until,
             material,
         }| OldKeys {
            user: *user,
            keys: derived(material),
            until: *until,
        },
    );
    Gate::new(
        users.collect(),
        Default::default(),
        Duration::from_secs(30),
        Kept::default(),
    )
    .with_old_keys(old)
}

/// What the gate says of a knock under the key of `whose`; the hint table is kept up as the engine does.
fn knock(gate: &mut Gate, now: Timestamp, whose: &'static str) -> Decision {
    if let Some(steps) = gate.table_wanted(now) {
        let table = HintTable::build(&gate.hint_keys(), steps);
        gate.install(table);
    }
    let sealed = Knock::of(whose).sealed(now);
    gate.handle(
        now,
        &Datagram::new(
            address(HOME),
            address("198.51.100.1"),
            62201,
            sealed.as_bytes(),
        ),
    )
}

fn is_alice(decision: &Decision) -> bool {
    matches!(decision, Decision::Admit(admission) if matches!(&admission.request, Admitted::Open(request) if request.user == "alice"))
}

#[test]
fn both_keys_are_alices_until_the_old_one_ends_to_the_millisecond() {
    let end = START.plus(Duration::from_secs(20));
    let mut gate = gate(end, "");
    assert_eq!(gate.users(), 1);
    assert!(
        is_alice(&knock(&mut gate, START, "bob")) && is_alice(&knock(&mut gate, START, "alice"))
    );
    assert!(is_alice(&knock(
        &mut gate,
        end.minus(Duration::from_millis(1)),
        "bob"
    )));
    // In the same step, with the same hint table: nothing was reloaded.
    assert_eq!(
        knock(&mut gate, end, "bob"),
        Decision::Drop(Drop::UnknownHint)
    );
    assert!(is_alice(&knock(&mut gate, end, "alice")));
    let later = end.plus(Duration::from_secs(600));
    assert_eq!(
        knock(&mut gate, later, "bob"),
        Decision::Drop(Drop::UnknownHint)
    );
    assert!(is_alice(&knock(&mut gate, later, "alice")));
}

#[test]
fn a_clock_that_is_set_back_does_not_bring_an_old_key_back() {
    let end = START.plus(Duration::from_secs(20));
    let mut gate = gate(end, "");
    assert!(is_alice(&knock(&mut gate, end, "alice")));
    assert_eq!(
        knock(&mut gate, end.minus(Duration::from_secs(10)), "bob"),
        Decision::Drop(Drop::UnknownHint)
    );
}

#[test]
fn both_keys_share_the_one_quota() {
    let mut gate = gate(START.plus(Duration::from_secs(600)), "quota = '3/min'");
    let decisions: Vec<Decision> = ["alice", "bob", "alice", "bob", "alice"]
        .map(|whose| knock(&mut gate, START, whose))
        .into();
    assert!(decisions[..3].iter().all(is_alice), "{decisions:?}");
    let refused = |decision: &Decision| matches!(decision, Decision::Refuse(refusal) if refusal.user == "alice" && refusal.rule == Rule::Quota);
    assert!(decisions[3..].iter().all(refused), "{decisions:?}");
}

#[test]
fn an_old_key_that_ended_before_the_gate_began_never_counted() {
    let mut gate = gate(START.minus(Duration::from_secs(1)), "");
    assert_eq!(
        knock(&mut gate, START, "bob"),
        Decision::Drop(Drop::UnknownHint)
    );
    assert!(is_alice(&knock(&mut gate, START, "alice")));
}
