//! Hosts behind the gate:
//!
//! ```text
//!  client .7 .8 ── 192.0.2.0/24 ── .1 gate .1 ── 10.0.0.0/24 ── .2 .3 .9 host
//!  client ::7 ::8 ─ 2001:db8::/64 ─ ::1 gate ::1 ─ fd00::/64 ── ::2 ::3 host
//! ```

use postern::adapters::firewall::FirewallDriver;
use postern::model::grant::Grant;
use postern::model::settings::Protection;
use postern_harness::{LONGEST_WAIT, Namespace, echoes, wait_until};

use crate::{Gate, grant, protection};

fn gate_client_and_host() -> (Gate, Namespace, Namespace) {
    let (gate, client) = postern_harness::gate_and_client();
    let host = Namespace::new();
    let there = [
        "10.0.0.2/24",
        "10.0.0.9/24",
        "10.0.0.3/24",
        "fd00::2/64",
        "fd00::3/64",
    ];
    gate.link(&host, "inside", &["10.0.0.1/24", "fd00::1/64"], &there);
    gate.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    client.sh("ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8::1");
    host.sh("ip route add default via 10.0.0.1; ip -6 route add default via fd00::1");
    host.serve_echo(22);
    wait_until(LONGEST_WAIT, "connection through the gate", || {
        client.reaches("192.0.2.7", "10.0.0.2", 22) && client.reaches("2001:db8::7", "fd00::2", 22)
    });
    (Gate::new(gate), client, host)
}

/// `tests/behind` opens single addresses and ports, under both drivers.
pub(crate) fn range_opens_a_host_behind_but_not_the_gate() {
    let (gate, client, _host) = gate_client_and_host();
    gate.host.serve_echo(22);
    let behind = ["10.0.0.0/30", "fd00::/126"]
        .map(|network| (network.parse().unwrap(), "tcp/20-25".parse().unwrap()));
    let protection = Protection {
        behind: behind.into(),
        hide_behind: true,
        ..protection(&["tcp/22"])
    };
    gate.driver(|driver| driver.install(&protection, &[]))
        .unwrap();
    for (allow, own, other, target, neighbour, own_gate) in [
        (
            "192.0.2.6/31",
            "192.0.2.7",
            "192.0.2.8",
            "10.0.0.2",
            "10.0.0.3",
            "192.0.2.1",
        ),
        (
            "2001:db8::6/127",
            "2001:db8::7",
            "2001:db8::8",
            "fd00::2",
            "fd00::3",
            "2001:db8::1",
        ),
    ] {
        assert!(!client.reaches(own, target, 22));
        let grant = Grant {
            target: Some(target.parse().unwrap()),
            ..grant(1, allow, &["tcp/21-22"])
        };
        gate.open(&grant);
        let mut connection = client.connect(own, target, 22).unwrap();
        for (from, to) in [(other, target), (own, neighbour), (own, own_gate)] {
            assert!(!client.reaches(from, to, 22), "{from} to {to}");
        }
        assert_eq!(gate.list(), std::slice::from_ref(&grant));
        gate.close(&grant);
        assert!(echoes(&mut connection), "established connections stay");
        assert!(!client.reaches(own, target, 22));
    }
    // a host that is not hidden is left to the host's own rules
    assert!(client.reaches("192.0.2.7", "10.0.0.9", 22));
}
