//! Thousands of grants, in both families, through a whole posternd: each ends on time, and nothing is left.
//!
//! Connections are tried from each granted address shortly before its end and after it. `POSTERN_GRANTS` says how many.
//!
//! ```text
//!   first client: 10.128.0.0/9, fd88::/64 all its own ══ link ══ gate: posternd, TCP 2223
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use postern::model::grant::GrantId;

mod attempts;

use postern_harness::world::checks::{Opened, opened};
use postern_harness::{
    FAMILIES, Family, GateConfig, KNOCK, KnockMaker, Machine, Random, Requirement, World, number,
    say, wait_for, wait_until,
};

/// Durations of the grants, in seconds.
const SHORTEST: u64 = 2;
const LONGEST: u64 = 9;

/// Knocks a second, while they are sent.
const PACE: u32 = 1500;

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let drivers = [("iptables", "iptables-restore"), ("nftables", "nft")];
    let trial = |(driver, program)| {
        let needs = [Requirement::Program("ip"), Requirement::Program(program)];
        let name = format!("many_grants_end_on_time::{driver}");
        machine.trial(name, &needs, move || end_on_time(driver))
    };
    drivers.into_iter().map(trial).collect()
}

fn end_on_time(driver: &'static str) {
    let user = format!(
        "services = [\"tcp/{}\"]\nquota = \"1000000/min\"\nmax_grants = 32768",
        attempts::PORT
    );
    let mut world = World::prepare(&GateConfig::empty(driver).user("alice", &user));
    give_addresses(&world);
    attempts::serve(&world);
    world.start_again();
    let before = world.firewall();
    let all = opened_by_knocks(&world, number("POSTERN_GRANTS", 5_000));
    let tries = attempts::try_all(&world, &all);
    wait_until("the firewall without grants", || world.firewall() == before);
    world.expect_nothing_open();
    world
        .daemon
        .expect_logged(all.len(), &["closed, its time is up"]);
    assert_eq!(world.daemon.logged(&["WARN"]), [""; 0]);
    say(&format!("{driver}: {} grants, {tries:?}", all.len()));
    assert!(
        tries.open >= all.len() / 20 && tries.shut == all.len(),
        "the machine was too slow for the test to mean anything: {tries:?}"
    );
}

/// All addresses of two networks are the first client's.
fn give_addresses(world: &World) {
    world
        .first
        .space
        .ip_batch("route add local 10.128.0.0/9 dev lo\nroute add local fd88::/64 dev lo");
    for (family, network) in FAMILIES.into_iter().zip(["10.128.0.0/9", "fd88::/64"]) {
        world.gate.ip_batch(&format!(
            "route add {network} via {} dev {}",
            world.first.address(family),
            world.first.gate_end()
        ));
    }
}

/// Knocks for so many addresses, each for a time of its own, and waits until each is open.
fn opened_by_knocks(world: &World, count: u32) -> BTreeMap<GrantId, Opened> {
    knock(world, count);
    let all = wait_for("every knock to be let in", || {
        Some(opened(world)).filter(|all| all.len() == count as usize)
    });
    assert_eq!(world.daemon.logged(&["WARN"]), [""; 0]);
    all
}

/// Faster than anyone would, and slower than a flood.
fn knock(world: &World, count: u32) {
    let maker = KnockMaker::new("alice");
    let sockets = FAMILIES.map(|family| {
        let to = SocketAddr::new(family.address(1), KNOCK);
        (
            to,
            world
                .first
                .space
                .run(move || postern_harness::socket_for(to)),
        )
    });
    let start = Instant::now();
    let mut random = Random(7919);
    for n in 0..count {
        let family = FAMILIES[n as usize % 2];
        let allow = match family {
            Family::V4 => IpAddr::from(Ipv4Addr::from_bits(0x0a80_0000 + 1 + n)),
            Family::V6 => IpAddr::from(Ipv6Addr::from_bits(
                (0xfd88_u128 << 112) + 1 + u128::from(n),
            )),
        };
        let seconds = SHORTEST + random.below(LONGEST - SHORTEST + 1);
        let packet = maker.open(allow, attempts::PORT, u32::try_from(seconds).unwrap());
        let (to, socket) = &sockets[n as usize % 2];
        socket.send_to(&packet, to).unwrap();
        thread::sleep(
            (start + n * Duration::from_secs(1) / PACE).saturating_duration_since(Instant::now()),
        );
    }
}
