//! The time from an order to an element in the kernel, with one live grant and with ten thousand.
//!
//! It runs in its own network namespace, needs root, and prints medians.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing
)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use postern::adapters::firewall::nftables::Nftables;
use postern::adapters::firewall::{Change, FirewallDriver};
use postern::model::grant::{Grant, GrantId};
use postern::model::settings::Protection;
use postern::model::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_795_341_600_000);
const ROUNDS: u64 = 4_000;

fn main() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let mut medians = Vec::new();
    for live in [1, 10_000] {
        let (open, extend, close) = measure(live);
        println!(
            "{live:>6} live grants: open {:>6.1} µs, extend {:>6.1} µs, close {:>6.1} µs (medians)",
            micros(open),
            micros(extend),
            micros(close)
        );
        medians.push(micros(open));
    }
    println!(
        "opening with 10,000 live grants takes {:.2} times as long as with one",
        medians[1] / medians[0]
    );
}

fn measure(live: u64) -> (Duration, Duration, Duration) {
    let mut driver = Nftables::open().unwrap();
    driver.tick(NOW);
    let protection = Protection {
        services: vec!["tcp/22".parse().unwrap()],
        knock_ports: vec![62201],
        silence_knocks: true,
        ..Protection::default()
    };
    driver
        .install(&protection, &(1..=live).map(grant).collect::<Vec<_>>())
        .unwrap();
    let (mut opens, mut extends, mut closes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let old = grant(live + 1 + round);
        let new = Grant {
            until: old.until.plus(Duration::from_secs(30)),
            ..old.clone()
        };
        opens.push(timed(&mut driver, Change::Open(old.clone())));
        extends.push(timed(
            &mut driver,
            Change::Extend {
                old,
                new: new.clone(),
            },
        ));
        closes.push(timed(&mut driver, Change::Close(new)));
    }
    let start = Instant::now();
    assert_eq!(driver.list().unwrap().len() as u64, live);
    let listing = start.elapsed();
    let verifies = [(); 2].map(|()| {
        let start = Instant::now();
        assert_eq!(driver.verify(), Ok(true));
        start.elapsed()
    });
    println!(
        "{live:>6} live grants: listing all takes {:.1} ms; verify after a foreign change {:.1} ms, else {:.1} µs",
        micros(listing) / 1e3,
        micros(verifies[0]) / 1e3,
        micros(verifies[1])
    );
    driver.remove().unwrap();
    (median(opens), median(extends), median(closes))
}

fn grant(id: u64) -> Grant {
    let address = Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(id).unwrap());
    Grant {
        id: GrantId(id),
        user: "alice".to_owned(),
        allow: ipnet::IpNet::from(std::net::IpAddr::from(address)),
        target: None,
        services: vec!["tcp/22".parse().unwrap()],
        forwards: Vec::new(),
        until: NOW.plus(Duration::from_secs(3_600)),
    }
}

fn timed(driver: &mut Nftables, change: Change) -> Duration {
    let changes = [change];
    let start = Instant::now();
    let results = driver.apply(&changes);
    let took = start.elapsed();
    assert_eq!(results, [Ok(())]);
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
