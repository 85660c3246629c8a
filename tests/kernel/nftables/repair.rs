//! Changes of others in the table, which the driver detects; it leaves the tables of others unchanged.

use postern::adapters::firewall::nftables::Nftables;
use postern::adapters::firewall::{Change, FirewallDriver};
use postern_harness::{Namespace, echoes};

use super::{Gate, gate_and_client, grant, protection};

pub(crate) fn deleted_table_is_installed_again() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    let first = grant(1, "192.0.2.7/32", &["tcp/22"]);
    let second = grant(2, "192.0.2.0/30", &["tcp/22"]);
    gate.open(&first);
    for change in [Change::Open(second.clone()), Change::Close(second)] {
        gate.nft("delete table inet postern");
        assert!(client.reaches("192.0.2.8", "192.0.2.1", 22));
        assert_eq!(gate.list(), []);
        gate.apply(change).unwrap();
        assert!(!client.reaches("192.0.2.8", "192.0.2.1", 22));
        assert!(client.reaches("192.0.2.7", "192.0.2.1", 22));
    }
    assert_eq!(gate.list(), [first]);
}

pub(crate) fn foreign_changes_do_not_fail_a_change() {
    let gate = Gate::alone();
    gate.install(&["tcp/22"], &[]);
    let network = grant(1, "192.0.2.0/24", &["tcp/22"]);
    gate.open(&network);
    gate.nft("flush set inet postern networks4");
    gate.extend(&network, 90_000);
    assert_eq!(gate.count(&["networks4"]), 1);
    gate.nft("add element inet postern grants4 '{ 192.0.2.7 . tcp . 22 timeout 9h }'");
    gate.open(&grant(2, "192.0.2.7/32", &["tcp/22"]));
    let listed = gate.nft("list set inet postern grants4");
    assert!(listed.contains("timeout 1m"), "{listed}");
}

pub(crate) fn install_repairs_everything() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    gate.open(&grant(1, "192.0.2.7/32", &["tcp/22"]));
    let chain_without_counts = || -> Vec<String> {
        let text = gate.nft("list chain inet postern input");
        let lines = text.lines().map(|line| line.split(" counter ").next());
        lines.map(|line| line.unwrap().to_owned()).collect()
    };
    let fresh = chain_without_counts();
    let mut established = client.connect("192.0.2.7", "192.0.2.1", 22).unwrap();
    gate.nft("flush chain inet postern input");
    gate.nft("add chain inet postern other");
    let live = [
        grant(2, "192.0.2.8/32", &["tcp/22"]),
        grant(3, "2001:db8::/126", &["tcp/22"]),
    ];
    for _ in 0..2 {
        gate.install(&["tcp/22"], &live);
        assert!(!client.reaches("192.0.2.7", "192.0.2.1", 22));
        assert!(client.reaches("192.0.2.8", "192.0.2.1", 22));
        assert_eq!(gate.list(), live);
    }
    assert!(echoes(&mut established));
    assert_eq!(chain_without_counts(), fresh);
    let other = gate.host.try_sh("nft list chain inet postern other");
    assert!(other.is_err());
    gate.driver(FirewallDriver::remove).unwrap();
    let change = Change::Open(live[0].clone());
    let error = gate.apply(change).unwrap_err().to_string();
    assert!(error.contains("not set up"), "{error}");
}

pub(crate) fn unreadable_record_is_no_grant() {
    let gate = Gate::alone();
    let live = [grant(1, "192.0.2.7/32", &["tcp/22"])];
    gate.install(&["tcp/22"], &live);
    gate.nft("add element inet postern record '{ 1 . 2 . 3 timeout 1h }'");
    assert_eq!(gate.list(), live);
    gate.install(&["tcp/22"], &live);
    assert_eq!(gate.count(&["record"]), 1);
}

pub(crate) fn missing_capability_is_named() {
    let errors = Namespace::new().run(|| {
        let mut driver = Nftables::open().unwrap();
        caps::clear(None, caps::CapSet::Effective).unwrap();
        let open = Nftables::open().map(drop).unwrap_err();
        [
            open,
            driver.install(&protection(&["tcp/22"]), &[]).unwrap_err(),
        ]
    });
    for error in errors {
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }
}

pub(crate) fn verify_sees_every_foreign_change() {
    let gate = Gate::alone();
    let is_intact = || gate.driver(|driver| driver.verify()).unwrap();
    let live = [
        grant(1, "192.0.2.7/32", &["tcp/22"]),
        grant(2, "192.0.2.0/24", &["tcp/80-90"]),
    ];
    let rule_handle = || {
        let listed = gate.nft("-a list chain inet postern hidden");
        let mut lines = listed.lines();
        let rule = lines.find(|line| line.contains("# handle") && !line.contains("chain"));
        rule.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    for change in [
        "add element inet postern grants4 '{ 198.51.100.9 . tcp . 22 }'",
        "add element inet postern networks6 '{ 2001:db8::/32 . tcp . 22 . 7 timeout 1h }'",
        "flush set inet postern grants4",
        "replace rule inet postern hidden handle HANDLE tcp dport 1 drop",
        "insert rule inet postern hidden accept",
        "add table inet postern '{ flags dormant; }'",
        "delete table inet postern",
    ] {
        gate.install(&["tcp/22"], &live);
        assert!(is_intact(), "{change}");
        gate.nft(&change.replace("HANDLE", &rule_handle()));
        assert!(!is_intact(), "{change}");
    }
    gate.install(&["tcp/22"], &live);
    gate.nft("add table inet theirs");
    assert!(is_intact(), "other tables do not matter");
}
