//! Elements that several grants need, and elements that the kernel has ended already.

use postern::adapters::firewall::{Change, FirewallDriver};
use postern::model::grant::Grant;
use postern_harness::wait_until;

use super::{Gate, gate_and_client, grant, lasting};

/// Remaining seconds of the only element of a set, according to `nft`.
fn remaining(gate: &Gate, set: &str) -> u64 {
    let elements = gate.listed(set);
    assert_eq!(elements.len(), 1, "{elements:?}");
    elements[0]["elem"]["expires"].as_u64().unwrap()
}

pub(crate) fn shared_element_lasts_until_the_later_end() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    let short = grant(1, "192.0.2.7/32", &["tcp/22"]);
    let long = grant(2, "192.0.2.7/32", &["tcp/22", "tcp/80"]);
    let long = Grant {
        user: "bob".to_owned(),
        ..lasting(long, 300_000)
    };
    let is_open = || client.reaches("192.0.2.7", "192.0.2.1", 22);
    for (first, second) in [(&short, &long), (&long, &short)] {
        gate.open(first);
        gate.open(second);
        assert!(is_open());
        gate.close(first);
        assert!(is_open(), "one of two is still open");
        assert_eq!(gate.list(), std::slice::from_ref(second));
        gate.close(second);
        assert!(!is_open());
        assert_eq!(gate.count(&["grants4"]), 0);
    }
    gate.open(&short);
    gate.open(&long);
    gate.close(&long);
    assert!((50..=60).contains(&remaining(&gate, "grants4")));
    let extended = gate.extend(&short, 600_000);
    for set in ["grants4", "record"] {
        assert!((590..=600).contains(&remaining(&gate, set)), "{set}");
    }
    assert_eq!(gate.list(), [extended]);
}

pub(crate) fn closing_an_expired_grant_is_done() {
    let gate = Gate::alone();
    gate.install(&["tcp/22"], &[]);
    let expired = [
        lasting(grant(1, "192.0.2.7/32", &["tcp/22"]), 100),
        lasting(grant(2, "192.0.2.0/24", &["tcp/22-23"]), 100),
    ];
    let staying = grant(3, "192.0.2.9/32", &["tcp/22"]);
    expired.iter().for_each(|grant| gate.open(grant));
    gate.open(&staying);
    gate.wait_for_count(&["grants4", "networks4", "record"], 2);
    let added = grant(4, "192.0.2.10/32", &["tcp/22"]);
    let table_handle = || gate.nft("-a list table inet postern | head -n 1");
    let handle = table_handle();
    let mut changes: Vec<Change> = expired.iter().cloned().map(Change::Close).collect();
    changes.push(Change::Open(added.clone()));
    gate.apply_all(&changes);
    assert_eq!(gate.list(), [staying, added]);
    expired.iter().for_each(|grant| gate.close(grant));
    assert_eq!(table_handle(), handle, "the table is not installed again");
}

pub(crate) fn expired_grant_can_be_extended() {
    let gate = Gate::alone();
    gate.install(&["tcp/22"], &[]);
    for (id, allow) in [(1, "192.0.2.7/32"), (2, "192.0.2.0/24")] {
        let old = lasting(grant(id, allow, &["tcp/22"]), 100);
        gate.open(&old);
        wait_until("end of the grant", || !gate.list().contains(&old));
        let new = gate.extend(&old, 60_000);
        assert!(gate.list().contains(&new));
    }
    assert_eq!(
        (gate.count(&["grants4"]), gate.count(&["networks4"])),
        (1, 1)
    );
}

pub(crate) fn failed_change_leaves_the_others_done() {
    let gate = Gate::alone();
    gate.install(&["tcp/22"], &[]);
    // a record with one place; no rule reads it, so it can be replaced
    gate.nft("delete set inet postern record");
    gate.nft("add set inet postern record '{ type mark . mark . mark; size 1; flags timeout; }'");
    let first = grant(1, "192.0.2.7/32", &["tcp/22"]);
    let second = grant(2, "192.0.2.8/32", &["tcp/22"]);
    let changes = [&first, &second].map(|grant| Change::Open(grant.clone()));
    let results = gate.driver(|driver| driver.apply(&changes));
    assert_eq!(results[0], Ok(()));
    let error = results[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("of set record"), "{error}");
    assert!(error.contains("the set is full"), "{error}");
    assert_eq!(gate.list(), std::slice::from_ref(&first));
    assert_eq!(gate.count(&["grants4"]), 1);
    gate.close(&first);
    gate.open(&second);
    assert_eq!(gate.list(), [second]);
}
