//! Ten thousand grants at once, in both families.

use std::time::{Duration, Instant};

use postern::adapters::firewall::{Change, FirewallDriver};
use postern::model::grant::Grant;

use super::HOUR;
use super::world::{World, grant, protection};

const MANY: u64 = 10_000;

fn one(id: u64) -> Grant {
    let allow = if id.is_multiple_of(2) {
        format!("10.0.{}.{}/32", id >> 8, id & 255)
    } else {
        format!("2001:db8:5::{id:x}/128")
    };
    grant(id, &allow, &["tcp/22"], Duration::from_secs(3600))
}

/// Knocks are answered without a program, whatever is open.
pub(crate) fn single_ports_need_no_program(variant: &'static str) {
    let mut world = World::with_live_table(variant);
    let grants: Vec<Grant> = (1..=MANY).map(one).collect();
    for live in [&grants[..1], &grants] {
        world
            .driver
            .install(&protection(&["tcp/22"]), live)
            .unwrap();
        assert_eq!(world.driver.verify(), Ok(true));
        let runs = world.runs();
        for address in ["192.0.2.7/32", "2001:db8::7/128"] {
            let old = grant(MANY + 2, address, &["tcp/22", "udp/53", "icmp"], HOUR);
            world.apply(&[Change::Open(old.clone())]);
            let new = Grant {
                until: old.until.plus(HOUR),
                ..old.clone()
            };
            world.apply(&[Change::Extend {
                old,
                new: new.clone(),
            }]);
            world.apply(&[Change::Close(new)]);
        }
        if variant == "nft" {
            assert_eq!(world.driver.verify(), Ok(true), "nobody else changed it");
        }
        assert_eq!(world.runs(), runs, "with {} grants", live.len());
        assert_eq!(world.listed().len(), live.len());
    }
    let range = grant(MANY + 2, "192.0.2.7/32", &["tcp/22", "tcp/8000-8010"], HOUR);
    let runs = world.runs();
    world.apply(&[Change::Open(range.clone())]);
    assert_eq!(world.runs() - runs, 1, "a range is a rule");
    // The same grant is in the sets, or has rules, and is closed where it is.
    let one = grant(MANY + 3, "192.0.2.7/32", &["tcp/22"], HOUR);
    world.apply(&[
        Change::Open(one.clone()),
        Change::Close(range),
        Change::Close(one),
    ]);
    assert_eq!(world.listed().len(), grants.len());
    assert_eq!(world.driver.verify(), Ok(true));
}

/// Opening one is one run however many are open, and closing many is one for each family, wherever their rules are.
#[expect(clippy::print_stderr, reason = "how long it takes is worth a line")]
pub(crate) fn ten_thousand_grants_take_one_run_each(variant: &'static str) {
    let mut world = World::new(variant);
    let mut grants: Vec<Grant> = (1..=MANY).map(one).collect();
    let mut took = Vec::new();
    let mut timed =
        |what: &'static str, world: &mut World, runs: usize, work: &mut dyn FnMut(&mut World)| {
            let (start, before) = (Instant::now(), world.runs());
            work(world);
            took.push(format!("{what} {} ms", start.elapsed().as_millis()));
            assert_eq!(world.runs() - before, runs, "{what}");
        };
    world
        .driver
        .install(&protection(&["tcp/22"]), &grants)
        .unwrap();
    timed("a look", &mut world, 2, &mut |world| {
        assert_eq!(world.driver.verify(), Ok(true))
    });
    timed("opening one", &mut world, 1, &mut |world| {
        world.apply(&[Change::Open(one(MANY + 2))])
    });
    let (closed, left): (Vec<Grant>, Vec<Grant>) = grants
        .drain(..)
        .partition(|grant| grant.id.0 * 7919 % 20 < 3);
    let closings: Vec<Change> = closed.into_iter().map(Change::Close).collect();
    assert!(closings.len() > 1_000);
    timed("closing 1,500", &mut world, 2, &mut |world| {
        world.apply(&closings)
    });
    timed("closing one", &mut world, 1, &mut |world| {
        world.apply(&[Change::Close(one(MANY + 2))])
    });
    assert_eq!(world.driver.verify(), Ok(true));
    assert_eq!(world.listed().len(), left.len());
    let rest: Vec<Change> = left.into_iter().map(Change::Close).collect();
    timed("closing the rest", &mut world, 2, &mut |world| {
        world.apply(&rest)
    });
    assert!(world.listed().is_empty());
    eprintln!("{variant}, {MANY} grants: {}", took.join(", "));
}
