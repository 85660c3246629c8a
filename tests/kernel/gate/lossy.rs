//! Networks that lose packets, or carry only small ones, and gates of which one address is dead: the client knocks until the
//! port is open.
//!
//! The first client of the harness loses packets with nftables, in both directions.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use postern_harness::world::CLIENT_INTERFACE;
use postern_harness::{Family, GateConfig, SERVICE, World, wait_until};

/// The client's loss in percent, for packets that the rules match.
fn lose(world: &World, percent: u8, matches: &str) {
    let chains = ["input", "output"].map(|hook| {
        let hook = format!("{hook} {{ type filter hook {hook} priority 0;");
        format!("chain {hook} {matches} numgen random mod 100 < {percent} drop; }};")
    });
    world
        .first
        .space
        .sh(&format!("nft 'table inet loss {{ {} }}'", chains.join(" ")));
}

/// In each try a lost packet is likely. No try may fail: with ten knocks one in 100,000 does, at 60 % loss one in 100.
pub(crate) fn commands_open_despite_loss(backend: &'static str) {
    let plan =
        GateConfig::empty(backend).member("alice", "quota = \"1000/min\"\nduration = \"1s\"");
    let world = World::start(&plan);
    let service = world.service.try_clone().unwrap();
    std::thread::spawn(move || service.incoming().for_each(drop));
    lose(&world, 30, "");
    let (gate, port) = (Family::V4.address(1).to_string(), SERVICE.to_string());
    for _ in 0..4 {
        for words in [
            &["knock", "v4", "--wait=10s"][..],
            &["connect", "v4", &gate, &port, "--wait=10s"],
            &["run", "v4", "--wait=10s", "--", "true"],
        ] {
            let ran = world.first.postern("alice", words);
            assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.err);
            world.wait_until_closed();
        }
    }
}

pub(crate) fn most_knocks_open_when_most_are_lost(backend: &'static str) {
    let plan =
        GateConfig::empty(backend).member("alice", "quota = \"1000/min\"\nduration = \"1s\"");
    let world = World::start(&plan);
    lose(&world, 60, "meta l4proto udp");
    let opened = (0..10).filter(|_| {
        let ran = world.first.postern("alice", &["knock", "v4", "--wait=10s"]);
        world.wait_until_closed();
        ran.code == Some(0)
    });
    // A single knock would open 4 of 10. More than 2 failures of 10 come once in a million times.
    assert!(opened.count() >= 8);
}

/// The port stays shut because nothing listens there, so the client knocks until the end.
pub(crate) fn repeats_extend_one_grant_and_are_charged(backend: &'static str) {
    let rights = "services = [\"tcp/2223\"]\nquota = \"30/day\"";
    let world = World::start(&GateConfig::empty(backend).user("alice", rights));
    let [v6, v4] = [Family::V6, Family::V4].map(|family| family.address(1).to_string());
    let words = ["knock", "v4", "--address", &v6, "--address", &v4];
    let words = [&words[..], &["-s", "tcp/2223", "--wait=2500ms"]].concat();
    let counts = |more: &[&str]| {
        let ran = world.first.postern("alice", &[&words, more].concat());
        assert_eq!(ran.code, Some(3), "{}", ran.err);
        let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let counts = [0, 1].map(|knock| told["knocks"][knock]["count"].as_u64().unwrap());
        let sent: u64 = counts.iter().sum();
        let end = format!("sent {sent} knocks to [{v6}]:62201 and {v4}:62201;");
        assert!(ran.err.contains(&end), "{}", ran.err);
        counts
    };
    let sent: u64 = counts(&["--json"]).iter().sum();
    // Five rounds, fewer if the machine is so busy that it misses the time of one.
    assert!((6..=10).contains(&sent), "{sent}");
    wait_until("the quota of these knocks to be used", || {
        let status = world.at_gate(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["quotas"][0]["left"] == 30 - sent
    });
    let grants = world.wait_for_grants(2);
    assert!(grants[0].allow.addr().is_ipv4() != grants[1].allow.addr().is_ipv4());
    assert_eq!(counts(&["--once", "--json"]), [1, 1]);
}

/// An address to which there is a way, and no host.
pub(super) fn add_dead_host(world: &World) -> IpAddr {
    let dead = Family::V4.address(9);
    let way = format!("dev {CLIENT_INTERFACE}");
    world.first.space.ip_batch(&format!(
        "route add {dead} {way}\nneigh replace {dead} lladdr 02:00:00:00:00:09 {way} nud permanent"
    ));
    dead
}

/// Both addresses are knocked at, and the live one need not wait until the dead one is given up.
pub(crate) fn dead_address_costs_little(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let (dead, live) = (add_dead_host(&world), Family::V4.address(1));
    let [dead, live] = [dead, live].map(|address| address.to_string());
    let start = Instant::now();
    let words = [
        "knock",
        "v4",
        "--address",
        &dead,
        "--address",
        &live,
        "--wait=8s",
    ];
    let ran = world.first.postern("alice", &words);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    let third = ran.out.lines().nth(2).unwrap();
    assert!(
        third.starts_with(&format!("{live}:{SERVICE} is open after ")),
        "{third}"
    );
    assert!(start.elapsed() < Duration::from_millis(2500));
}

/// The link drops long packets in silence, and the client's end of it knows nothing of that.
pub(crate) fn knocks_pass_a_small_mtu(backend: &'static str) {
    let plan = GateConfig::empty(backend).member("alice", "quota = \"1000/min\"");
    let world = World::start(&plan);
    world
        .gate
        .ip(&format!("link set {} mtu 400", world.first.gate_end()));
    for _ in 0..30 {
        world.first.knock("alice", Family::V4, &[]);
    }
    let status = world.daemon.wait_for_admitted(30);
    assert_eq!(status.admitted, 30);
}
