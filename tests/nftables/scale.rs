//! Ten thousand grants at once.

use std::io::Write;
use std::net::Ipv4Addr;

use postern::adapters::firewall::{Change, FirewallDriver};
use postern::model::grant::Grant;

use crate::{Gate, grant};

const MANY: u64 = 10_000;

fn many() -> Vec<Grant> {
    let address = |id: u64| Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(id).unwrap());
    (1..=MANY)
        .map(|id| grant(id, &format!("{}/32", address(id)), &["tcp/22"]))
        .collect()
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
        assert!(
            gate.driver(|driver| driver.apply(&changes))
                .iter()
                .all(Result::is_ok)
        );
    }
    assert_eq!(gate.list(), grants);
    gate.nft("delete table inet postern");
    let changes: Vec<Change> = grants[..9_000].iter().cloned().map(Change::Close).collect();
    assert!(
        gate.driver(|driver| driver.apply(&changes))
            .iter()
            .all(Result::is_ok),
        "more faults than answers have room"
    );
    assert_eq!(gate.list(), grants[9_000..]);
}

/// The record bounds all other sets; this many elements of it are somebody else's here, so that one grant more has no room.
pub(crate) fn a_full_set_refuses_the_next_grant_and_says_so_and_the_others_stay() {
    const ROOM: u32 = 1 << 17;
    let gate = Gate::plain();
    let first = grant(1, "192.0.2.7/32", &["tcp/22"]);
    gate.install(&["tcp/22"], &[]);
    gate.open(&first);
    let strangers = (1..ROOM)
        .map(|number| format!("0xff000000 . {number} . 0 timeout 1h"))
        .collect::<Vec<_>>()
        .join(",");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "add element inet postern record {{ {strangers} }}").unwrap();
    gate.nft(&format!("-f {}", file.path().display()));
    let before = gate.elements("grants4");
    for change in [
        Change::Open(grant(2, "192.0.2.8/32", &["tcp/22"])),
        Change::Open(grant(3, "2001:db8::8/128", &["tcp/22"])),
    ] {
        let said = gate.apply(change).unwrap_err().to_string();
        assert!(
            said.contains("the set is full: close grants (posternd close) or wait until some end"),
            "{said}"
        );
    }
    assert_eq!(
        (gate.elements("grants4"), gate.elements("grants6")),
        (before, 0),
        "nothing is half open"
    );
    gate.apply(Change::Close(first)).unwrap();
    gate.apply(Change::Open(grant(4, "2001:db8::9/128", &["tcp/22"])))
        .unwrap();
    assert_eq!(gate.elements("grants6"), 1, "there is room for one again");
}
