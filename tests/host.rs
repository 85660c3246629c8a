//! `posternd check` with real rule sets in a real kernel. Each finding is tried with a real gate and a real knock, and its
//! commands are run and tried again.
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

#[path = "host/world.rs"]
mod world;

use postern_harness::echoes;
use world::{Found, World, ids};

const PROTECT: &str = "protect = \"services\"";
const OPEN: &str = "protect = \"none\"";
const V4: &str = "192.0.2.1:2222";
const V6: &str = "[2001:db8::1]:2222";
const BACKENDS: [&str; 2] = ["iptables", "nftables"];

#[test]
fn host_without_rules_has_no_warning() {
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
fn later_drop_blocks_until_cured() {
    for backend in BACKENDS {
        let mut world = World::new(backend, PROTECT, "");
        world.load("drop.nft");
        assert_eq!(ids(&world.check()), ["later-drop", "not-installed"]);
        world.start();
        let found = world.check();
        assert_eq!(ids(&found), ["later-drop"], "{found:?}");
        assert!(!world.knock(), "{backend}: a grant opens it");
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
fn ufw_blocks_only_nftables_grants() {
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
fn legacy_drop_blocks_until_cured() {
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
fn firewalld_blocks_until_cured() {
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
    // firewall-cmd would do this.
    world.gate_sh("nft add rule inet firewalld filter_IN_public_allow tcp dport 2222 accept");
    assert_eq!(world.check(), []);
    assert!(world.knock());
}

#[test]
fn unprotected_service_is_reachable_per_family() {
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
fn accept_before_jump_is_found_and_cured() {
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
fn session_is_cut_without_established_rule() {
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
        assert!(echoes(&mut session), "while the grant lasts");
        world.close();
        assert_eq!(echoes(&mut session), cured);
    }
}

#[test]
fn docker_port_is_open_until_cured() {
    let mut world = World::new("iptables", PROTECT, "");
    world.load("docker.save");
    world.add_container();
    world.start();
    let found = world.check();
    assert_eq!(ids(&found), ["docker-published"], "{found:?}");
    assert!(world.connects("192.0.2.1:8080"), "Postern closes it");
    world.cure(&found[0]);
    assert_eq!(world.check(), []);
    assert!(!world.connects("192.0.2.1:8080"));
}

#[test]
fn missing_ip6tables_leaves_ipv6_open() {
    let mut world = World::new("iptables", PROTECT, "");
    world.hide_ip6tables();
    let found = world.check();
    assert_eq!(ids(&found), ["ipv6-open", "not-installed"], "{found:?}");
    world.start();
    assert_eq!(ids(&world.check()), ["ipv6-open"]);
    assert!(!world.connects(V4) && world.connects(V6));
}

#[test]
fn udp_capture_needs_accepted_knock_port() {
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
    assert_eq!(world.admitted(), 0, "the knock arrives");
    world.cure(of("knock-closed"));
    assert!(world.knock());
    assert_eq!(world.check(), []);
}

#[test]
fn left_over_rules_go_at_next_start() {
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
fn unreadable_rules_are_reported() {
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
