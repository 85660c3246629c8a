//! The iptables driver against the real kernel: both families, both variants. Needs root.
//!
//! ```text
//!   client: 192.0.2.7, 2001:db8::7 == gate with the driver: 192.0.2.1, 2001:db8::1
//! ```

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Trial;
use postern::adapters::firewall::{Change, FirewallDriver};
use postern::model::grant::Grant;

mod executor;
mod scale;
mod world;

use postern_harness::firewall::iptables_variants;
use postern_harness::{Machine, Requirement, trials_by};
use world::{World, grant, protection};

const ALL: [&str; 6] = [
    "tcp/22",
    "tcp/8000-8010",
    "udp/53",
    "sctp/3868",
    "icmp",
    "icmpv6",
];
const HOUR: Duration = Duration::from_secs(3600);
/// Where the gate listens, and who may come.
const V4: [&str; 2] = ["192.0.2.1:22", "192.0.2.7/32"];
const V6: [&str; 2] = ["[2001:db8::1]:22", "2001:db8::7/128"];

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let programs = ["ip", "iptables-restore", "ip6tables-restore"];
    let mut needs = programs.map(Requirement::Program).to_vec();
    needs.push(Requirement::Root);
    trials_by![
        machine, &needs, iptables_variants(machine);
        removal_restores_the_rules,
        grants_are_read_back_from_the_kernel,
        scale::single_ports_need_no_program,
        scale::ten_thousand_grants_take_one_run_each,
        executor::grant_keeps_its_length_after_a_clock_change,
        executor::grants_of_the_last_run_are_adopted,
        grant_after_a_flush_opens_at_once,
        knocks_get_no_answer,
        ping_needs_its_grant,
    ]
}

fn removal_restores_the_rules(variant: &'static str) {
    let mut world = World::new(variant);
    for family in ["iptables", "ip6tables"] {
        let run = format!("{family}-{variant}");
        world.gate.sh(&format!(
            "{run} -A INPUT -p tcp --dport 25 -j DROP; {run} -N OTHERS; {run} -A FORWARD -j OTHERS"
        ));
    }
    let before = world.rules();
    world.driver.install(&protection(&ALL), &[]).unwrap();
    let once = world.rules();
    assert!(once.contains("-j NFLOG "), "{once}");
    assert_eq!(world.driver.verify(), Ok(true));
    world.driver.install(&protection(&ALL), &[]).unwrap();
    assert_eq!(world.rules(), once);
    assert_eq!(
        once.matches("-A INPUT -j POSTERN\n-A INPUT -p tcp").count(),
        2,
        "at the head, in both families: {once}"
    );
    assert_eq!(world.driver.kernel_expiry(), Ok(()));

    let run = format!("iptables-{variant}");
    world.gate.sh(&format!(
        "{run} -I INPUT 1 -j ACCEPT; {run} -A INPUT -j POSTERN; {run} -F POSTERN"
    ));
    world
        .driver
        .install(&protection(&ALL), &[grant(1, V4[1], &ALL, HOUR)])
        .unwrap();
    world.gate.sh(&format!("{run} -D INPUT -j ACCEPT"));
    world.driver.install(&protection(&ALL), &[]).unwrap();
    assert_eq!(world.rules(), once, "repaired");

    world.driver.remove().unwrap();
    assert_eq!(world.rules(), before);
    world.driver.remove().unwrap();
    assert_eq!(world.rules(), before, "nothing is there to remove");
}

fn grants_are_read_back_from_the_kernel(variant: &'static str) {
    let mut world = World::new(variant);
    world
        .driver
        .install(
            &protection(&ALL),
            &[grant(9, "198.51.100.0/24", &["tcp/22"], HOUR)],
        )
        .unwrap();
    let ninth = world.listed();
    assert_eq!(ninth.len(), 1);
    let (four, six) = (grant(1, V4[1], &ALL, HOUR), grant(2, V6[1], &ALL, HOUR));
    let wide = grant(3, "0.0.0.0/0", &["tcp/1-65535", "udp/65535"], HOUR);
    let behind = Grant {
        target: Some("2001:db8:1::5".parse().unwrap()),
        ..grant(4, "2001:db8::/64", &["tcp/443"], HOUR)
    };
    world.apply(&[four.clone(), six.clone(), wide.clone(), behind.clone()].map(Change::Open));
    let expected = |grants: &[&Grant]| -> BTreeSet<String> {
        let own = grants
            .iter()
            .map(|grant| format!("{grant} until {}", grant.until.as_millis()));
        own.chain(ninth.iter().cloned()).collect()
    };
    assert_eq!(world.listed(), expected(&[&four, &six, &wide, &behind]));

    let longer = Grant {
        until: four.until.plus(HOUR),
        ..four.clone()
    };
    let runs = world.runs();
    world.apply(&[
        Change::Extend {
            old: four,
            new: longer.clone(),
        },
        Change::Close(wide),
        Change::Close(behind.clone()),
    ]);
    assert_eq!(
        world.runs() - runs,
        2,
        "the kernel's rules are found again by their text"
    );
    assert_eq!(world.listed(), expected(&[&longer, &six]));

    world
        .gate
        .sh(&format!("iptables-{variant} -F POSTERN-GRANTS"));
    world.apply(&[Change::Close(longer), Change::Close(behind)]);
    assert_eq!(
        world.listed(),
        expected(&[&six]),
        "a deleted rule is no obstacle, and the ninth is back"
    );

    world.gate.sh(&format!(
        "ip6tables-{variant} -A POSTERN-GRANTS -s 2001:db8::/32 -j ACCEPT"
    ));
    assert_eq!(
        world.listed(),
        expected(&[&six]),
        "a rule of others is no grant"
    );
    assert_eq!(world.driver.verify(), Ok(false), "so it is removed");
}

fn grant_after_a_flush_opens_at_once(variant: &'static str) {
    let mut world = World::with_live_table(variant);
    let _listener = world.listen(V4[0]);
    world.driver.install(&protection(&["tcp/22"]), &[]).unwrap();
    let other = grant(1, "192.0.2.9/32", &["tcp/22"], HOUR);
    world.apply(&[Change::Open(other.clone())]);
    world.gate.sh("nft delete table inet postern_live");
    let own = grant(2, V4[1], &["tcp/22"], HOUR);
    world.apply(&[Change::Open(own)]);
    assert!(world.connects(V4[0]));
    assert_eq!(world.listed().len(), 2, "the other is back, too");
    world.gate.sh("nft delete table inet postern_live");
    world.apply(&[Change::Close(other)]);
    assert!(world.connects(V4[0]));
    assert_eq!(world.listed().len(), 1);
}

fn knocks_get_no_answer(variant: &'static str) {
    let mut world = World::new(variant);
    let is_refused = |world: &World, port: u16| {
        world.peer.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(("192.0.2.1", port)).unwrap();
            let timeout = Some(Duration::from_millis(500));
            socket.set_read_timeout(timeout).unwrap();
            socket.send(b"knock").unwrap();
            socket.recv(&mut [0; 9]).unwrap_err().kind() == ErrorKind::ConnectionRefused
        })
    };
    assert!(is_refused(&world, 62201), "without protection");
    world.driver.install(&protection(&[]), &[]).unwrap();
    assert!(!is_refused(&world, 62201));
    assert!(is_refused(&world, 62202), "another port");
}

fn ping_needs_its_grant(variant: &'static str) {
    let mut world = World::new(variant);
    world
        .driver
        .install(&protection(&["icmp", "icmpv6"]), &[])
        .unwrap();
    for (host, own, allow, service) in [
        ("192.0.2.1", "192.0.2.7", V4[1], "icmp"),
        ("2001:db8::1", "2001:db8::7", V6[1], "icmpv6"),
    ] {
        let pings = |world: &World| world.peer.pings(own, host);
        assert!(!pings(&world), "{host}");
        let open = grant(1, allow, &[service], HOUR);
        world.apply(&[Change::Open(open.clone())]);
        assert!(pings(&world), "{host}");
        world.apply(&[Change::Close(open)]);
        assert!(!pings(&world), "{host}");
    }
}
