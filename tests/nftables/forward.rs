//! Hosts behind the gate:
//!
//! ```text
//!  client .7 .8 ── 192.0.2.0/24 ── .1 gate .1 ── 10.0.0.0/24 ── .2 .3 host
//!  client ::7 ::8 ─ 2001:db8::/64 ─ ::1 gate ::1 ─ fd00::/64 ── ::2 ::3 host
//! ```

use std::time::Duration;

use postern::adapters::firewall::FirewallDriver;
use postern::model::grant::Grant;
use postern::model::settings::Protection;

use crate::space::{Space, echoes, wait_until};
use crate::{Gate, grant, protection};

fn three() -> (Gate, Space, Space) {
    let gate = Gate::plain();
    let (client, host) = (Space::new(), Space::new());
    gate.space.link(
        &client,
        "out",
        &["192.0.2.1/24", "2001:db8::1/64"],
        &[
            "192.0.2.7/24",
            "192.0.2.8/24",
            "2001:db8::7/64",
            "2001:db8::8/64",
        ],
    );
    gate.space.link(
        &host,
        "in",
        &["10.0.0.1/24", "fd00::1/64"],
        &[
            "10.0.0.2/24",
            "10.0.0.9/24",
            "10.0.0.3/24",
            "fd00::2/64",
            "fd00::3/64",
        ],
    );
    gate.space
        .sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    client.sh("ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8::1");
    host.sh("ip route add default via 10.0.0.1; ip -6 route add default via fd00::1");
    host.serve(22);
    (gate, client, host)
}

/// Closes these ports of the first hosts behind the gate.
fn hiding(ports: &str) -> Protection {
    let behind = ["10.0.0.0/30", "fd00::/126"]
        .map(|network| (network.parse().unwrap(), ports.parse().unwrap()));
    Protection {
        behind: behind.into(),
        hide_behind: true,
        ..protection(&[])
    }
}

fn to(target: &str, grant: Grant) -> Grant {
    Grant {
        target: Some(target.parse().unwrap()),
        ..grant
    }
}

pub(crate) fn a_host_behind_the_gate_opens_for_one_address_and_its_neighbours_stay_closed() {
    let (gate, client, _host) = three();
    let all_open = || {
        client.reaches("192.0.2.7", "10.0.0.2", 22) && client.reaches("2001:db8::7", "fd00::2", 22)
    };
    assert!(
        wait_until(all_open, Duration::from_secs(5)).is_some(),
        "nothing is hidden yet"
    );
    gate.driver(|driver| driver.install(&hiding("tcp/20-25"), &[]))
        .unwrap();
    for (mine, other, target, neighbour) in [
        ("192.0.2.7", "192.0.2.8", "10.0.0.2", "10.0.0.3"),
        ("2001:db8::7", "2001:db8::8", "fd00::2", "fd00::3"),
    ] {
        let length = if mine.contains(':') { 128 } else { 32 };
        let exact = to(target, grant(1, &format!("{mine}/{length}"), &["tcp/22"]));
        let ranges = to(
            target,
            grant(2, &format!("{mine}/{}", length - 1), &["tcp/21-22"]),
        );
        for grant in [exact, ranges] {
            assert!(!client.reaches(mine, target, 22));
            gate.open(&grant);
            let mut connection = client.connect(mine, target, 22).unwrap();
            assert!(!client.reaches(other, target, 22) && !client.reaches(mine, neighbour, 22));
            assert_eq!(gate.list(), std::slice::from_ref(&grant));
            gate.close(&grant);
            assert!(echoes(&mut connection), "what is established stays");
        }
        assert!(!client.reaches(mine, target, 22));
    }
    assert!(
        client.reaches("192.0.2.7", "10.0.0.9", 22),
        "a host that is not hidden is left to the host's own rules"
    );
}

pub(crate) fn a_grant_for_a_host_behind_the_gate_does_not_open_the_gate_itself() {
    let (gate, client, _host) = three();
    gate.space.serve(22);
    let protection = Protection {
        services: vec!["tcp/22".parse().unwrap()],
        ..hiding("tcp/22")
    };
    let forwarded = to("10.0.0.2", grant(1, "192.0.2.7/32", &["tcp/22"]));
    gate.driver(|driver| driver.install(&protection, &[forwarded]))
        .unwrap();
    assert!(client.reaches("192.0.2.7", "10.0.0.2", 22));
    assert!(
        !client.reaches("192.0.2.7", "192.0.2.1", 22)
            && !client.reaches("192.0.2.7", "10.0.0.1", 22)
    );
}
