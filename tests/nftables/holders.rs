//! Elements that several grants need, and elements that the kernel has already ended.

use std::time::Duration;

use postern::adapters::firewall::{Change, FirewallDriver};
use postern::model::grant::Grant;

use crate::space::wait_until;
use crate::{Gate, gate_and_client, grant, lasting};

fn bob(mut grant: Grant) -> Grant {
    grant.user = "bob".to_owned();
    grant
}

/// Remaining seconds of the only element of a set, as `nft` says.
fn remaining(gate: &Gate, set: &str) -> u64 {
    let text = gate.nft(&format!("-j list set inet postern {set}"));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let elements = value["nftables"][1]["set"]["elem"].as_array().unwrap();
    assert_eq!(elements.len(), 1, "{text}");
    elements[0]["elem"]["expires"].as_u64().unwrap()
}

pub(crate) fn two_grants_share_an_element_until_the_later_ends_whichever_is_closed_first() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    let (short, long) = (
        grant(1, "192.0.2.7/32", &["tcp/22"]),
        bob(lasting(
            grant(2, "192.0.2.7/32", &["tcp/22", "tcp/80"]),
            300_000,
        )),
    );
    let open = || client.reaches("192.0.2.7", "192.0.2.1", 22);
    for (first, second) in [(&short, &long), (&long, &short)] {
        gate.open(first);
        gate.open(second);
        assert!(open());
        gate.close(first);
        assert!(open(), "one of two is still open");
        assert_eq!(gate.list(), std::slice::from_ref(second));
        gate.close(second);
        assert!(!open());
        assert_eq!(gate.elements("grants4"), 0);
    }
    gate.open(&short);
    gate.open(&long);
    gate.close(&long);
    assert!(
        (50..=60).contains(&remaining(&gate, "grants4")),
        "what is left is the other's time"
    );
}

pub(crate) fn extending_a_grant_moves_its_end_in_the_kernel() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[]);
    let old = grant(1, "192.0.2.7/32", &["tcp/22"]);
    let new = lasting(old.clone(), 600_000);
    gate.open(&old);
    gate.apply(Change::Extend {
        old,
        new: new.clone(),
    })
    .unwrap();
    assert!((590..=600).contains(&remaining(&gate, "grants4")));
    assert!((590..=600).contains(&remaining(&gate, "record")));
    assert_eq!(gate.list(), [new]);
}

pub(crate) fn closing_what_the_kernel_has_already_ended_is_done_and_spoils_nothing_beside_it() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[]);
    let ended = [
        lasting(grant(1, "192.0.2.7/32", &["tcp/22"]), 100),
        lasting(grant(2, "192.0.2.0/24", &["tcp/22-23"]), 100),
    ];
    let staying = grant(3, "192.0.2.9/32", &["tcp/22"]);
    for grant in ended.iter().chain([&staying]) {
        gate.open(grant);
    }
    let gone = || {
        gate.elements("grants4") == 1
            && gate.elements("networks4") == 0
            && gate.elements("record") == 1
    };
    assert!(wait_until(gone, Duration::from_secs(3)).is_some());
    let added = grant(4, "192.0.2.10/32", &["tcp/22"]);
    let table = gate.nft("-a list table inet postern | head -n 1");
    let mut changes: Vec<Change> = ended.iter().cloned().map(Change::Close).collect();
    changes.push(Change::Open(added.clone()));
    assert!(
        gate.driver(|driver| driver.apply(&changes))
            .iter()
            .all(Result::is_ok)
    );
    assert_eq!(gate.list(), [staying, added]);
    for grant in ended {
        gate.close(&grant);
    }
    assert_eq!(
        gate.nft("-a list table inet postern | head -n 1"),
        table,
        "the whole table is not put back for it"
    );
}

pub(crate) fn a_grant_can_be_extended_after_the_kernel_has_ended_it() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[]);
    for old in [
        lasting(grant(1, "192.0.2.7/32", &["tcp/22"]), 100),
        lasting(grant(2, "192.0.2.0/24", &["tcp/22"]), 100),
    ] {
        gate.open(&old);
        assert!(wait_until(|| !gate.list().contains(&old), Duration::from_secs(3)).is_some());
        let new = lasting(old.clone(), 60_000);
        gate.apply(Change::Extend {
            old,
            new: new.clone(),
        })
        .unwrap();
        assert!(gate.list().contains(&new));
    }
    assert_eq!(
        (gate.elements("grants4"), gate.elements("networks4")),
        (1, 1)
    );
}

pub(crate) fn one_change_that_fails_leaves_the_others_of_its_batch_done_and_nothing_half_open() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[]);
    // a record with room for one, which no rule uses and so can be swapped
    gate.nft("delete set inet postern record");
    gate.nft("add set inet postern record '{ type mark . mark . mark; size 1; flags timeout; }'");
    let (first, second) = (
        grant(1, "192.0.2.7/32", &["tcp/22"]),
        grant(2, "192.0.2.8/32", &["tcp/22"]),
    );
    let results = gate.driver(|driver| {
        driver.apply(&[Change::Open(first.clone()), Change::Open(second.clone())])
    });
    assert_eq!(results[0], Ok(()));
    let said = results[1].as_ref().unwrap_err().to_string();
    assert!(
        said.contains("of set record") && said.contains("the set is full"),
        "{said}"
    );
    assert_eq!(gate.list(), std::slice::from_ref(&first));
    assert_eq!(gate.elements("grants4"), 1);
    gate.close(&first);
    gate.open(&second);
    assert_eq!(gate.list(), [second]);
}
