//! What others do to the table, and what the driver does to theirs.

use postern::adapters::firewall::nftables::Nftables;
use postern::adapters::firewall::{Change, FirewallDriver};

use crate::space::Space;
use crate::{Gate, gate_and_client, grant, lasting, protection};

pub(crate) fn a_table_deleted_behind_our_back_is_put_back_with_the_next_change() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    let (first, second) = (
        grant(1, "192.0.2.7/32", &["tcp/22"]),
        grant(2, "192.0.2.0/30", &["tcp/22"]),
    );
    gate.open(&first);
    for change in [Change::Open(second.clone()), Change::Close(second)] {
        gate.nft("delete table inet postern");
        assert!(
            client.reaches("192.0.2.8", "192.0.2.1", 22),
            "nothing is protected"
        );
        assert_eq!(gate.list(), []);
        gate.apply(change).unwrap();
        assert!(!client.reaches("192.0.2.8", "192.0.2.1", 22));
        assert!(client.reaches("192.0.2.7", "192.0.2.1", 22));
    }
    assert_eq!(gate.list(), [first]);
}

pub(crate) fn a_flushed_set_and_an_element_of_somebody_else_do_not_make_a_change_fail() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[]);
    let network = grant(1, "192.0.2.0/24", &["tcp/22"]);
    gate.open(&network);
    gate.nft("flush set inet postern networks4");
    gate.apply(Change::Extend {
        old: network.clone(),
        new: lasting(network, 90_000),
    })
    .unwrap();
    assert_eq!(gate.elements("networks4"), 1);
    gate.nft("add element inet postern grants4 '{ 192.0.2.7 . tcp . 22 timeout 9h }'");
    gate.open(&grant(2, "192.0.2.7/32", &["tcp/22"]));
    assert!(
        gate.nft("list set inet postern grants4")
            .contains("timeout 1m"),
        "the foreign end is gone"
    );
}

pub(crate) fn install_repairs_everything_and_opens_the_given_grants_and_no_others() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    gate.open(&grant(1, "192.0.2.7/32", &["tcp/22"]));
    let fresh = gate.nft("list chain inet postern input");
    gate.nft("flush chain inet postern input");
    gate.nft("add chain inet postern other");
    let live = [
        grant(2, "192.0.2.8/32", &["tcp/22"]),
        grant(3, "2001:db8::/126", &["tcp/22"]),
    ];
    for _ in 0..2 {
        gate.install(&["tcp/22"], &live);
        assert!(
            !client.reaches("192.0.2.7", "192.0.2.1", 22)
                && client.reaches("192.0.2.8", "192.0.2.1", 22)
        );
        assert_eq!(gate.list(), live);
    }
    let repaired = gate.nft("list chain inet postern input");
    let without_counts = |text: &str| {
        text.lines()
            .map(|line| line.split(" counter ").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(without_counts(&repaired), without_counts(&fresh));
    assert!(!gate.space.try_sh("nft list chain inet postern other").0);
}

pub(crate) fn remove_leaves_the_ruleset_as_it_was_and_is_done_when_there_is_nothing() {
    let gate = Gate::plain();
    gate.nft("add table inet theirs");
    gate.nft("add chain inet theirs input '{ type filter hook input priority 0; policy accept; }'");
    gate.nft("add rule inet theirs input tcp dport 22 counter accept");
    gate.nft("add set inet theirs grants4 '{ type ipv4_addr; elements = { 10.0.0.1 }; }'");
    let before = gate.nft("list ruleset");
    gate.install(&["tcp/22"], &[grant(1, "192.0.2.7/32", &["tcp/22"])]);
    gate.open(&grant(2, "192.0.2.8/32", &["tcp/22"]));
    let with_ours = gate.nft("list ruleset");
    assert!(
        with_ours.starts_with(&before) || with_ours.ends_with(&before),
        "{with_ours}"
    );
    gate.driver(FirewallDriver::remove).unwrap();
    assert_eq!(gate.nft("list ruleset"), before);
    gate.driver(FirewallDriver::remove).unwrap();
    assert_eq!(gate.nft("list ruleset"), before);
    let said = gate
        .apply(Change::Open(grant(3, "192.0.2.8/32", &["tcp/22"])))
        .unwrap_err()
        .to_string();
    assert!(said.contains("not set up"), "{said}");
    assert_eq!(gate.nft("list ruleset"), before);
}

pub(crate) fn an_entry_of_the_record_that_is_not_readable_is_an_error_and_never_left_out() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[grant(1, "192.0.2.7/32", &["tcp/22"])]);
    gate.nft("add element inet postern record '{ 1 . 2 . 3 timeout 1h }'");
    let said = gate.driver(FirewallDriver::list).unwrap_err().to_string();
    assert!(
        said.contains("not readable") && said.contains("posternd flush"),
        "{said}"
    );
}

pub(crate) fn without_the_capability_the_error_names_it() {
    let space = Space::new();
    let said = space.run(|| {
        let mut driver = Nftables::open().unwrap();
        caps::clear(None, caps::CapSet::Effective).unwrap();
        [
            Nftables::open().map(drop).unwrap_err(),
            driver.install(&protection(&["tcp/22"]), &[]).unwrap_err(),
        ]
        .map(|error| error.to_string())
    });
    assert!(
        said.iter().all(|said| said.contains("CAP_NET_ADMIN")),
        "{said:?}"
    );
}

pub(crate) fn whatever_others_change_in_the_table_is_seen() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[]);
    gate.open(&grant(1, "192.0.2.7/32", &["tcp/22"]));
    gate.open(&grant(2, "192.0.2.0/24", &["tcp/80-90"]));
    let stands = || gate.driver(|driver| driver.verify()).unwrap();
    let handle = || {
        let listed = gate.nft("-a list chain inet postern hidden");
        listed
            .lines()
            .find(|line| line.contains("# handle") && !line.contains("chain"))
            .unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert!(stands());
    for change in [
        "add element inet postern grants4 '{ 198.51.100.9 . tcp . 22 }'",
        "add element inet postern networks6 '{ 2001:db8::/32 . tcp . 22 . 7 timeout 1h }'",
        "delete element inet postern grants4 '{ 192.0.2.7 . tcp . 22 }'",
        "replace rule inet postern hidden handle HANDLE tcp dport 1 drop",
        "insert rule inet postern hidden accept",
        "add table inet postern '{ flags dormant; }'",
        "delete table inet postern",
    ] {
        // It keeps its handle, but an installation gives each rule another.
        gate.nft(&change.replace("HANDLE", &handle()));
        assert!(!stands(), "{change}");
        let live = gate.driver(|driver| {
            driver.install(
                &protection(&["tcp/22"]),
                &[grant(1, "192.0.2.7/32", &["tcp/22"])],
            )
        });
        assert!(live.is_ok() && stands(), "{change}");
    }
    gate.nft("add table inet theirs");
    assert!(stands(), "what others do elsewhere is theirs");
}
