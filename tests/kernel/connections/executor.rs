//! When the executor ends connections: once for each batch, for closed grants alone, and never instead of a close.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::adapters::conntrack::{Conntrack, ConntrackError};
use postern::adapters::firewall::memory::MemoryDriver;
use postern::core::order::{Order, Report};
use postern::daemon::monitor::executor::Executor;
use postern::model::grant::Grant;
use postern::model::service::Ports;
use postern::model::time::Timestamp;

use super::{ENDS, end, request, settings};

const NOW: Timestamp = Timestamp::from_millis(1_795_341_600_000);
const LATER: Duration = Duration::from_secs(600);

/// Connections in memory, to port 22 of the gate. Clones share them.
#[derive(Debug, Clone, Default)]
struct MemoryConntrack(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Where open connections come from.
    open: Vec<IpAddr>,
    /// The ports of each adoption.
    adopted: Vec<Vec<Ports>>,
    /// How often connections were ended.
    batches: u64,
    is_failing: bool,
}

impl MemoryConntrack {
    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.lock().unwrap())
    }
}

impl State {
    fn check(&self) -> Result<(), ConntrackError> {
        let failed = || ConntrackError::NoSocket("memory", io::Error::other("a test says so"));
        if self.is_failing {
            Err(failed())
        } else {
            Ok(())
        }
    }
}

impl Conntrack for MemoryConntrack {
    fn adopt(&mut self, protected: &[Ports]) -> Result<usize, ConntrackError> {
        self.with(|state| {
            state.adopted.push(protected.to_vec());
            state.check().map(|()| 0)
        })
    }

    fn end(
        &mut self,
        ended: &[Grant],
        live: &mut dyn Iterator<Item = &Grant>,
    ) -> Result<usize, ConntrackError> {
        let live: Vec<_> = live.map(|grant| grant.allow).collect();
        let is_ended = |source: &IpAddr| {
            ended.iter().any(|grant| grant.allow.contains(source))
                && !live.iter().any(|allow| allow.contains(source))
        };
        self.with(|state| {
            state.batches += 1;
            state.check()?;
            Ok(state.open.extract_if(.., |source| is_ended(source)).count())
        })
    }
}

/// An executor whose firewall and conntrack are in memory.
struct Rig {
    executor: Executor,
    firewall: MemoryDriver,
    conntrack: MemoryConntrack,
}

fn open(alice: &str, firewall: MemoryDriver, conntrack: MemoryConntrack, now: Timestamp) -> Rig {
    let executor = Executor::open(
        &settings("", alice),
        Box::new(firewall.clone()),
        Some(Box::new(conntrack.clone())),
        now,
    );
    Rig {
        executor: executor.unwrap(),
        firewall,
        conntrack,
    }
}

fn rig(alice: &str) -> Rig {
    open(
        alice,
        MemoryDriver::default(),
        MemoryConntrack::default(),
        NOW,
    )
}

impl Rig {
    /// Opens a grant of each user for each host, with a connection for each host.
    fn open_grants(&mut self, users: &[&str], hosts: u8) {
        for host in 0..hosts {
            for user in users {
                let request = request(user, &format!("192.0.2.{host}/32"), &["tcp/22"]);
                self.serve(vec![Order::Open { ticket: 1, request }]);
            }
            let source = IpAddr::from([192, 0, 2, host]);
            self.conntrack.with(|state| state.open.push(source));
        }
    }

    fn serve(&mut self, orders: Vec<Order>) -> Vec<Report> {
        self.executor.serve(NOW, orders)
    }

    /// Calls to end connections so far, and open connections.
    fn calls_and_open(&self) -> (u64, usize) {
        self.conntrack
            .with(|state| (state.batches, state.open.len()))
    }
}

pub(crate) fn batch_of_grants_ends_in_one_call() {
    for (orders, now) in [(vec![end(None)], NOW), (Vec::new(), NOW.plus(LATER))] {
        let mut rig = rig(&format!("{ENDS}\nmax_grants = 200"));
        rig.open_grants(&["alice"], 200);
        assert_eq!(rig.calls_and_open(), (0, 200));
        rig.executor.serve(now, orders);
        assert_eq!(rig.calls_and_open(), (1, 0));
    }
}

pub(crate) fn only_closed_grants_end_connections() {
    let mut failing = rig(ENDS);
    failing.open_grants(&["alice"], 2);
    let fail = |failing: Option<&str>| failing.map(str::to_owned);
    failing
        .firewall
        .with(|state| state.failing = fail(Some("busy")));
    failing.serve(vec![end(None)]);
    assert_eq!(
        failing.calls_and_open(),
        (0, 2),
        "the grants are still open"
    );
    failing.firewall.with(|state| state.failing = fail(None));
    failing.executor.serve(NOW.plus(LATER), Vec::new());
    assert_eq!(failing.calls_and_open(), (1, 0));
}

pub(crate) fn failing_conntrack_keeps_no_grant_open() {
    let conntrack = MemoryConntrack::default();
    conntrack.with(|state| state.is_failing = true);
    let mut rig = open(ENDS, MemoryDriver::default(), conntrack, NOW);
    rig.open_grants(&["alice"], 3);
    let closed = Report::Closed {
        ticket: 2,
        count: 3,
    };
    assert_eq!(rig.serve(vec![end(None)]), [closed]);
    assert!(rig.firewall.with(|state| state.open.is_empty()));
    assert_eq!(rig.calls_and_open().0, 1);
}

pub(crate) fn ports_are_adopted_again_only_if_they_change() {
    let mut rig = rig("");
    let conntrack = rig.conntrack.clone();
    let adopted = || conntrack.with(|state| std::mem::take(&mut state.adopted));
    let ports = settings("", "").protection().services;
    // before the protection, and for connections that were opened meanwhile
    assert_eq!(adopted(), [ports.clone(), ports]);
    rig.executor.reload(&settings("", ENDS), NOW).unwrap();
    assert!(adopted().is_empty());
}

pub(crate) fn grants_of_the_last_run_end_connections() {
    let mut first = rig(ENDS);
    first.open_grants(&["alice"], 2);
    let next = open(ENDS, first.firewall, first.conntrack, NOW.plus(LATER));
    assert_eq!(next.calls_and_open(), (1, 0));
}
