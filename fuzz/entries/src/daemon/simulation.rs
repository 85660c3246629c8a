//! The whole daemon under a list of events: knocks, copies of them, a disk, orders on their way, crashes, clocks, a kernel that ends
//! grants by itself or does not. Real are the gate, the engine's core, messages, the executor and the ledger (invariants 3, 4, 5 and 10).
//!
//! One byte is one event. `tests/model/` runs every list of events up to a length; the fuzzer runs long ones. After each
//! event the properties are checked against a separate record of what was durable, ordered and reported.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use postern::adapters::firewall::memory::MemoryDriver;
use postern::adapters::store::ReplayStore;
use postern::adapters::store::memory::MemoryStore;
use postern::core::order::{Order, Report, decode, encode};
use postern::daemon::engine::commit::{self, Commit};
use postern::daemon::engine::core::Core;
use postern::daemon::monitor::executor::Executor;
use postern::model::datagram::Datagram;
use postern::model::mark::StoredMarks;
use postern::model::settings::{Protection, Settings};
use postern::model::time::Timestamp;
use postern_proto::Action;

use super::engine::{LENGTH, LOADED, Packet, START};
use super::event::{EVENTS, Event, Fault};
use super::record::{Record, Seen};

const PASS: Duration = Duration::from_secs(12);
const BACK: Duration = Duration::from_secs(40);
/// Packets that are remembered to come again, and that may be under way.
const KNOCKS_MAX: usize = 8;

/// Two configs with different protections.
static SETTINGS: LazyLock<[Settings; 2]> = LazyLock::new(|| {
    let mut second = LOADED.settings.clone();
    second.gate.ports = vec![7];
    [LOADED.settings.clone(), second]
});
static PROTECTIONS: LazyLock<[Protection; 2]> =
    LazyLock::new(|| [0, 1].map(|config| SETTINGS[config].protection()));

pub fn run(data: &[u8]) {
    read(data);
}

/// How many knocks were ordered, and how many grants are open at the end.
pub fn read(data: &[u8]) -> (usize, usize) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let mut daemon = Daemon::new(first % 2 == 0);
    for byte in rest.iter().take(200) {
        let event = EVENTS[usize::from(*byte) % EVENTS.len()];
        if daemon.may(event) {
            daemon.play(event);
        }
    }
    daemon.came_to()
}

pub struct Daemon {
    /// The engine's wall clock.
    wall: Timestamp,
    /// The monitor's clock, and the kernel's.
    steady: Timestamp,
    /// Whether the kernel ends grants by itself.
    kernel_ends: bool,
    engine: Option<Core>,
    /// Orders of an engine that has ended are carried out, but it gets no reports.
    generation: u32,
    handing_over: bool,
    /// Which of [`SETTINGS`] are in force.
    config: usize,
    /// Packets that wait for the next engine.
    waiting: Vec<Packet>,
    /// What this engine has under way, or had.
    tickets: Vec<u64>,
    disk: MemoryStore,
    commits: VecDeque<Commit>,
    orders: VecDeque<(u32, Vec<u8>)>,
    executor: Option<Executor>,
    firewall: MemoryDriver,
    failed: Option<Timestamp>,
    knocks: Vec<Packet>,
    record: Record,
    fault: Option<Fault>,
}

impl Daemon {
    pub fn new(kernel_ends: bool) -> Self {
        let firewall = MemoryDriver::default();
        let executor = Executor::open(&LOADED.settings, Box::new(firewall.clone()), None, START)
            .expect("a firewall that works");
        Self {
            wall: START,
            steady: START,
            kernel_ends,
            engine: Some(super::engine::begun(StoredMarks::default())),
            generation: 0,
            handing_over: false,
            config: 0,
            waiting: Vec::new(),
            tickets: Vec::new(),
            disk: MemoryStore::default(),
            commits: VecDeque::new(),
            orders: VecDeque::new(),
            executor: Some(executor),
            firewall,
            failed: None,
            knocks: Vec::new(),
            record: Record::default(),
            fault: None,
        }
    }

    pub fn with(mut self, fault: Option<Fault>) -> Self {
        self.fault = fault;
        self
    }

    /// Whether the event would change anything.
    pub fn may(&self, event: Event) -> bool {
        let (engine, monitor) = (self.engine.is_some(), self.executor.is_some());
        match event {
            Event::Knock | Event::Close => engine && self.knocks.len() < KNOCKS_MAX,
            Event::First => engine && !self.knocks.is_empty(),
            Event::Last => engine && self.knocks.len() > 1,
            Event::Stored | Event::Refused => engine && !self.commits.is_empty(),
            Event::EngineDiesLate => engine && !self.commits.is_empty(),
            Event::EngineDies => engine && !self.knocks.is_empty(),
            Event::Served => monitor && !self.orders.is_empty(),
            Event::MonitorDies | Event::Fail | Event::Flush => monitor && !self.knocks.is_empty(),
            Event::FailSoon => monitor && self.firewall.with(|state| state.failing.is_none()),
            Event::MonitorBegins => !monitor,
            Event::HandOver => engine && !self.handing_over && !self.knocks.is_empty(),
            Event::Pass | Event::Back => !self.knocks.is_empty(),
        }
    }

    /// How many knocks were ordered so far, and how many grants are open.
    pub fn came_to(&self) -> (usize, usize) {
        (
            self.record.orders(),
            self.firewall.with(|state| state.open.len()),
        )
    }

    pub fn play(&mut self, event: Event) {
        match event {
            Event::Knock => self.knock(Action::Open),
            Event::Close => self.knock(Action::Close),
            Event::First => self.arrives(self.knocks[0]),
            Event::Last => self.arrives(self.knocks[self.knocks.len() - 1]),
            Event::Stored => self.stored(),
            Event::Refused => {
                self.refused();
                self.engine_begins(false);
            }
            Event::Served => self.served(),
            Event::EngineDies => self.engine_begins(false),
            Event::EngineDiesLate => self.engine_begins(true),
            Event::MonitorDies => self.monitor_dies(),
            Event::MonitorBegins => self.monitor_begins(),
            Event::HandOver => {
                let executor = self.executor.as_mut().expect("no engine without a monitor");
                let next = 1 - self.config;
                self.handing_over = executor.reload(&SETTINGS[next], self.steady).is_ok();
                if self.handing_over {
                    self.config = next;
                }
            }
            Event::Pass => self.pass(),
            Event::Back => self.wall = self.wall.minus(BACK),
            Event::Fail => self.firewall.with(|state| {
                state.working = None;
                state.failing = if state.failing.is_some() {
                    None
                } else {
                    Some("no".to_owned())
                }
            }),
            Event::FailSoon => self.firewall.with(|state| state.working = Some(1)),
            Event::Flush => self.firewall.with(|state| state.open.clear()),
        }
        if matches!(event, Event::Fail | Event::Flush | Event::Pass) {
            self.look();
        }
        self.follow_on();
        self.check(event);
    }

    fn knock(&mut self, action: Action) {
        // Every other open comes from the same address, and so renews; a close is for the one before it.
        let nth = u8::try_from(self.knocks.len()).expect("few");
        let packet = Packet {
            nth,
            action,
            made: self.wall,
        };
        self.knocks.push(packet);
        self.arrives(packet);
    }

    fn arrives(&mut self, packet: Packet) {
        if self.handing_over {
            self.waiting.push(packet);
            return;
        }
        let Some(core) = self.engine.as_mut() else {
            return;
        };
        let datagram = Datagram::new(
            packet.source(),
            IpAddr::from([198, 51, 100, 1]),
            62201,
            &super::engine::sealed(packet),
        );
        let before = core.gate().counters().admitted;
        let commit = core.datagram(self.wall, &datagram);
        assert_eq!(
            core.gate().counters().admitted - before,
            u64::from(commit.is_some()),
            "an admission is a commit"
        );
        if let Some(commit) = commit {
            self.record.admits();
            self.tickets.push(commit.ticket);
            self.commits.push_back(commit);
        }
    }

    /// Step 11: durable first, then the order.
    fn stored(&mut self) {
        let Some(mut commit) = self.commits.pop_front() else {
            return;
        };
        assert_eq!(commit.take_order(), None, "an order without a durable mark");
        self.write(&mut commit);
        let Some(core) = self.engine.as_mut() else {
            return;
        };
        core.stored(self.wall, commit.ticket, Ok(()));
        let order = commit.take_order();
        let order = order.expect("a durable mark comes to an order");
        self.record.gives(&commit, &order);
        self.orders
            .push_back((self.generation, encode(&order).expect("short")));
    }

    fn write(&mut self, commit: &mut Commit) {
        let is_lying = self.fault == Some(Fault::LyingDisk);
        let mut disk = if is_lying {
            MemoryStore::default()
        } else {
            self.disk.clone()
        };
        commit::write(std::slice::from_mut(commit), &mut disk).expect("a disk that works");
        if !is_lying {
            self.record.stored(commit);
        }
    }

    fn refused(&mut self) {
        let Some(commit) = self.commits.pop_front() else {
            return;
        };
        let Some(core) = self.engine.as_mut() else {
            return;
        };
        core.stored(self.wall, commit.ticket, Err("no space left on device"));
    }

    /// Step 12, and its report.
    fn served(&mut self) {
        let (Some((generation, order)), Some(executor)) =
            (self.orders.pop_front(), self.executor.as_mut())
        else {
            return;
        };
        let order: Order = decode(&order).expect("an order");
        let ends = self.steady.plus(LENGTH);
        self.record.served(&order, ends);
        for report in executor.serve(self.steady, vec![order.clone()]) {
            self.record.reported(&order, &report, ends, &self.firewall);
            if let (Some(core), true) = (self.engine.as_mut(), generation == self.generation) {
                core.reported(decode(&encode(&report).expect("short")).expect("a report"));
            }
        }
    }

    fn engine_begins(&mut self, late: bool) {
        self.engine_ends(late);
        if self.executor.is_some() {
            let kept = self.disk.load().expect("a disk that works");
            self.engine = Some(super::engine::begun(
                if self.fault == Some(Fault::EmptyDisk) {
                    StoredMarks::default()
                } else {
                    kept
                },
            ));
            self.generation += 1;
            let waiting = std::mem::take(&mut self.waiting);
            waiting.into_iter().for_each(|packet| self.arrives(packet));
        }
    }

    /// All that is in the engine is lost; the disk may have done its work.
    fn engine_ends(&mut self, late: bool) {
        self.let_go();
        self.handing_over = false;
        for mut commit in std::mem::take(&mut self.commits) {
            if late {
                self.write(&mut commit);
            }
        }
    }

    /// Keeps the core of an engine that has ended, to be another's. What was under way in it comes to no order.
    fn let_go(&mut self) {
        let Some(mut core) = self.engine.take() else {
            return;
        };
        for ticket in std::mem::take(&mut self.tickets) {
            core.stored(self.wall, ticket, Err("the engine has ended"));
            core.reported(Report::Closed { ticket, count: 0 });
        }
        assert!(core.is_idle());
        super::engine::ended(core);
    }

    fn monitor_dies(&mut self) {
        self.executor = None;
        self.engine_ends(false);
        self.orders.clear();
        self.waiting.clear();
        let open = self.firewall.with(|state| state.open.clone());
        self.record.monitor_dies(&open);
    }

    fn monitor_begins(&mut self) {
        if self.fault == Some(Fault::CleaningMonitor) {
            self.firewall.with(|state| state.open.clear());
        }
        // It would not begin with a firewall that fails; then it is as if it had not been started.
        let opened = Executor::open(
            &LOADED.settings,
            Box::new(self.firewall.clone()),
            None,
            self.steady,
        );
        if let Ok(executor) = opened {
            self.config = 0;
            self.executor = Some(executor);
            self.engine_begins(false);
        }
    }

    /// The old engine has finished its pending work.
    fn follow_on(&mut self) {
        if self.handing_over
            && self.commits.is_empty()
            && self.engine.as_ref().is_some_and(Core::is_idle)
        {
            self.engine_begins(false);
        }
    }

    fn pass(&mut self) {
        let end = self.steady.plus(PASS);
        self.wall = self.wall.plus(PASS);
        // The monitor wakes at each end.
        while self.fault != Some(Fault::SleepingMonitor)
            && let Some(executor) = self.executor.as_mut()
            && let Some(next) = executor.next_end().filter(|next| *next <= end)
        {
            self.steady = self.steady.max(next);
            self.kernel();
            if let Some(executor) = self.executor.as_mut() {
                assert!(
                    executor.serve(self.steady, Vec::new()).is_empty(),
                    "nobody asked"
                );
            }
        }
        self.steady = end;
        self.kernel();
    }

    fn kernel(&mut self) {
        let now = self.steady;
        if self.kernel_ends {
            self.firewall
                .with(|state| state.open.retain(|grant| grant.until > now));
        }
    }

    fn look(&mut self) {
        if let Some(executor) = self.executor.as_mut() {
            executor.check_firewall(self.steady);
        }
    }

    /// What a firewall can do wrong by itself.
    fn spoil(&mut self) {
        self.firewall.with(|state| match self.fault {
            Some(Fault::GenerousFirewall) => state
                .open
                .iter_mut()
                .for_each(|grant| grant.until = grant.until.max(self.steady.plus(PASS * 4))),
            Some(Fault::OpenFirewall) => state
                .open
                .iter_mut()
                .for_each(|grant| grant.allow = IpAddr::from([198, 51, 100, 7]).into()),
            _ => {}
        });
    }

    fn check(&mut self, event: Event) {
        self.spoil();
        let (open, failing, is_protected) = self.firewall.with(|state| {
            let wanted = &PROTECTIONS[self.config];
            let has = |found: &Option<Protection>| found.as_ref() == Some(wanted);
            let is_protected = state.protection.iter().all(has);
            (state.open.clone(), state.failing.is_some(), is_protected)
        });
        assert!(
            is_protected || failing || self.executor.is_none(),
            "{event:?}: a family has another protection"
        );
        if failing {
            self.failed = Some(self.steady);
        }
        // A close that failed is tried again after a second.
        let troubled = self
            .failed
            .is_some_and(|failed| self.steady < failed.plus(Duration::from_secs(1)));
        self.record.check(&Seen {
            event,
            now: self.steady,
            open: &open,
            failing,
            monitor: self.executor.is_some(),
            ends: self.kernel_ends || (self.executor.is_some() && !troubled),
            marks: self.engine.as_mut().map(|core| core.gate().marks()),
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.let_go();
    }
}
