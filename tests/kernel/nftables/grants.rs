//! What strangers and users with a grant get from a gate.

use std::time::{Duration, Instant};

use postern::adapters::firewall::FirewallDriver;
use postern::adapters::firewall::nftables::Nftables;
use postern::model::catalog::Forward;
use postern_harness::wait_until;

use super::{Gate, NOW, gate_and_client, grant, lasting, protection};

/// Invariant 4: the kernel ends a grant, even if both processes die.
pub(crate) fn kernel_ends_grants_without_the_driver() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    gate.open(&lasting(grant(1, "192.0.2.7/32", &["tcp/22"]), 1_500));
    let Gate { host, driver } = gate;
    drop(driver);
    let is_open = || client.reaches("192.0.2.7", "192.0.2.1", 22);
    assert!(is_open());
    let start = Instant::now();
    wait_until("end of the grant", || !is_open());
    assert!(start.elapsed() < Duration::from_secs(3));
    let gate = Gate::new(host);
    assert_eq!(gate.count(&["grants4", "record"]), 0);
    // a past end is never taken for no end
    let mut past = grant(1, "192.0.2.7/32", &["tcp/22"]);
    past.until = NOW.minus(Duration::from_secs(5));
    gate.install(&["tcp/22"], &[past]);
    gate.wait_for_count(&["grants4", "record"], 0);
}

pub(crate) fn overlapping_ranges_open_what_they_span() {
    let (gate, client) = gate_and_client();
    gate.host.serve_echo(21);
    gate.host.serve_echo(23);
    gate.install(&["tcp/20-30"], &[]);
    let reaches = |from, port| client.reaches(from, "192.0.2.1", port);
    let reaches_v6 = |from, port| client.reaches(from, "2001:db8::1", port);
    // each corner lies inside another range, in both orders
    let wide = grant(1, "192.0.2.0/24", &["tcp/21-23"]);
    let narrow = grant(2, "192.0.2.0/29", &["tcp/21-22"]);
    let same = lasting(grant(3, "192.0.2.0/24", &["tcp/21-23"]), 1_000);
    let v6 = grant(4, "2001:db8::/64", &["tcp/22"]);
    for grant in [&wide, &narrow, &same, &v6] {
        gate.open(grant);
    }
    assert!(reaches("192.0.2.7", 21) && reaches("192.0.2.8", 23));
    assert!(reaches_v6("2001:db8::8", 22) && !reaches_v6("2001:db8::8", 23));
    gate.wait_for_count(&["networks4"], 2);
    assert!(reaches("192.0.2.8", 23));
    gate.close(&same);
    gate.close(&wide);
    assert!(reaches("192.0.2.7", 22) && !reaches("192.0.2.7", 23) && !reaches("192.0.2.8", 22));
    let narrow = gate.extend(&narrow, 90_000);
    assert!(reaches("192.0.2.7", 22));
    gate.close(&narrow);
    assert!(!reaches("192.0.2.7", 22));
    assert_eq!(gate.list(), [v6]);
}

pub(crate) fn icmp_protection_closes_echo_requests_only() {
    let (gate, client) = gate_and_client();
    gate.install(&["icmp", "icmpv6"], &[]);
    let pings = |v4, v6| {
        (
            client.pings(v4, "192.0.2.1"),
            client.pings(v6, "2001:db8::1"),
        )
    };
    assert_eq!(pings("192.0.2.7", "2001:db8::7"), (false, false));
    // neighbour discovery still works
    assert!(client.reaches("2001:db8::7", "2001:db8::1", 22));
    gate.open(&grant(1, "192.0.2.7/32", &["icmp"]));
    gate.open(&grant(2, "2001:db8::/126", &["icmpv6"]));
    gate.open(&grant(3, "2001:db8::7/128", &["icmpv6"]));
    assert_eq!(pings("192.0.2.7", "2001:db8::7"), (true, true));
    assert_eq!(pings("192.0.2.8", "2001:db8::8"), (false, false));
}

pub(crate) fn record_is_read_back_and_shown_by_nft() {
    let gate = Gate::alone();
    gate.install(&["tcp/22"], &[]);
    let ports: Vec<String> = (1..300).map(|port| format!("tcp/{}", port * 2)).collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let mut grants = vec![
        grant(17, "192.0.2.7/32", &["tcp/22", "udp/53", "icmp"]),
        grant(18, "2001:db8::/32", &["tcp/80-90"]),
        grant(19, "192.0.2.9/32", &ports),
    ];
    grants[1].target = Some("2001:db8:1::1".parse().unwrap());
    grants.iter().for_each(|grant| gate.open(grant));
    assert_eq!(gate.list(), grants);
    let shown = gate.nft("list ruleset");
    for part in [
        "comment \"17 alice tcp/22,udp/53,ic.. 2026-11-22T10:01:00Z\"",
        // nft misreads the protocol, so that a loaded listing opens nothing
        "192.0.2.7 . ip . 22 timeout 1m",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    // a new driver knows only what the kernel lists
    let mut later = gate.host.run(|| Nftables::open().unwrap());
    let live = later.list().unwrap();
    assert_eq!(live, grants);
    for clock in [
        NOW.plus(Duration::from_secs(172_800)),
        NOW.minus(Duration::from_secs(3600)),
    ] {
        later.tick(clock);
        for grant in later.list().unwrap() {
            let left = grant.until.since(clock).as_secs();
            assert!((10..=60).contains(&left), "{left} s after a clock step");
        }
    }
    later.tick(NOW);
    later.install(&protection(&["tcp/22"]), &live).unwrap();
    assert_eq!(gate.list(), grants);
}

pub(crate) fn nft_can_load_what_it_lists() {
    let gate = Gate::alone();
    let mut protection = protection(&["tcp/22", "udp/500-510", "icmp", "icmpv6"]);
    protection.hide_behind = true;
    protection.behind = vec![
        ("10.0.0.0/24".parse().unwrap(), "tcp/22".parse().unwrap()),
        ("fd00::/64".parse().unwrap(), "icmpv6".parse().unwrap()),
    ];
    let mut grants = [
        grant(1, "192.0.2.7/32", &["tcp/22", "icmp"]),
        grant(2, "2001:db8::/32", &["tcp/22", "icmpv6"]),
    ];
    for (grant, host) in grants.iter_mut().zip(["10.0.0.5", "fd00::5"]) {
        for (at, port) in [("tcp/2222", Some(22)), ("udp/500-510", None)] {
            let (at, host) = (at.parse().unwrap(), host.parse().unwrap());
            grant
                .forwards
                .push(Forward::new(at, host, port, true).unwrap());
        }
        let (at, to) = ("tcp/2200".parse().unwrap(), "tcp/22".parse().unwrap());
        grant.forwards.push(Forward::redirect(at, to).unwrap());
    }
    gate.driver(|driver| driver.install(&protection, &grants))
        .unwrap();
    let before = gate.nft("-s list ruleset");
    gate.host
        .sh("f=$(mktemp) && nft -s list ruleset > $f && nft flush ruleset && nft -f $f && rm $f");
    assert_eq!(gate.nft("-s list ruleset"), before);
}
