//! What a stranger, and what a holder of a grant, gets from a gate.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use postern::adapters::firewall::{Change, FirewallDriver};
use postern::model::catalog::Forward;
use postern::model::grant::Grant;

use crate::space::{echoes, wait_until};
use crate::{Gate, KNOCK_PORT, NOW, gate_and_client, grant, lasting};

pub(crate) fn a_protected_port_opens_for_the_address_of_a_grant_and_for_no_other_in_both_families()
{
    let (gate, client) = gate_and_client();
    for (gate_address, mine, other) in [
        ("192.0.2.1", "192.0.2.7", "192.0.2.8"),
        ("2001:db8::1", "2001:db8::7", "2001:db8::8"),
    ] {
        gate.install(&[], &[]);
        assert!(
            client.reaches(mine, gate_address, 22),
            "nothing is protected yet"
        );
        gate.install(&["tcp/22"], &[]);
        assert!(!client.reaches(mine, gate_address, 22));
        let grant = grant(
            1,
            mine.parse::<std::net::IpAddr>()
                .map(ipnet::IpNet::from)
                .unwrap()
                .to_string()
                .as_str(),
            &["tcp/22"],
        );
        gate.open(&grant);
        assert!(client.reaches(mine, gate_address, 22));
        assert!(!client.reaches(other, gate_address, 22));
        gate.close(&grant);
        assert!(!client.reaches(mine, gate_address, 22));
    }
}

pub(crate) fn the_kernel_ends_a_grant_on_time_when_the_driver_is_gone() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    gate.open(&lasting(grant(1, "192.0.2.7/32", &["tcp/22"]), 1_500));
    gate.kill_driver();
    assert!(client.reaches("192.0.2.7", "192.0.2.1", 22));
    let closed = wait_until(
        || !client.reaches("192.0.2.7", "192.0.2.1", 22),
        Duration::from_secs(5),
    )
    .expect("still open");
    assert!(closed < Duration::from_secs(3), "{closed:?}");
    assert_eq!(gate.elements("grants4") + gate.elements("record"), 0);
}

pub(crate) fn a_grant_whose_end_has_passed_is_never_left_without_an_end() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[]);
    let mut past = grant(1, "192.0.2.7/32", &["tcp/22"]);
    past.until = NOW.minus(Duration::from_secs(5));
    gate.open(&past);
    assert!(
        wait_until(
            || gate.elements("grants4") == 0 && gate.elements("record") == 0,
            Duration::from_secs(2)
        )
        .is_some()
    );
}

pub(crate) fn an_established_connection_survives_the_first_install_and_the_end_of_its_grant() {
    let (gate, client) = gate_and_client();
    // made before connection tracking runs in the gate
    let mut early = client.connect("192.0.2.8", "192.0.2.1", 22).unwrap();
    let mut early_v6 = client.connect("2001:db8::8", "2001:db8::1", 22).unwrap();
    assert_eq!(gate.adopt(&["tcp/22"]), 2);
    gate.install(&["tcp/22"], &[]);
    let short = lasting(grant(1, "192.0.2.7/32", &["tcp/22"]), 300);
    gate.open(&short);
    let mut late = client.connect("192.0.2.7", "192.0.2.1", 22).unwrap();
    assert!(wait_until(|| gate.elements("grants4") == 0, Duration::from_secs(3)).is_some());
    gate.install(&["tcp/22"], &[]);
    assert!(
        !client.reaches("192.0.2.7", "192.0.2.1", 22),
        "new ones are closed"
    );
    assert!(echoes(&mut late));
    assert!(echoes(&mut early) && echoes(&mut early_v6));
}

pub(crate) fn networks_and_port_ranges_open_what_they_span_also_where_they_overlap() {
    let (gate, client) = gate_and_client();
    for port in [21, 23] {
        gate.space.serve(port);
    }
    gate.install(&["tcp/20-30"], &[]);
    let reaches = |from: &str, port| {
        client.reaches(
            from,
            if from.contains(':') {
                "2001:db8::1"
            } else {
                "192.0.2.1"
            },
            port,
        )
    };
    // each corner of each lies in another one, in both orders
    let wide = grant(1, "192.0.2.0/24", &["tcp/21-23"]);
    let narrow = grant(2, "192.0.2.0/29", &["tcp/21-22"]);
    let same = lasting(grant(3, "192.0.2.0/24", &["tcp/21-23"]), 1_000);
    let v6 = grant(4, "2001:db8::/64", &["tcp/22"]);
    for grant in [&wide, &narrow, &same, &v6] {
        gate.open(grant);
    }
    assert!(
        reaches("192.0.2.7", 21)
            && reaches("192.0.2.8", 23)
            && reaches("2001:db8::8", 22)
            && !reaches("2001:db8::8", 23)
    );
    assert!(
        wait_until(|| gate.elements("networks4") == 2, Duration::from_secs(3)).is_some(),
        "the third has ended by itself"
    );
    assert!(reaches("192.0.2.8", 23));
    gate.close(&same);
    gate.close(&wide);
    assert!(reaches("192.0.2.7", 22) && !reaches("192.0.2.7", 23) && !reaches("192.0.2.8", 22));
    gate.apply(Change::Extend {
        old: narrow.clone(),
        new: lasting(narrow.clone(), 90_000),
    })
    .unwrap();
    assert!(reaches("192.0.2.7", 22));
    gate.close(&narrow);
    assert!(!reaches("192.0.2.7", 22));
    assert_eq!(gate.list(), [v6]);
}

pub(crate) fn protected_icmp_closes_the_echo_request_alone_and_opens_with_a_grant() {
    let (gate, client) = gate_and_client();
    gate.install(&["icmp", "icmpv6"], &[]);
    assert!(!client.pings("192.0.2.7", "192.0.2.1") && !client.pings("2001:db8::7", "2001:db8::1"));
    assert!(
        client.reaches("2001:db8::7", "2001:db8::1", 22),
        "neighbours are still found"
    );
    gate.open(&grant(1, "192.0.2.7/32", &["icmp"]));
    gate.open(&grant(2, "2001:db8::/126", &["icmpv6"]));
    gate.open(&grant(3, "2001:db8::7/128", &["icmpv6"]));
    assert!(client.pings("192.0.2.7", "192.0.2.1") && client.pings("2001:db8::7", "2001:db8::1"));
    assert!(!client.pings("192.0.2.8", "192.0.2.1") && !client.pings("2001:db8::8", "2001:db8::1"));
}

pub(crate) fn a_knock_draws_no_answer_while_other_closed_ports_do() {
    let (gate, client) = gate_and_client();
    let answered = |port: u16| {
        client.run(move || {
            let socket = UdpSocket::bind("192.0.2.7:0").unwrap();
            socket
                .connect(SocketAddr::from(([192, 0, 2, 1], port)))
                .unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(250)))
                .unwrap();
            socket.send(b"knock").unwrap();
            socket
                .recv(&mut [0; 8])
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        })
    };
    assert!(answered(KNOCK_PORT));
    gate.install(&["tcp/22"], &[]);
    assert!(!answered(KNOCK_PORT) && answered(KNOCK_PORT + 1));
}

pub(crate) fn the_firewall_is_its_own_record_and_nft_shows_who_and_until_when() {
    let gate = Gate::plain();
    gate.install(&["tcp/22"], &[]);
    let mut grants = vec![
        grant(17, "192.0.2.7/32", &["tcp/22", "udp/53", "icmp"]),
        grant(18, "2001:db8::/32", &["tcp/80-90"]),
        grant(
            19,
            "192.0.2.9/32",
            &(1..300)
                .map(|port| format!("tcp/{}", port * 2))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ),
    ];
    grants[1].target = Some("2001:db8:1::1".parse().unwrap());
    for grant in &grants {
        gate.open(grant);
    }
    assert_eq!(gate.list(), grants);
    let shown = gate.nft("list ruleset");
    assert!(
        shown.contains("comment \"17 alice 2026-11-22T10:01:00Z\""),
        "{shown}"
    );
    assert!(shown.contains("192.0.2.7 . tcp . 22 timeout 1m"), "{shown}");
    // one who comes after knows nothing but what the kernel says
    let mut later = gate
        .space
        .run(|| postern::adapters::firewall::nftables::Nftables::open().unwrap());
    let live: Vec<Grant> = later.list().unwrap();
    assert_eq!(live, grants);
    for clock in [
        NOW.plus(Duration::from_secs(172_800)),
        NOW.minus(Duration::from_secs(3600)),
    ] {
        later.tick(clock);
        for grant in later.list().unwrap() {
            let left = grant.until.since(clock).as_secs();
            assert!(
                (10..=60).contains(&left),
                "{left} s by a clock that was set, where the kernel has a minute or less"
            );
        }
    }
    later.tick(NOW);
    later
        .install(&crate::protection(&["tcp/22"]), &live)
        .unwrap();
    assert_eq!(gate.list(), grants);
}

pub(crate) fn what_nft_lists_it_can_load_again() {
    let gate = Gate::plain();
    let mut protection = crate::protection(&["tcp/22", "udp/500-510", "icmp", "icmpv6"]);
    protection.hide_behind = true;
    protection.behind = vec![
        ("10.0.0.0/24".parse().unwrap(), "tcp/22".parse().unwrap()),
        ("fd00::/64".parse().unwrap(), "icmpv6".parse().unwrap()),
    ];
    let forward = |at: &str, host: &str, port| {
        Forward::new(at.parse().unwrap(), host.parse().unwrap(), port, true).unwrap()
    };
    let mut grants = [
        grant(1, "192.0.2.7/32", &["tcp/22", "icmp"]),
        grant(2, "2001:db8::/32", &["tcp/22", "icmpv6"]),
    ];
    grants[0].forwards = vec![
        forward("tcp/2222", "10.0.0.5", Some(22)),
        forward("udp/500-510", "10.0.0.5", None),
    ];
    grants[1].forwards = vec![
        forward("tcp/2222", "fd00::5", Some(22)),
        forward("udp/500-510", "fd00::5", None),
    ];
    gate.driver(|driver| driver.install(&protection, &grants))
        .unwrap();
    let before = gate.nft("-s list ruleset");
    gate.space
        .sh("f=$(mktemp) && nft -s list ruleset > $f && nft flush ruleset && nft -f $f && rm $f");
    assert_eq!(gate.nft("-s list ruleset"), before);
}

pub(crate) fn a_stranger_gets_no_answer_to_a_segment_that_belongs_to_no_connection() {
    let (gate, client) = gate_and_client();
    gate.install(&["tcp/22"], &[]);
    assert!(!client.gets_reset(22), "the port has a listener");
    assert!(
        client.gets_reset(24),
        "an unprotected one says that it is closed"
    );
}
