//! Ten thousand grants at once.

use std::net::Ipv4Addr;

use postern::backend::{Backend, Change};
use postern::grant::Grant;

use crate::{Gate, grant};

const MANY: u64 = 10_000;

fn many() -> Vec<Grant> {
    let address = |id: u64| Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(id).unwrap());
    (1..=MANY).map(|id| grant(id, &format!("{}/32", address(id)), &["tcp/22"])).collect()
}

pub(crate) fn ten_thousand_grants_are_installed_listed_and_closed() {
    let gate = Gate::plain();
    let grants = many();
    gate.install(&["tcp/22"], &grants);
    assert_eq!(gate.list(), grants);
    let changes: Vec<Change> = grants.iter().cloned().map(Change::Close).collect();
    let results = gate.driver(|driver| driver.apply(&changes));
    assert!(results.len() == changes.len() && results.iter().all(Result::is_ok));
    assert_eq!(gate.list(), []);
}

pub(crate) fn ten_thousand_grants_opened_in_batches_are_all_there_and_survive_a_lost_table() {
    let gate = Gate::plain();
    let grants = many();
    gate.install(&["tcp/22"], &[]);
    for batch in grants.chunks(512) {
        let changes: Vec<Change> = batch.iter().cloned().map(Change::Open).collect();
        assert!(gate.driver(|driver| driver.apply(&changes)).iter().all(Result::is_ok));
    }
    assert_eq!(gate.list(), grants);
    gate.nft("delete table inet postern");
    let changes: Vec<Change> = grants[..9_000].iter().cloned().map(Change::Close).collect();
    assert!(gate.driver(|driver| driver.apply(&changes)).iter().all(Result::is_ok), "more faults than answers have room");
    assert_eq!(gate.list(), grants[9_000..]);
}
