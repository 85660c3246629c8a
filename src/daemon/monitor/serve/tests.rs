//! The loop over a firewall in memory, with a hostile engine at the other end of the link.

use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use super::*;
use crate::adapters::firewall::memory::MemoryDriver;
use crate::adapters::ipc::{self, Link, Received};
use crate::core::fixture::{request, settings};
use crate::core::order::{self, Order, Reloaded, Report};
use crate::model::counters::EngineCounters;
use crate::model::reason::Rule;
use crate::model::time::Timestamp;

struct Scene {
    monitor: Monitor,
    firewall: MemoryDriver,
    buffer: Vec<u8>,
    _signals: [UnixStream; 2],
}

/// A process that does nothing, to stand for an engine's.
#[expect(clippy::disallowed_methods, reason = "a test's own child")]
fn idle() -> Child {
    Command::new("/bin/sleep").arg("600").spawn().unwrap()
}

impl Scene {
    /// A monitor whose engine serves and is played by the test.
    fn new() -> (Self, Link) {
        let firewall = MemoryDriver::default();
        let mut settings = settings(&[("alice", &["tcp/22"])]);
        settings.policies[0].max_prefix.v4 = 0;
        let clock = clock::Steady::new();
        let executor =
            Executor::open(&settings, Box::new(firewall.clone()), None, clock.now()).unwrap();
        let [(stop, stopper), (reload, reloader)] =
            [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
        stop.set_nonblocking(true).unwrap();
        reload.set_nonblocking(true).unwrap();
        let (ours, theirs) = ipc::pair().unwrap();
        let mut engine = Engine::new(idle(), ours);
        engine.stage = Stage::Ready;
        let monitor = Monitor {
            config: "/nonexistent/posternd.toml".into(),
            settings,
            executor,
            engine: Some(engine),
            successor: None,
            held: Vec::new(),
            listener: None,
            told_of_prefilter: None,
            control: UnixStream::pair().unwrap().0.into(),
            run_as: RunAs {
                ids: None,
                note: None,
            },
            clock,
            signals: Signals { stop, reload },
            status_reports: StatusReports::new(clock),
            reload_wanted: false,
            reloads: Reloads::default(),
            started: clock::instant(),
            pause: Duration::from_secs(600),
            served: true,
            looked: clock::instant(),
            look_pause: LOOK_PAUSE,
        };
        (
            Self {
                monitor,
                firewall,
                buffer: vec![0; MESSAGE_MAX],
                _signals: [stopper, reloader],
            },
            theirs,
        )
    }

    fn turn(&mut self) {
        self.monitor.turn(&mut self.buffer).unwrap();
    }

    /// A process that another test is about to start holds a copy of the engine's end until it has begun.
    fn turn_until_the_engine_is_gone(&mut self) {
        let start = clock::instant();
        while self.monitor.engine.is_some() && clock::elapsed(start) < Duration::from_secs(10) {
            self.turn();
        }
        assert!(self.monitor.engine.is_none());
    }

    fn open(&self) -> usize {
        self.firewall.with(|state| state.open.len())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.monitor.engine.take().map(Engine::end);
    }
}

fn give(link: &Link, order: &Order) {
    link.send(&order::encode(order).unwrap()).unwrap();
}

/// What it was told, but for the question that comes every few seconds.
fn reports(link: &Link) -> Vec<Report> {
    told(link)
        .into_iter()
        .filter(|report| *report != Report::Measure)
        .collect()
}

fn told(link: &Link) -> Vec<Report> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let mut reports = Vec::new();
    while let Ok(Received::Message(len)) = link.try_receive(&mut buffer) {
        reports.push(order::decode(&buffer[..len]).unwrap());
    }
    reports
}

fn figures() -> Order {
    let counters = crate::model::counters::ReasonCounters::default();
    Order::Measured(Box::new(EngineCounters {
        started: Timestamp::default(),
        users: 1,
        marks: 2,
        hints: 3,
        counters,
        captures: Vec::new(),
    }))
}

fn door(ticket: u64, host: u32) -> Order {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + host);
    Order::Open {
        ticket,
        request: request("alice", &format!("{address}/32"), &["tcp/22"], 60),
    }
}

#[test]
fn bytes_that_are_no_order_end_the_engine_and_open_nothing_and_the_monitor_goes_on() {
    let long = [
        b"[".repeat(MESSAGE_MAX),
        vec![0; MESSAGE_MAX + 1],
        vec![b'x'; 100_000],
    ];
    let open = order::encode(&door(1, 1)).unwrap();
    let short = [
        &b"\0"[..],
        b"null",
        b"{}",
        b"[]",
        b"\"exec\"",
        &open[..open.len() - 1],
        b"{\"open\":{\"ticket\":1}}",
        b"\xff\xfe",
    ];
    for bytes in short.into_iter().map(<[u8]>::to_vec).chain(long) {
        let (mut scene, engine) = Scene::new();
        give(&engine, &door(7, 7));
        engine.send(&bytes).unwrap();
        // What comes after it is not carried out any more.
        let _ = engine.send(&order::encode(&door(8, 8)).unwrap());
        scene.turn();
        assert!(
            scene.monitor.engine.is_none(),
            "{:?} was taken for an order",
            bytes.get(..20)
        );
        scene.turn();
        assert_eq!(scene.open(), 1, "{:?}", bytes.get(..20));
    }
}

#[test]
fn orders_that_the_policy_does_not_allow_are_refused_each_and_open_nothing() {
    let (mut scene, engine) = Scene::new();
    let bad = [
        request("eve", "192.0.2.7/32", &["tcp/22"], 30),
        request("alice", "192.0.2.7/32", &["tcp/23"], 30),
        request("alice", "192.0.2.7/32", &["web"], 30),
        request("alice", "192.0.2.7/32", &["tcp/22"], 3601),
        request("alice", "192.0.2.7/32", &["tcp/22"], 0),
        request("alice", "::/0", &["tcp/22"], 30),
        request("alice", "192.0.2.7/32", &["tcp/22"; 3000], u64::MAX),
    ];
    for (ticket, request) in (0..).zip(bad) {
        give(&engine, &Order::Open { ticket, request });
    }
    scene.turn();
    let reports = reports(&engine);
    assert_eq!(reports.len(), 7, "{reports:?}");
    assert!(
        reports
            .iter()
            .all(|report| matches!(report, Report::Refused { .. })),
        "{reports:?}"
    );
    assert!(scene.monitor.engine.is_some());
    assert_eq!(scene.open(), 0);
}

#[test]
fn a_flood_of_orders_is_taken_in_batches_and_each_is_answered() {
    let (mut scene, engine) = Scene::new();
    let flood = std::thread::spawn(move || {
        let reader = engine.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; MESSAGE_MAX];
            let mut count = 0_u64;
            while count < 5000 && matches!(reader.receive(&mut buffer), Ok(Received::Message(_))) {
                count += 1;
            }
            count
        });
        (0..5000).for_each(|n| give(&engine, &door(n, n as u32)));
        (reader.join().unwrap(), engine)
    });
    while !flood.is_finished() {
        let before = scene.open();
        scene.turn();
        assert!(scene.open() - before <= ORDERS);
        assert!(scene.monitor.engine.is_some());
    }
    assert_eq!(flood.join().unwrap().0, 5000);
    assert_eq!(scene.open(), 5000);
}

#[test]
fn a_list_of_thousands_of_grants_reaches_an_engine_that_reads_it_slowly() {
    let (mut scene, engine) = Scene::new();
    for n in 0..8000 {
        let order = door(0, n);
        scene
            .monitor
            .executor
            .serve(scene.monitor.clock.now(), vec![order]);
    }
    give(&engine, &Order::List { ticket: 9 });
    give(&engine, &door(10, 9000));
    let (mut listed, mut opened, mut turns) = (0, false, 0);
    while !opened {
        scene.turn();
        assert!(
            scene.monitor.engine.is_some(),
            "the engine was ended because the administrator asked for a list"
        );
        for report in reports(&engine) {
            match report {
                Report::Grants { grants, more, .. } => {
                    listed += grants.len();
                    assert_eq!(more, listed < 8000);
                }
                report => opened = matches!(report, Report::Opened { ticket: 10, .. }),
            }
        }
        turns += 1;
        assert!(turns < 1000);
    }
    assert_eq!(listed, 8000);
    assert!(
        turns > 2,
        "the list did not fill the link, so this proves nothing"
    );
}

#[test]
fn an_engine_that_does_not_listen_can_not_make_the_monitor_pile_up_reports() {
    let (mut scene, engine) = Scene::new();
    for n in 0..3000 {
        scene
            .monitor
            .executor
            .serve(scene.monitor.clock.now(), vec![door(0, n)]);
    }
    let mut given = 0;
    for _ in 0..50 {
        while given < 400
            && engine
                .try_send(&order::encode(&Order::List { ticket: given }).unwrap())
                .is_ok()
        {
            given += 1;
        }
        scene.turn();
    }
    // Each list is more than the link holds; only the first few were even taken, and the rest wait in the engine's own queue.
    let left = std::iter::from_fn(|| engine.try_send(b"\"loaded\"").ok()).count();
    assert!(
        left < 400,
        "the monitor keeps reading orders whose reports nobody takes"
    );
    let answered: usize = reports(&engine)
        .iter()
        .filter(|report| matches!(report, Report::Grants { more: false, .. }))
        .count();
    assert!(answered < 10, "{answered}");
}

#[test]
fn orders_that_an_engine_gave_before_it_died_are_carried_out() {
    let (mut scene, engine) = Scene::new();
    for n in 0..50 {
        give(&engine, &door(n, n as u32));
    }
    scene.turn();
    for n in 50..400 {
        if engine
            .try_send(&order::encode(&door(n, n as u32)).unwrap())
            .is_err()
        {
            scene.turn();
            give(&engine, &door(n, n as u32));
        }
    }
    // It goes without having read its reports.
    drop(engine);
    scene.turn_until_the_engine_is_gone();
    assert_eq!(scene.open(), 400);
}

#[test]
fn a_reload_of_a_config_that_can_not_be_read_changes_nothing() {
    let (mut scene, engine) = Scene::new();
    scene.monitor.reload_wanted = true;
    scene.turn();
    assert!(scene.monitor.successor.is_none() && !scene.monitor.reload_wanted);
    give(&engine, &door(1, 1));
    scene.turn();
    assert!(matches!(
        reports(&engine)[..],
        [Report::Opened { ticket: 1, .. }]
    ));
}

#[test]
fn a_reload_that_the_engine_asks_for_is_answered_with_the_reason_why_the_config_is_not_used() {
    let (mut scene, engine) = Scene::new();
    give(&engine, &door(1, 1));
    give(&engine, &Order::Reload { ticket: 2 });
    give(&engine, &Order::Reload { ticket: 3 });
    scene.turn();
    let mut reports = reports(&engine);
    assert!(matches!(
        reports.remove(0),
        Report::Opened { ticket: 1, .. }
    ));
    for (report, ticket) in reports.iter().zip([2, 3]) {
        let Report::Reloaded {
            ticket: told,
            outcome: Reloaded::Refused(why),
        } = report
        else {
            panic!("{report:?}")
        };
        assert_eq!(*told, ticket);
        assert!(
            why.contains("/nonexistent/posternd.toml: does not exist; "),
            "{why}"
        );
    }
    assert_eq!(reports.len(), 2);
    assert!(scene.monitor.successor.is_none());
}

#[test]
fn an_engine_that_asks_for_reload_after_reload_gets_few_of_them_and_keeps_nobody_from_closing() {
    let (mut scene, engine) = Scene::new();
    let mut answered = 0;
    for batch in 0..20 {
        (0..200).for_each(|n| {
            give(
                &engine,
                &Order::Reload {
                    ticket: batch * 200 + n,
                },
            )
        });
        scene.turn();
        let reports = reports(&engine);
        assert!(
            reports
                .iter()
                .all(|report| matches!(report, Report::Reloaded { .. })),
            "{reports:?}"
        );
        answered += reports.len();
    }
    // Of those that wait for the pause to be over there are never more than a few; the rest was told to ask again.
    assert!((4000 - 64..=4000).contains(&answered), "{answered}");
    assert!(scene.monitor.engine.is_some());
    give(&engine, &door(9, 9));
    scene.turn();
    assert_eq!(scene.open(), 1);
}

#[test]
fn an_engine_that_dies_over_its_reload_leaves_nobody_waiting() {
    let (mut scene, engine) = Scene::new();
    scene.monitor.reloads.began(Duration::from_secs(600));
    give(&engine, &Order::Reload { ticket: 1 });
    scene.turn();
    assert!(
        scene
            .monitor
            .reloads
            .due_in()
            .is_some_and(|due| !due.is_zero()),
        "it waits for the pause to be over"
    );
    drop(engine);
    scene.turn_until_the_engine_is_gone();
    assert_eq!(scene.monitor.reloads.due_in(), None);
}

#[test]
fn an_engine_that_does_not_serve_yet_can_ask_for_no_reload() {
    let (mut scene, engine) = Scene::new();
    scene.monitor.engine.as_mut().unwrap().stage = Stage::Loaded;
    scene.monitor.started = clock::instant();
    give(&engine, &Order::Reload { ticket: 1 });
    scene.turn();
    assert_eq!(
        reports(&engine),
        [Report::Reloaded {
            ticket: 1,
            outcome: Reloaded::Busy
        }]
    );
}

#[test]
fn an_engine_that_answers_for_others_reports_nothing_that_was_not_done() {
    let (mut scene, engine) = Scene::new();
    scene
        .firewall
        .with(|state| state.failing = Some("no".to_owned()));
    give(&engine, &door(1, 1));
    give(&engine, &Order::Ready);
    give(&engine, &Order::Loaded);
    scene.turn();
    assert!(matches!(
        reports(&engine)[..],
        [Report::Refused {
            ticket: 1,
            rule: Rule::Firewall,
            ..
        }]
    ));
    assert_eq!(
        scene.monitor.engine.as_ref().unwrap().stage,
        Stage::Ready,
        "it does not go back"
    );
}

#[test]
fn an_engine_that_answers_is_asked_on_and_one_that_does_not_is_ended() {
    let (mut scene, engine) = Scene::new();
    for _ in 0..10 {
        scene.monitor.engine.as_mut().unwrap().ask();
        assert!(told(&engine).contains(&Report::Measure));
        give(&engine, &figures());
        scene.turn();
    }
    assert_eq!(
        scene
            .monitor
            .engine
            .as_ref()
            .unwrap()
            .figures
            .as_ref()
            .map(|figures| figures.hints),
        Some(3)
    );
    // It may be slow, but not for ever.
    (0..3).for_each(|_| scene.monitor.engine.as_mut().unwrap().ask());
    scene.turn();
    assert!(scene.monitor.engine.is_some());
    scene.monitor.engine.as_mut().unwrap().ask();
    scene.turn();
    assert!(scene.monitor.engine.is_none());
}

#[test]
fn an_engine_that_talks_without_end_is_heard_in_batches_so_that_doors_close_in_time() {
    for words in [figures(), Order::Ready, Order::Loaded] {
        let (mut scene, engine) = Scene::new();
        let mut given = 0;
        while engine.try_send(&order::encode(&words).unwrap()).is_ok() {
            given += 1;
        }
        scene.turn();
        let room =
            std::iter::from_fn(|| engine.try_send(&order::encode(&words).unwrap()).ok()).count();
        assert!(
            room <= ORDERS,
            "{room} of {given} messages were taken in one turn"
        );
        assert!(scene.monitor.engine.is_some());
    }
}
