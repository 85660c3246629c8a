//! The event loop over a firewall in memory, with the test as a hostile engine.

use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use super::*;
use crate::adapters::firewall::memory::MemoryDriver;
use crate::adapters::ipc::{self, Link, Received};
use crate::core::fixture::{request, settings};
use crate::core::order::{self, Reloaded, Report, Selection};
use crate::daemon::monitor::attempts::AttemptSocket;
use crate::daemon::monitor::rights::RunAs;
use crate::daemon::monitor::supervisor::engine_process::{EngineProcess, Stage};
use crate::daemon::monitor::supervisor::launcher::{BoundSockets, Launcher};
use crate::model::counters::EngineCounters;
use crate::model::counters::ReasonCounters;
use crate::model::time::Timestamp;

struct Scene {
    monitor: Monitor,
    firewall: MemoryDriver,
    engine: Link,
    buffer: Vec<u8>,
}

#[expect(clippy::disallowed_methods, reason = "a test's own child")]
fn idle() -> Child {
    Command::new("/bin/sleep").arg("600").spawn().unwrap()
}

impl Scene {
    fn new() -> Self {
        Self::at(Stage::Ready)
    }

    fn at(stage: Stage) -> Self {
        let firewall = MemoryDriver::default();
        let mut settings = settings(&[("alice", &["tcp/22"])]);
        settings.policies[0].max_prefix.v4 = 0;
        let clock = clock::Steady::new();
        let driver = Box::new(firewall.clone());
        let executor = Executor::open(&settings, driver, None, clock.now()).unwrap();
        let (ours, engine) = ipc::pair().unwrap();
        let launcher = Launcher {
            config: "/nonexistent/posternd.toml".into(),
            loaded: None,
            control: UnixStream::pair().unwrap().0.into(),
            run_as: RunAs {
                ids: None,
                note: None,
            },
            backend: "memory",
            clock,
            bound: BoundSockets::default(),
            interfaces: Default::default(),
            attempts: AttemptSocket::default(),
            prefilter_line: None,
        };
        let process = EngineProcess::new(idle(), ours).at(stage);
        let supervisor = Supervisor::with_engine(launcher, settings, process);
        Self {
            monitor: Monitor::new(clock, Signals::none(), executor, supervisor),
            firewall,
            engine,
            buffer: vec![0; MESSAGE_MAX],
        }
    }

    fn turn(&mut self) {
        self.monitor.turn(&mut self.buffer).unwrap();
    }

    fn has_engine(&self) -> bool {
        self.monitor.supervisor.has_engine()
    }

    fn turn_until_the_engine_is_gone(&mut self) {
        let start = clock::instant();
        while self.has_engine() && clock::elapsed(start) < Duration::from_secs(10) {
            self.turn();
        }
        assert!(!self.has_engine());
    }

    fn give(&self, order: &Order) {
        give(&self.engine, order);
    }

    fn reports(&self) -> Vec<Report> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut reports = Vec::new();
        while let Ok(Received::Message(len)) = self.engine.try_receive(&mut buffer) {
            reports.push(order::decode(&buffer[..len]).unwrap());
        }
        reports.retain(|report| *report != Report::Measure);
        reports
    }

    /// Of the reports that have come.
    fn tickets(&self) -> Vec<u64> {
        self.reports().iter().filter_map(Report::ticket).collect()
    }

    fn open(&self) -> usize {
        self.firewall.with(|state| state.open.len())
    }

    fn open_many(&mut self, count: u32) {
        let now = self.monitor.clock.now();
        let orders = (0..count).map(|host| open(0, host)).collect();
        self.monitor.executor.serve(now, orders);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.monitor.supervisor.stop();
    }
}

fn give(link: &Link, order: &Order) {
    link.send(&order::encode(order).unwrap()).unwrap();
}

fn figures() -> Order {
    Order::Measured(Box::new(EngineCounters {
        started: Timestamp::default(),
        users: 1,
        marks: 2,
        hints: 3,
        counters: ReasonCounters::default(),
        captures: Vec::new(),
        claims: None,
        fleet: None,
    }))
}

fn open(ticket: u64, host: u32) -> Order {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + host);
    Order::Open {
        ticket,
        request: request("alice", &format!("{address}/32"), &["tcp/22"], 60),
    }
}

fn announced(ticket: u64, host: u32) -> Order {
    match open(ticket, host) {
        Order::Open { ticket, request } => Order::Announced { ticket, request },
        other => other,
    }
}

#[test]
fn announced_order_opens_nothing_until_it_comes() {
    let mut scene = Scene::new();
    scene.give(&announced(1, 1));
    scene.turn();
    assert_eq!((scene.open(), scene.reports()), (0, Vec::new()));
    // It comes in time.
    scene.monitor.orders.push_back(announced(2, 2));
    scene.give(&open(2, 2));
    scene.monitor.open_announced(&mut scene.buffer);
    assert_eq!((scene.open(), scene.tickets()), (1, vec![2]));
    // Another comes in its place.
    scene.monitor.orders.push_back(announced(3, 3));
    scene.give(&open(4, 4));
    scene.monitor.open_announced(&mut scene.buffer);
    assert_eq!(scene.open(), 1);
    scene.turn();
    assert_eq!((scene.open(), scene.tickets()), (2, vec![4]));
    scene.monitor.orders.push_back(announced(6, 6));
    scene.give(&Order::Reload { ticket: 7 });
    scene.monitor.open_announced(&mut scene.buffer);
    scene.turn();
    assert_eq!((scene.open(), scene.tickets()), (2, vec![7]));
    // Both are there at once.
    scene.give(&announced(5, 5));
    scene.give(&open(5, 5));
    scene.turn();
    assert_eq!((scene.open(), scene.tickets()), (3, vec![5]));
}

#[test]
fn invalid_order_ends_the_engine_and_opens_nothing() {
    let good = order::encode(&open(1, 1)).unwrap();
    for bytes in [
        &b"\0"[..],
        b"null",
        b"{}",
        b"\"exec\"",
        &good[..good.len() - 1],
        b"{\"open\":{\"ticket\":1}}",
        b"\xff\xfe",
        &b"[".repeat(MESSAGE_MAX),
        &[0; MESSAGE_MAX + 1],
    ] {
        let mut scene = Scene::new();
        scene.give(&announced(8, 8));
        let _ = scene.engine.send(bytes);
        let _ = scene.engine.send(&order::encode(&open(8, 8)).unwrap());
        scene.turn();
        assert_eq!(scene.open(), 0, "{:?}", bytes.get(..20));
        let mut scene = Scene::new();
        scene.give(&open(7, 7));
        scene.engine.send(bytes).unwrap();
        // What follows is not carried out.
        let _ = scene.engine.send(&order::encode(&open(8, 8)).unwrap());
        scene.turn();
        assert!(!scene.has_engine(), "accepted {:?}", bytes.get(..20));
        scene.turn();
        assert_eq!(scene.open(), 1, "{:?}", bytes.get(..20));
    }
}

#[test]
fn slow_engine_gets_the_whole_list() {
    let mut scene = Scene::new();
    scene.open_many(8000);
    scene.give(&Order::List { ticket: 9 });
    scene.give(&open(10, 9000));
    let (mut listed, mut is_opened, mut turns) = (0, false, 0);
    while !is_opened {
        scene.turn();
        assert!(scene.has_engine(), "a list is no reason to end the engine");
        for report in scene.reports() {
            match report {
                Report::Grants { grants, more, .. } => {
                    listed += grants.len();
                    assert_eq!(more, listed < 8000);
                }
                report => is_opened = matches!(report, Report::Opened { ticket: 10, .. }),
            }
        }
        turns += 1;
        assert!(turns < 1000);
    }
    assert_eq!(listed, 8000);
    assert!(turns > 2, "the list must fill the socket");
}

#[test]
fn unread_reports_do_not_accumulate() {
    let mut scene = Scene::new();
    scene.open_many(3000);
    let list = order::encode(&Order::List { ticket: 1 }).unwrap();
    for _ in 0..50 {
        while scene.engine.try_send(&list).is_ok() {}
        scene.turn();
    }
    // A list fills the socket, so the monitor takes only a few of these orders.
    let is_last = |report: &&Report| matches!(report, Report::Grants { more: false, .. });
    let answered = scene.reports().iter().filter(is_last).count();
    assert!(answered < 10, "{answered}");
}

#[test]
fn orders_before_the_engine_dies_are_carried_out() {
    let mut scene = Scene::new();
    for n in 0..400 {
        let order = order::encode(&open(n, n as u32)).unwrap();
        if scene.engine.try_send(&order).is_err() {
            scene.turn();
            scene.give(&open(n, n as u32));
        }
    }
    // It dies with unread reports.
    scene.engine = ipc::pair().unwrap().0;
    scene.turn_until_the_engine_is_gone();
    assert_eq!(scene.open(), 400);
}

#[test]
fn costly_orders_leave_time_for_the_rest() {
    let mut scene = Scene::new();
    scene.monitor.orders_within = Duration::ZERO;
    for ticket in 0..5 {
        scene.give(&open(2 * ticket, 1));
        let (ticket, which) = (2 * ticket + 1, Selection::All);
        scene.give(&Order::End { ticket, which });
    }
    for turn in 0..5 {
        scene.turn();
        let reports = scene.reports();
        let tickets: Vec<_> = reports.iter().filter_map(Report::ticket).collect();
        assert_eq!(tickets, [2 * turn, 2 * turn + 1], "one batch a turn");
    }
    assert!(scene.monitor.orders.is_empty() && scene.open() == 0);
}

#[test]
fn unusable_config_changes_nothing_and_is_answered() {
    let mut scene = Scene::new();
    scene.give(&open(1, 1));
    scene.give(&Order::Reload { ticket: 2 });
    scene.give(&Order::Reload { ticket: 3 });
    scene.turn();
    let reports = scene.reports();
    assert!(matches!(reports[0], Report::Opened { ticket: 1, .. }));
    for (report, wanted) in reports[1..].iter().zip([2, 3]) {
        assert!(
            matches!(report, Report::Reloaded { ticket, outcome: Reloaded::Refused(why) }
                if *ticket == wanted && why.contains("/nonexistent/posternd.toml: does not exist; ")),
            "{report:?}"
        );
    }
    assert_eq!(reports.len(), 3);
    scene.monitor.reloads.signal();
    scene.turn();
    assert!(!scene.monitor.reloads.is_signalled() && scene.monitor.supervisor.can_reload());
    scene.give(&open(4, 4));
    scene.turn();
    let found = scene.reports();
    assert!(matches!(found[..], [Report::Opened { ticket: 4, .. }]));
}

#[test]
fn reload_flood_delays_no_grant() {
    let mut scene = Scene::new();
    let mut answered = 0;
    for _ in 0..20 {
        (0..200).for_each(|ticket| scene.give(&Order::Reload { ticket }));
        scene.turn();
        answered += scene.reports().len();
    }
    // Only a few wait for the next reload; the others were told to ask again.
    assert!((4000 - 64..=4000).contains(&answered), "{answered}");
    assert!(scene.has_engine());
    scene.give(&open(9, 9));
    scene.turn();
    assert_eq!(scene.open(), 1);
}

#[test]
fn tickets_of_a_dead_engine_are_forgotten() {
    let mut scene = Scene::new();
    // The second reload waits for the pause after the first.
    scene.give(&Order::Reload { ticket: 1 });
    scene.turn();
    scene.give(&Order::Reload { ticket: 2 });
    scene.turn();
    assert!(scene.monitor.reloads.due_in().is_some());
    scene.engine = ipc::pair().unwrap().0;
    scene.turn_until_the_engine_is_gone();
    assert_eq!(scene.monitor.reloads.due_in(), None);
}

#[test]
fn loading_engine_cannot_reload() {
    let mut scene = Scene::at(Stage::Loaded);
    scene.give(&Order::Reload { ticket: 1 });
    scene.turn();
    let outcome = Reloaded::Busy;
    assert_eq!(scene.reports(), [Report::Reloaded { ticket: 1, outcome }]);
}

#[test]
fn engine_that_does_not_answer_is_ended() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        scene.monitor.supervisor.ask_figures();
        scene.give(&figures());
        scene.turn();
    }
    let figures = scene.monitor.supervisor.figures();
    assert_eq!(figures.map(|figures| figures.hints), Some(3));
    (0..3).for_each(|_| scene.monitor.supervisor.ask_figures());
    scene.turn();
    assert!(scene.has_engine(), "a slow engine has some time");
    scene.monitor.supervisor.ask_figures();
    scene.turn();
    assert!(!scene.has_engine());
}

#[test]
fn many_orders_are_read_in_batches() {
    for words in [figures(), Order::Ready, Order::Loaded, open(1, 1)] {
        let mut scene = Scene::new();
        let bytes = order::encode(&words).unwrap();
        while scene.engine.try_send(&bytes).is_ok() {}
        scene.turn();
        let taken = std::iter::from_fn(|| scene.engine.try_send(&bytes).ok()).count();
        assert!(taken <= BATCH, "{taken} messages in one turn");
        assert!(scene.has_engine());
    }
}
