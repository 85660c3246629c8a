//! Disk, monitor or firewall fail: nothing opens, and the failure is reported (proto/README.md section 6, steps 11 and 12).

use postern::core::order::Report;
use postern::daemon::engine::commit;
use postern::model::datagram::Datagram;
use postern::model::reason::{Drop, Reason, Rule};

use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, World, address, load, seconds};

const BOB: &str = "[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\n";

fn firewall_fails(world: &World, why: Option<&str>) {
    world
        .firewall
        .with(|state| state.failing = why.map(str::to_owned));
}

#[test]
pub(crate) fn a_failing_disk_opens_nothing() {
    let mut world = World::of_alice();
    world
        .store
        .with(|disk| disk.failing = Some("no space left on device".to_owned()));
    let knock = Knock::of("alice").sealed(world.now);
    let outcome = world.refuses_behind_the_gate(&knock, Rule::Store);
    assert!(outcome.said[0].contains("no space left on device"));
    assert!(outcome.reports.is_empty(), "{outcome:?}");
    // The mark may be on the disk, so the knock counts as used.
    world.drops(HOME, &knock, Drop::Duplicate);
    world.pass(seconds(2));
    world.store.with(|disk| disk.failing = None);
    world.drops(HOME, &knock, Drop::Replay);
    assert!(world.open().is_empty());
    world.opens(&Knock::of("alice"), HOME);
    assert_eq!(world.open().len(), 1);
}

#[test]
fn a_slow_disk_delays_the_grant() {
    let mut world = World::of_alice();
    world.disk_slow = true;
    world.opens(&Knock::of("alice"), HOME);
    world.pass(seconds(5));
    assert!(world.open().is_empty());
    let outcome = world.disk_catches_up();
    assert!(matches!(outcome.reports[..], [Report::Opened { .. }]));
    assert_eq!(world.remaining(), seconds(30));
}

/// A disk that hangs must not let the engine's memory grow.
#[test]
fn too_many_pending_knocks_are_refused() {
    let mut world = World::new(&format!("{ALICE}quota = '100000/s'\n{BOB}"));
    world.disk_slow = true;
    let waiting = (0..5000)
        .take_while(|_| world.alice_knocks().reason.is_none())
        .count();
    assert_eq!(waiting, 2048, "half of all");
    assert_eq!(world.count(Reason::Refuse(Rule::Store)), 1);
    for _ in 0..20 {
        world.opens(&Knock::of("bob"), HOME);
    }
    assert!(world.open().is_empty());
    world.disk_slow = false;
    let reports = world.disk_catches_up().reports;
    assert_eq!(reports.len(), 2048 + 20);
    let of_bob =
        |report: &Report| matches!(report, Report::Opened { grant, .. } if grant.user == "bob");
    let first = reports.iter().position(of_bob).unwrap();
    assert!(first <= 128, "{first} knocks of alice came before");
    assert_eq!(world.open().len(), 2);
    world.opens(&Knock::of("alice"), HOME);
}

#[test]
pub(crate) fn a_failing_firewall_is_reported() {
    let mut world = World::of_alice();
    let knock = |world: &World| Knock::of("alice").sealed(world.now);
    firewall_fails(&world, Some("iptables-restore: exit status 4"));
    let outcome = world.refuses_behind_the_gate(knock(&world), Rule::Firewall);
    assert!(
        matches!(&outcome.reports[..], [Report::Refused { rule: Rule::Firewall, why, .. }] if why.contains("exit status 4"))
    );
    assert!(world.open().is_empty() && world.executor.grants().next().is_none());
    firewall_fails(&world, None);
    world.opens(&Knock::of("alice"), HOME);
    world.pass(seconds(20));
    // An extension that fails leaves the grant as it is.
    firewall_fails(&world, Some("busy"));
    world.refuses_behind_the_gate(knock(&world), Rule::Firewall);
    assert_eq!(world.remaining(), seconds(10));
}

#[test]
pub(crate) fn the_monitor_refuses_what_its_config_forbids() {
    let shorter = format!("{ALICE}duration = '5s'\nmax_duration = '5s'\n");
    for (config, rule) in [(BOB, Rule::User), (&shorter, Rule::Duration)] {
        let mut world = World::of_alice();
        world.executor.reload(&load(config), world.steady).unwrap();
        let knock = Knock::of("alice").sealed(world.now);
        world.refuses_behind_the_gate(knock, rule);
        assert!(world.open().is_empty());
    }
}

#[test]
pub(crate) fn more_grants_than_max_grants_are_refused() {
    let mut world = World::new(&format!("{ALICE}max_grants = 1\n{BOB}"));
    world.alice_knocks();
    let other = Knock::of("alice").allow("192.0.2.99").sealed(world.now);
    world.refuses_behind_the_gate(other, Rule::MaxGrants);
    world.opens(&Knock::of("bob"), HOME);
    world.pass(seconds(31));
    world.opens(&Knock::of("alice").allow("192.0.2.99"), HOME);
}

#[test]
fn a_reload_closes_what_policy_forbids_now() {
    let mut world = World::of_alice();
    world.alice_knocks();
    // A config that the firewall refuses changes nothing.
    firewall_fails(&world, Some("busy"));
    assert!(world.executor.reload(&load(BOB), world.steady).is_err());
    firewall_fails(&world, None);
    world.opens(&Knock::of("alice"), "198.51.100.9");
    assert_eq!(world.open().len(), 2);
    world.executor.reload(&load(BOB), world.steady).unwrap();
    assert!(world.open().is_empty());
}

#[test]
fn an_order_that_cannot_be_sent_counts_as_failed() {
    let mut world = World::of_alice();
    let knock = Knock::of("alice").sealed(world.now);
    let (source, gate) = (address(HOME), address("198.51.100.1"));
    let datagram = Datagram::new(source, gate, 62201, knock.as_bytes());
    let mut commit = world.core.datagram(world.now, &datagram).unwrap();
    commit::write(std::slice::from_mut(&mut commit), &mut world.store).unwrap();
    world.core.stored(world.now, commit.ticket, Ok(()));
    let order = commit.take_order().unwrap();
    assert!(!world.core.is_idle());
    world.core.order_failed(&order, "the monitor is gone");
    assert_eq!(world.count(Reason::Refuse(Rule::Firewall)), 1);
    assert!(world.core.is_idle());
}
