//! SIGHUP: the new config is used as a whole or not at all, no knock is lost, and grants that are still allowed stay.

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use postern_harness::{FAMILIES, Family, GateConfig, World, wait_for};

const KNOCKS: u8 = 100;

pub(super) fn plan(backend: &'static str) -> GateConfig {
    let quota = "quota = \"1000/min\"\nmax_grants = 1000";
    GateConfig::empty(backend)
        .member("alice", quota)
        .member("bob", quota)
}

/// Tells posternd to reload and waits until the new engine serves.
fn reload(world: &World) {
    let count = world.daemon.logged(&["the engine serves"]).len();
    world.daemon.signal(Signal::HUP);
    world
        .daemon
        .wait_for_lines(count + 1, &["the engine serves"]);
}

fn change(world: &World, file: &str, changes: &[(&str, &str)]) {
    let path = world.folder().join(file);
    let mut text = fs::read_to_string(&path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    fs::write(&path, text).unwrap();
}

pub(crate) fn reload_loses_no_knock(backend: &'static str) {
    lose_none(&plan(backend));
}

pub(crate) fn reload_with_udp_socket_loses_no_knock(backend: &'static str) {
    lose_none(&plan(backend).gate("capture = \"udp\""));
}

/// Each knock lets another address in, so that each shows.
pub(crate) fn lose_none(plan: &GateConfig) {
    let world = World::start(plan);
    let packet = |n: u8| {
        let family = FAMILIES[usize::from(n % 2)];
        let allow = if family == Family::V4 {
            format!("10.78.0.{n}")
        } else {
            format!("fd78::{n}")
        };
        (
            family,
            world
                .first
                .packet("alice", family, &["--allow", &allow, "--for", "10m"]),
        )
    };
    let packets: Vec<_> = (1..=KNOCKS).map(packet).collect();
    for (n, (family, packet)) in packets.iter().enumerate() {
        if n % 30 == 10 {
            world.daemon.signal(Signal::HUP);
        }
        world.first.send(*family, packet);
        thread::sleep(Duration::from_millis(40));
    }
    world.wait_for_grants(KNOCKS.into());
    assert!(
        world.daemon.logged(&["the engine serves"]).len() >= 3,
        "there were too few reloads"
    );
    // Each was opened once.
    world.daemon.expect_logged(KNOCKS.into(), &["open: grant"]);
    world.daemon.expect_logged(0, &["WARN"]);
    world.daemon.expect_logged(0, &["ERROR"]);
}

pub(crate) fn broken_config_changes_nothing(backend: &'static str) {
    let world = World::start(&plan(backend));
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    let grants = world.wait_for_grants(1);
    let (engine, firewall) = (world.daemon.engine(), world.firewall());
    let good = fs::read_to_string(world.folder().join("posternd.toml")).unwrap();
    let broken = [
        (
            good.replace("[firewall]", "window = \"1s\"\n[firewall]")
                .replace("name = \"bob\"", "name = \"b o b\""),
            2,
        ),
        (good.replace("[gate]", "[gate"), 1),
        (String::new(), 1),
        (good.replace("/state\"", "/other\""), 1),
        (good.replace("/control.sock\"", "/other.sock\""), 1),
        (
            good.replace(&format!("backend = \"{backend}\""), "backend = \"auto\""),
            1,
        ),
    ];
    let mut said = 0;
    for (text, lines) in broken {
        fs::write(world.folder().join("posternd.toml"), &text).unwrap();
        world.daemon.signal(Signal::HUP);
        said += lines;
        let lines = world.daemon.wait_for_lines(
            said,
            &[
                "ERROR",
                "the new config is not used, the old one stays in force: ",
            ],
        );
        assert_eq!(lines.len(), said, "{lines:#?}");
    }
    fs::write(world.folder().join("posternd.toml"), &good).unwrap();
    world.first.knock("bob", Family::V6, &["--for", "10m"]);
    world.first.expect_both_let_in();
    assert_eq!(world.wait_for_grants(2)[0], grants[0]);
    assert_eq!(world.daemon.engine(), engine, "the same engine serves");
    assert_ne!(world.firewall(), firewall, "the second grant");
    assert!(!world.folder().join("other").exists());
    reload(&world);
    assert_eq!(world.daemon.grants().len(), 2);
}

pub(crate) fn reload_applies_the_new_config(backend: &'static str) {
    let world = World::start(&plan(backend));
    let old = world.first.packet("alice", Family::V4, &[]);
    let replayed = world.first.packet("bob", Family::V4, &["--for", "10m"]);
    world.first.send(Family::V4, &replayed);
    world.wait_for_grants(1);
    world.daemon.asked(&["close", "--all"]);
    world.rewrite(&plan(backend).member("carol", "").gate("window = \"5s\""));
    reload(&world);
    world.second.open("carol", Family::V6, &["--for", "10m"]);
    thread::sleep(Duration::from_millis(5500));
    world.first.send(Family::V4, &old);
    let status = world.daemon.wait_for_count("drop too-old", 1);
    assert_eq!(status.users, 3);
    world.first.send(Family::V4, &replayed);
    wait_for("a verdict on the replay", || {
        let status = world.daemon.status();
        (status.count("drop too-old") + status.count("drop replay") > 1).then_some(())
    });
    let renamed = "name = \"other.test\"\nport = [62201, 62202]";
    change(
        &world,
        "posternd.toml",
        &[("name = \"gate.test\"", renamed)],
    );
    reload(&world);
    world.first.knock("alice", Family::V4, &[]);
    world.daemon.wait_for_count("drop unknown-hint", 1);
    world.first.expect_shut_out(Family::V4);
    let renamed = [("gate.test", "other.test"), ("62201", "62202")];
    change(&world, "alice.toml", &renamed);
    world.first.open("alice", Family::V4, &[]);
    world.second.expect_let_in(Family::V6);
}
