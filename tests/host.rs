//! `posternd check` against real rule sets in a real kernel, and whether what it claims is true: each situation is tried out with a real
//! gate and a real knock, and where a command is printed as the cure, it is run and tried again.
//!
//! ```text
//!   peer ── 192.0.2.2, 2001:db8::2 │ 192.0.2.1, 2001:db8::1 ── gate: posternd, a service on tcp/2222
//! ```
#![cfg(feature = "daemon")]
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::io::{Read, Write};
use std::time::Duration;

#[path = "host/world.rs"]
mod world;

use world::{Found, World, ids};

const PROTECT: &str = "protect = \"services\"";
const OPEN: &str = "protect = \"none\"";
const V4: &str = "192.0.2.1:2222";
const V6: &str = "[2001:db8::1]:2222";
const BACKENDS: [&str; 2] = ["iptables", "nftables"];

#[test]
fn nothing_is_said_of_a_host_without_rules_before_and_while_the_daemon_runs() {
    for backend in BACKENDS {
        let mut world = World::new(backend, PROTECT, "");
        let before = world.check();
        assert_eq!(ids(&before), ["not-installed"], "{before:?}");
        assert_eq!(before[0].level, "note");
        world.start();
        assert_eq!(world.check(), [], "{backend}");
        assert!(!world.connects(V4) && world.knock(), "{backend}");
    }
}

#[test]
fn a_later_chain_keeps_a_grant_from_opening_until_the_printed_rule_stands_in_it() {
    for backend in BACKENDS {
        let mut world = World::new(backend, PROTECT, "");
        world.load("drop.nft");
        assert_eq!(ids(&world.check()), ["later-drop", "not-installed"]);
        world.start();
        let found = world.check();
        assert_eq!(ids(&found), ["later-drop"], "{found:?}");
        assert!(
            !world.knock(),
            "{backend}: the claim is wrong: a grant opens it"
        );
        world.close();
        world.cure(&found[0]);
        assert_eq!(world.check(), [], "{backend}");
        assert!(
            !world.connects(V4) && !world.connects(V6),
            "{backend}: the cure lets strangers in"
        );
        assert!(world.knock(), "{backend}: the cure does not work");
    }
}

#[test]
fn behind_ufw_a_grant_opens_with_iptables_and_not_with_nftables() {
    for (backend, opens) in [("iptables", true), ("nftables", false)] {
        let mut world = World::new(backend, PROTECT, "");
        world.load("ufw.save");
        world.start();
        let found = world.check();
        assert_eq!(
            ids(&found),
            if opens { vec![] } else { vec!["later-drop"; 2] },
            "{backend}: {found:?}"
        );
        assert!(
            found.iter().all(|one| one.cure == ["ufw allow 2222/tcp"]),
            "{found:?}"
        );
        assert_eq!(world.knock(), opens, "{backend}");
    }
}

#[test]
fn a_rule_of_the_legacy_variant_drops_what_a_grant_opens_until_the_printed_rule_stands_before_it() {
    for backend in BACKENDS {
        let mut world = World::new(backend, PROTECT, "");
        if !world.has_legacy_tables() {
            return;
        }
        world.gate_sh("iptables-legacy -A INPUT -p tcp --dport 2222 -j DROP");
        world.start();
        let found = world.check();
        assert_eq!(ids(&found), ["later-drop"], "{found:?}");
        assert_eq!(
            found[0].cure,
            ["iptables-legacy -I INPUT -p tcp --dport 2222 -j ACCEPT"]
        );
        assert!(!world.knock(), "{backend}");
        world.close();
        world.cure(&found[0]);
        assert_eq!(world.check(), []);
        assert!(!world.connects(V4) && world.knock(), "{backend}");
    }
}

#[test]
fn firewalld_keeps_a_grant_from_opening() {
    let mut world = World::new("iptables", PROTECT, "");
    world.load("firewalld.nft");
    world.start();
    let found = world.check();
    assert_eq!(ids(&found), ["later-drop"], "{found:?}");
    assert_eq!(
        found[0].cure,
        [
            "firewall-cmd --permanent --add-port=2222/tcp",
            "firewall-cmd --reload"
        ]
    );
    assert!(!world.knock());
    // What firewall-cmd does with that.
    world.gate_sh("nft add rule inet firewalld filter_IN_public_allow tcp dport 2222 accept");
    assert_eq!(world.check(), []);
    assert!(world.knock());
}

#[test]
fn without_protection_a_service_is_reachable_and_closing_one_family_is_not_enough() {
    let world = World::new("iptables", OPEN, "");
    let found = world.check();
    assert_eq!(ids(&found), ["reachable"], "{found:?}");
    assert!(world.connects(V4) && world.connects(V6));
    world.gate_sh("iptables -A INPUT -p tcp --dport 2222 -j DROP");
    let found = world.check();
    assert_eq!(ids(&found), ["ipv6-open", "no-established"], "{found:?}");
    assert!(!world.connects(V4) && world.connects(V6));
    world.gate_sh("ip6tables -A INPUT -p tcp --dport 2222 -j DROP");
    assert!(!ids(&world.check()).contains(&"ipv6-open"));
    assert!(!world.connects(V6));
}

#[test]
fn a_rule_before_the_jump_lets_strangers_in_until_the_jump_is_put_first() {
    let mut world = World::new("iptables", PROTECT, "");
    world.start();
    world.gate_sh("iptables -I INPUT 1 -p tcp --dport 2222 -j ACCEPT");
    let found = world.check();
    assert_eq!(ids(&found), ["reachable"], "{found:?}");
    assert!(world.connects(V4));
    world.cure(&found[0]);
    assert_eq!(world.check(), []);
    assert!(!world.connects(V4) && world.knock());
}

#[test]
fn a_session_ends_with_its_grant_where_the_host_has_no_rule_for_it() {
    let policy = "iptables -P INPUT DROP; ip6tables -P INPUT DROP";
    for cured in [false, true] {
        let mut world = World::new("iptables", OPEN, "");
        world.gate_sh(policy);
        let found = world.check();
        assert_eq!(
            ids(&found),
            ["no-established", "no-established"],
            "{found:?}"
        );
        if cured {
            found.iter().for_each(|one| world.cure(one));
            assert_eq!(world.check(), []);
        }
        world.start();
        assert!(world.knock());
        let mut session = world.connect(V4).unwrap();
        let mut answers = move || {
            session
                .set_read_timeout(Some(Duration::from_secs(1)))
                .unwrap();
            session.write_all(b"x").unwrap();
            session.read_exact(&mut [0]).is_ok()
        };
        assert!(answers(), "while the grant lasts");
        world.close();
        assert_eq!(answers(), cured);
    }
}

#[test]
fn a_port_that_docker_publishes_stays_open_until_the_printed_rule_closes_it() {
    let mut world = World::new("iptables", PROTECT, "");
    world.load("docker.save");
    world.add_container();
    world.start();
    let found = world.check();
    assert_eq!(ids(&found), ["docker-published"], "{found:?}");
    assert!(
        world.connects("192.0.2.1:8080"),
        "the claim is wrong: Postern closes it"
    );
    world.cure(&found[0]);
    assert_eq!(world.check(), []);
    assert!(!world.connects("192.0.2.1:8080"));
}

#[test]
fn without_ip6tables_the_service_is_open_over_ipv6() {
    let mut world = World::new("iptables", PROTECT, "");
    world.hide_ip6tables();
    let found = world.check();
    assert_eq!(ids(&found), ["ipv6-open", "not-installed"], "{found:?}");
    world.start();
    assert_eq!(ids(&world.check()), ["ipv6-open"]);
    assert!(!world.connects(V4) && world.connects(V6));
}

#[test]
fn a_bound_socket_hears_no_knock_until_the_printed_rule_lets_it_in() {
    let mut world = World::new("nftables", PROTECT, "capture = \"udp\"");
    world.load("drop.nft");
    let found = world.check();
    assert_eq!(
        ids(&found),
        ["knock-closed", "later-drop", "not-installed"],
        "{found:?}"
    );
    let of = |id: &str| found.iter().find(|one| one.id == id).unwrap();
    world.cure(of("later-drop"));
    world.start();
    assert!(!world.knock());
    assert_eq!(world.admitted(), 0, "the claim is wrong: the knock arrives");
    world.cure(of("knock-closed"));
    assert!(world.knock());
    assert_eq!(world.check(), []);
}

#[test]
fn rules_of_another_backend_are_found_and_the_next_start_takes_them_out() {
    let mut world = World::new("nftables", PROTECT, "");
    world.start();
    world.stop();
    let mut world = world.with_backend("iptables");
    let found = world.check();
    assert!(ids(&found).contains(&"left-over"), "{found:?}");
    world.start();
    assert_eq!(world.check(), []);
    assert!(world.knock());
}

#[test]
fn what_can_not_be_looked_at_is_said() {
    let world = World::new("iptables", PROTECT, "");
    let found: Vec<Found> = world.check_without_nft();
    assert_eq!(ids(&found), ["not-installed", "not-looked"], "{found:?}");
    assert!(
        found.iter().any(|one| one
            .what
            .contains("could not look at nft rules: the program nft is not installed")),
        "{found:?}"
    );
}
