//! Thousands of grants, in both families, through a whole posternd: each ends on time, and nothing is left.
//!
//! That a grant has ended is not taken from posternd: the kernel's own listing says when it will stop letting packets through, and
//! connections are tried from each granted address shortly before its time and after it. `POSTERN_GRANTS` says how many.
//!
//! ```text
//!   first client: 10.128.0.0/9, fd88::/64 all its own ══ cable ══ gate: posternd, TCP 2223
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use postern::model::grant::GrantId;
use postern::model::time::Timestamp;

mod attempts;
mod listing;

use postern_harness::world::replaced_programs;
use postern_harness::{
    FAMILIES, Family, GateConfig, KNOCK, KnockMaker, Random, World, now, say, wait_for,
};
use postern_harness::{Machine, Requirement};

/// How late a grant may end.
const LATE: Duration = Duration::from_secs(1);

/// Shortest and longest life, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Lives(pub(crate) u64, pub(crate) u64);

/// Of those that end while they are watched.
const MIXED: Lives = Lives(2, 9);

/// Knocks a second, while they are sent.
const PACE: u32 = 1500;

/// Counts the runs, with the seconds since boot.
const COUNTING: &str = r#"#!/bin/sh
read -r up rest </proc/uptime
echo "$up ${0##*/}" >>FOLDER/runs
exec REAL "${0##*/}" "$@"
"#;

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    use Requirement::{Program, Root};
    let iptables = [
        Root,
        Program("ip"),
        Program("mount"),
        Program("iptables-restore"),
        Program("ip6tables-restore"),
    ];
    let nftables = [Program("ip"), Program("nft")];
    let can_count = machine.meets(&iptables);
    let iptables_test = || ends_on_time("iptables", true);
    let nftables_test = move || ends_on_time("nftables", can_count);
    vec![
        machine.trial(
            "many_grants_end_on_time::iptables",
            &iptables,
            iptables_test,
        ),
        machine.trial(
            "many_grants_end_on_time::nftables",
            &nftables,
            nftables_test,
        ),
    ]
}

/// What posternd said of a grant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) allow: IpAddr,
    pub(crate) until: Timestamp,
}

pub(crate) type All = BTreeMap<GrantId, Told>;

pub(crate) fn count() -> u32 {
    std::env::var("POSTERN_GRANTS").map_or(5_000, |text| {
        text.parse().expect("POSTERN_GRANTS is a number")
    })
}

/// A gate that is not yet started, whose alice may have a grant for each of the first client's addresses.
pub(crate) fn prepared(backend: &'static str) -> World {
    let user = format!(
        "services = [\"tcp/{}\"]\nquota = \"1000000/min\"",
        attempts::PORT
    );
    let world = World::prepare(&GateConfig::empty(backend).user("alice", &user));
    give_addresses(&world);
    attempts::serve(&world);
    world
}

/// With the runs of iptables counted, where it is there: native nftables must run none of it.
fn ends_on_time(backend: &'static str, is_counted: bool) {
    let mut world = prepared(backend);
    if is_counted {
        replaced_programs::replace_iptables(&world, COUNTING);
    }
    world.start_again();
    let before = world.firewall();
    assert_eq!(world.rules(), [""; 0]);
    let start = Instant::now();
    let all = opened_by_knocks(&world, count(), MIXED);
    let opening = start.elapsed();
    let (mut looks, from) = (listing::Looks::default(), uptime());
    let last = all.values().map(|told| told.until).max().unwrap();
    let tries = thread::scope(|scope| {
        let attempts = scope.spawn(|| attempts::try_all(&world, &all));
        while now() < last.plus(LATE) {
            looks.look(&world, backend, &all);
            thread::sleep(Duration::from_millis(100));
        }
        attempts.join().expect("a door")
    });
    let to = uptime();
    wait_for("the firewall as it was", || {
        (world.firewall() == before).then_some(())
    });
    world.expect_nothing_open();
    assert_eq!(
        world.daemon.logged(&["closed, its time is up"]).len(),
        all.len()
    );
    assert_eq!(world.daemon.logged(&["WARN"]), [""; 0]);
    assert!(
        tries.open >= all.len() / 20 && tries.shut == all.len(),
        "the machine was too slow for the test to mean anything: {tries:?}"
    );
    let runs = if is_counted {
        expect_few_runs(&world, backend, from, to)
    } else {
        "runs of a program not counted".to_owned()
    };
    say(&format!(
        "{backend}: {} grants of {} to {} s, opened in {:.1} s; let in shortly before the end: {}, shut out a second after it: {}; {looks}; {runs}",
        all.len(),
        MIXED.0,
        MIXED.1,
        opening.as_secs_f64(),
        tries.open,
        tries.shut,
    ));
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
pub(crate) fn opened_by_knocks(world: &World, count: u32, lives: Lives) -> All {
    knock(world, count, lives);
    let all = wait_for("every knock to be let in", || {
        Some(opened(world)).filter(|all| all.len() == count as usize)
    });
    assert_eq!(world.daemon.logged(&["WARN"]), [""; 0]);
    all
}

/// Faster than anyone would, and slower than a flood.
fn knock(world: &World, count: u32, Lives(shortest, longest): Lives) {
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
    let mut dice = Random(7919);
    for n in 0..count {
        let family = FAMILIES[n as usize % 2];
        let allow = match family {
            Family::V4 => IpAddr::from(Ipv4Addr::from_bits(0x0a80_0000 + 1 + n)),
            Family::V6 => IpAddr::from(Ipv6Addr::from_bits(
                (0xfd88_u128 << 112) + 1 + u128::from(n),
            )),
        };
        let seconds = shortest + dice.below(longest - shortest + 1);
        let packet = maker.open(allow, attempts::PORT, u32::try_from(seconds).unwrap());
        let (to, socket) = &sockets[n as usize % 2];
        socket.send_to(&packet, to).unwrap();
        thread::sleep(
            (start + n * Duration::from_secs(1) / PACE).saturating_duration_since(Instant::now()),
        );
    }
}

/// Every grant that posternd has logged as open.
fn opened(world: &World) -> All {
    let told = |line: String| {
        let (_, rest) = line.split_once("open: grant ")?;
        let (id, rest) = rest.split_once(": alice, ")?;
        let (allow, rest) = rest.split_once('/')?;
        let until: jiff::Timestamp = rest
            .split_once(" until=")?
            .1
            .split(' ')
            .next()?
            .parse()
            .ok()?;
        let until = Timestamp::from_millis(u64::try_from(until.as_millisecond()).ok()?);
        Some((
            GrantId(id.parse().ok()?),
            Told {
                allow: allow.parse().ok()?,
                until,
            },
        ))
    };
    world
        .daemon
        .logged(&["INFO", "open: grant "])
        .into_iter()
        .filter_map(told)
        .collect()
}

/// No more than two runs of a program a second from one moment to another, whatever they did; some with iptables, none with nftables.
fn expect_few_runs(world: &World, backend: &str, from: f64, to: f64) -> String {
    // Listing the firewall, which the test did by the same programs before, has made it.
    let runs = std::fs::read_to_string(world.folder().join("runs")).unwrap();
    let times = runs
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse::<f64>().ok());
    let count = u32::try_from(times.filter(|time| (from..to).contains(time)).count()).unwrap();
    let most = if backend == "nftables" {
        0.0
    } else {
        2.0 * (to - from).ceil()
    };
    assert!(
        f64::from(count) <= most && (count > 0) == (backend == "iptables"),
        "{count} runs in {:.1} s:\n{runs}",
        to - from
    );
    format!("{count} runs of a program in {:.1} s", to - from)
}

fn uptime() -> f64 {
    std::fs::read_to_string("/proc/uptime")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}
