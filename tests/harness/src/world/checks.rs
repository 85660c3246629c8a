//! Checks of what a gate opened: in its log, in its ledger and in the kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use postern::adapters::firewall::FirewallDriver;
use postern::daemon::monitor;
use postern::model::grant::{Grant, GrantId};
use postern::model::settings::DriverKind;
use postern::model::time::Timestamp;
use rustix::process::Signal;

use super::{Family, World};
use crate::{now, process, wait_for, wait_until};

/// The user who knocks during a fault, from the first client's own addresses.
pub const USER: &str = "alice2";

/// How long after its end a grant may still admit a connection.
pub const LATE: Duration = Duration::from_secs(1);

/// How many grants this daemon has logged as open or extended for [`USER`].
pub fn openings(world: &World) -> usize {
    let of_user = format!(": {USER}, ");
    let lines = ["INFO open: grant", "extended: grant"].map(|what| [what, &of_user]);
    lines
        .map(|words| world.daemon.logged(&words).len())
        .iter()
        .sum()
}

/// A grant that posternd has logged as open.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    pub allow: IpAddr,
    pub until: Timestamp,
}

/// All grants that this daemon has logged as open, with their last end.
pub fn opened(world: &World) -> BTreeMap<GrantId, Opened> {
    let read = |line: &String| {
        let said = line.split_once("open: grant ");
        let (_, rest) = said.or_else(|| line.split_once("extended: grant "))?;
        let (id, rest) = rest.split_once(": ")?;
        let (_, rest) = rest.split_once(", ")?;
        let (allow, rest) = rest.split_once('/')?;
        let (_, rest) = rest.split_once(" until=")?;
        let until: jiff::Timestamp = rest.split(' ').next()?.parse().ok()?;
        let opened = Opened {
            allow: allow.parse().ok()?,
            until: Timestamp::from_millis(u64::try_from(until.as_millisecond()).ok()?),
        };
        Some((GrantId(id.parse().ok()?), opened))
    };
    let lines = world.daemon.logged(&[" grant "]);
    let is_done = |line: &&String| !line.contains("WARN");
    lines.iter().filter(is_done).filter_map(read).collect()
}

/// The same bytes again, twice. They may open if the kill came before they were admitted, but not a second time. Returns whether
/// they did.
pub fn expect_opened_once(
    world: &World,
    family: Family,
    packet: &[u8],
    openings_before: usize,
) -> bool {
    let dropped = || {
        let status = world.daemon.status();
        ["drop replay", "drop duplicate", "drop too-old"]
            .map(|reason| status.count(reason))
            .iter()
            .sum::<u64>()
    };
    let send = || {
        let (opened, refused) = (openings(world), dropped());
        world.first.send(family, packet);
        wait_until("a verdict on the old packet", || {
            openings(world) > opened || dropped() > refused
        });
        openings(world) - opened
    };
    let grants = world.daemon.grants();
    let later = send();
    assert!(openings_before + later <= 1, "a replay was admitted");
    let is_new = |now: &Grant| {
        now.user == USER
            && !grants
                .iter()
                .any(|grant| grant.id == now.id && grant.until == now.until)
    };
    assert!(
        later == 1 || !world.daemon.grants().iter().any(is_new),
        "a replay opened or renewed"
    );
    assert_eq!(send(), 0, "a replay was admitted");
    later == 1
}

/// Waits until the ledger is what the firewall says; a grant may end between the two questions.
pub fn expect_ledger_and_kernel_agree(world: &World, backend: &'static str) {
    wait_for("the ledger and the firewall to agree", || {
        let ledger = sorted(world.daemon.grants());
        (ledger == sorted(in_kernel(world, backend))).then_some(())
    });
}

fn sorted(mut grants: Vec<Grant>) -> Vec<Grant> {
    grants.sort_by_key(|grant| grant.id);
    grants
}

/// The grants that the kernel itself lists.
pub fn in_kernel(world: &World, backend: &'static str) -> Vec<Grant> {
    let list = move || native(backend).list().unwrap();
    world.gate.run(list)
}

/// The driver of this backend, `iptables` or `nftables`.
pub fn native(backend: &str) -> Box<dyn FirewallDriver> {
    let kind = if backend == "iptables" {
        DriverKind::Iptables
    } else {
        DriverKind::Nftables
    };
    monitor::native(kind).unwrap()
}

/// Waits until the last of these grants must have ended.
pub fn wait_past(grants: &[Grant]) {
    let Some(end) = grants.iter().map(|grant| grant.until).max() else {
        return;
    };
    thread::sleep(end.plus(LATE).since(now()));
}

pub fn kill(pid: u32) {
    // The engine may have gone with its monitor already.
    process::signal(pid, Signal::KILL);
}

pub fn is_gone(engine: u32) -> bool {
    !process::is_engine(engine)
}
