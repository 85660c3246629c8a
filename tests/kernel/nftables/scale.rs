//! Many grants at once.

use std::io::Write;
use std::net::Ipv4Addr;

use postern::adapters::firewall::Change;
use postern::model::grant::Grant;

use super::{Gate, grant};

pub(crate) fn many_grants_open_in_batches_and_close() {
    let gate = Gate::alone();
    let address = |id: u32| Ipv4Addr::from_bits(0x0a00_0000 + id);
    let grants: Vec<Grant> = (1..=10_000)
        .map(|id| grant(id.into(), &format!("{}/32", address(id)), &["tcp/22"]))
        .collect();
    gate.install(&["tcp/22"], &grants);
    assert_eq!(gate.list(), grants);
    gate.install(&["tcp/22"], &[]);
    for batch in grants.chunks(512) {
        let changes: Vec<Change> = batch.iter().cloned().map(Change::Open).collect();
        gate.apply_all(&changes);
    }
    assert_eq!(gate.list(), grants);
    // the answers name more missing elements than the socket has room for
    gate.nft("delete table inet postern");
    let (closed, rest) = grants.split_at(9_000);
    let close =
        |grants: &[Grant]| -> Vec<Change> { grants.iter().cloned().map(Change::Close).collect() };
    gate.apply_all(&close(closed));
    assert_eq!(gate.list(), rest);
    gate.apply_all(&close(rest));
    assert_eq!(gate.list(), []);
}

/// The record's limit bounds all other sets. Here others fill it up to one free place.
pub(crate) fn full_set_refuses_the_next_grant() {
    const PLACES: u32 = 1 << 17;
    let gate = Gate::alone();
    let first = grant(1, "192.0.2.7/32", &["tcp/22"]);
    gate.install(&["tcp/22"], &[]);
    gate.open(&first);
    let foreign: Vec<String> = (1..PLACES)
        .map(|number| format!("0xff000000 . {number} . 0 timeout 1h"))
        .collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let elements = foreign.join(",");
    write!(file, "add element inet postern record {{ {elements} }}").unwrap();
    gate.nft(&format!("-f {}", file.path().display()));
    for allow in ["192.0.2.8/32", "2001:db8::8/128"] {
        let change = Change::Open(grant(2, allow, &["tcp/22"]));
        let error = gate.apply(change).unwrap_err().to_string();
        let cure = "the set is full: close grants (posternd close) or wait until some end";
        assert!(error.contains(cure), "{error}");
    }
    let counts = (gate.count(&["grants4"]), gate.count(&["grants6"]));
    assert_eq!(counts, (1, 0), "nothing is half open");
    gate.close(&first);
    gate.open(&grant(4, "2001:db8::9/128", &["tcp/22"]));
    assert_eq!(gate.count(&["grants6"]), 1);
}
