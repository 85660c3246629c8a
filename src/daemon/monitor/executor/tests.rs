//! The executor over a firewall in memory, under virtual time.

use std::time::Duration;

use super::*;
use crate::adapters::firewall::memory::MemoryDriver;
use crate::core::fixture::{request, settings};
use crate::core::order::{PAGE, Selection};
use crate::model::address::Family;
use crate::model::grant::GrantId;
use crate::model::reason::Rule;
use crate::model::request::CloseRequest;
use crate::model::settings::{CaptureKind, NflogGroup};
use crate::model::time::ClockStep;

pub(super) const START: u64 = 1_000_000;

pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis((START + seconds) * 1000)
}

pub(super) fn open(ticket: u64, user: &str, host: u8, seconds: u64) -> Order {
    Order::Open {
        ticket,
        request: request(user, &format!("192.0.2.{host}/32"), &["tcp/22"], seconds),
    }
}

pub(super) fn close(ticket: u64, user: &str, host: u8) -> Order {
    let request = CloseRequest {
        user: user.to_owned(),
        allow: format!("192.0.2.{host}/32").parse().unwrap(),
        target: None,
        services: Vec::new(),
    };
    Order::Close { ticket, request }
}

pub(super) fn closed(ticket: u64, count: usize) -> Report {
    Report::Closed { ticket, count }
}

fn end(ticket: u64, which: Selection) -> Order {
    Order::End { ticket, which }
}

pub(super) struct Scene {
    pub(super) executor: Executor,
    pub(super) firewall: MemoryDriver,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::over(MemoryDriver::default(), 0)
    }

    pub(super) fn over(firewall: MemoryDriver, seconds: u64) -> Self {
        let settings = settings(&[("alice", &["tcp/22"]), ("bob", &["tcp/22"])]);
        let driver = Box::new(firewall.clone());
        let executor = Executor::open(&settings, driver, None, at(seconds)).unwrap();
        Self { executor, firewall }
    }

    pub(super) fn batches(&self) -> u64 {
        self.firewall.with(|state| state.batches)
    }

    pub(super) fn serve(&mut self, seconds: u64, orders: Vec<Order>) -> Vec<Report> {
        let reports = self.executor.serve(at(seconds), orders);
        self.check();
        reports
    }

    pub(super) fn check(&self) {
        if self.firewall.with(|state| state.failing.is_none()) {
            assert_eq!(self.in_firewall(), self.in_ledger());
        }
    }

    pub(super) fn in_firewall(&self) -> Vec<(String, u64)> {
        self.firewall.with(|state| named(state.open.iter()))
    }

    pub(super) fn in_ledger(&self) -> Vec<(String, u64)> {
        named(self.executor.grants())
    }

    pub(super) fn fail(&self, why: Option<&str>) {
        let why = why.map(str::to_owned);
        self.firewall.with(|state| state.failing = why);
    }
}

fn named<'a>(grants: impl Iterator<Item = &'a Grant>) -> Vec<(String, u64)> {
    let named = |grant: &Grant| {
        let name = format!("{} {}", grant.user, grant.allow.addr());
        (name, grant.until.as_millis() / 1000 - START)
    };
    let mut named: Vec<_> = grants.map(named).collect();
    named.sort();
    named
}

/// The rule of the only report.
fn refused(reports: &[Report]) -> Option<Rule> {
    match reports {
        [Report::Refused { rule, .. }] => Some(*rule),
        _ => None,
    }
}

pub(super) fn one(name: &str, end: u64) -> Vec<(String, u64)> {
    vec![(name.to_owned(), end)]
}

#[test]
fn close_ends_are_batched() {
    let mut scene = Scene::new();
    let millis = |millis| at(0).plus(Duration::from_millis(millis));
    for (begun, address) in [(0, 1), (10, 2), (60, 3)] {
        let order = open(1, "alice", address, 30);
        scene.executor.serve(millis(begun), vec![order]);
    }
    let batches = scene.batches();
    let next = Some(30_100);
    for (now, next) in [(30_000, next), (30_070, next), (30_100, None)] {
        scene.executor.serve(millis(now), vec![]);
        assert_eq!(scene.executor.next_end(), next.map(millis));
    }
    let expected = (vec![], batches + 2);
    assert_eq!((scene.in_firewall(), scene.batches()), expected);
}

#[test]
fn batch_is_one_firewall_step() {
    let mut scene = Scene::new();
    let mut orders: Vec<Order> = (0..100)
        .map(|n| open(n, ["alice", "bob"][n as usize % 2], n as u8 + 1, 30))
        .collect();
    orders.insert(50, open(1000, "eve", 7, 30));
    let before = scene.batches();
    let reports = scene.serve(0, orders);
    assert_eq!((scene.batches() - before, reports.len()), (1, 101));
    assert_eq!(refused(&reports[50..51]), Some(Rule::User));
    assert!(matches!(reports[50], Report::Refused { ticket: 1000, .. }));
    let opened = reports.iter().filter_map(|report| match report {
        Report::Opened { ticket, .. } => Some(*ticket),
        _ => None,
    });
    assert!(opened.eq(0..100));
    assert_eq!(scene.serve(1, vec![]), []);
    assert_eq!(scene.batches() - before, 1, "nothing to do is no step");
}

#[test]
fn last_order_of_a_batch_wins() {
    let mut scene = Scene::new();
    scene.serve(0, vec![open(1, "alice", 7, 30)]);
    let reports = scene.serve(5, vec![close(2, "alice", 7), open(3, "alice", 7, 10)]);
    assert_eq!(reports[0], closed(2, 1));
    assert!(matches!(reports[1], Report::Opened { ticket: 3, .. }));
    // The new grant does not extend the closed one.
    assert_eq!(scene.in_firewall(), one("alice 192.0.2.7", 15));
    let reports = scene.serve(6, vec![open(4, "alice", 7, 30), close(5, "alice", 7)]);
    assert!(matches!(reports[0], Report::Opened { ticket: 4, .. }));
    assert_eq!(reports[1], closed(5, 1));
    assert_eq!(scene.in_firewall(), []);
    let many = (0..20)
        .flat_map(|n| [open(n, "alice", 7, 30), close(100 + n, "alice", 7)])
        .chain([open(99, "alice", 7, 3)])
        .collect();
    assert_eq!(scene.serve(7, many).len(), 41);
    assert_eq!(scene.in_firewall(), one("alice 192.0.2.7", 10));
}

#[test]
fn user_closes_only_own_grants() {
    let mut scene = Scene::new();
    let users = [("alice", 7), ("bob", 7), ("bob", 8), ("bob", 9)];
    let open = users.map(|(user, host)| open(1, user, host, 30));
    scene.serve(0, open.to_vec());
    for (order, count) in [
        (close(5, "alice", 8), 0),
        (end(5, Selection::Id(GrantId(4))), 1),
        (end(5, Selection::Address("192.0.2.7".parse().unwrap())), 2),
        (end(5, Selection::User("alice".to_owned())), 0),
        (end(5, Selection::All), 1),
        (end(5, Selection::All), 0),
    ] {
        let said = format!("{order:?}");
        let is_by_id =
            matches!(&order, Order::End { which, .. } if matches!(which, Selection::Id(_)));
        let mut reports = scene.serve(1, vec![order]);
        if is_by_id {
            // Before the answer: whose grant it was.
            assert!(matches!(&reports[0], Report::Ended { grants } if grants[0].user == "bob"));
            reports.remove(0);
        }
        assert_eq!(reports, [closed(5, count)], "{said}");
    }
    assert_eq!(scene.in_firewall(), []);
    let reports = scene.serve(1, vec![close(11, "eve", 8)]);
    assert_eq!(refused(&reports), Some(Rule::User));
}

#[test]
fn long_list_is_split_into_messages() {
    let mut scene = Scene::new();
    let list = || vec![Order::List { ticket: 9 }];
    let none = scene.serve(0, list());
    assert!(matches!(&none[..], [Report::Grants { grants, more: false, .. }] if grants.is_empty()));
    // A message cannot hold 75 grants with this many services.
    let ports: Vec<String> = (0..400)
        .map(|n| format!("tcp/{}-{}", 10_000 + n * 100, 10_050 + n * 100))
        .collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let both = settings(&[("alice", &["tcp/22"]), ("bob", &ports)]);
    scene.executor.reload(&both, at(0)).unwrap();
    let alices = (0..250_u8).map(|n| open(0, "alice", n, 30));
    let bobs = (0..75_u8).map(|n| Order::Open {
        ticket: 0,
        request: request("bob", &format!("198.51.100.{n}/32"), &ports, 30),
    });
    scene.serve(0, alices.chain(bobs).collect());
    let reports = scene.serve(0, list());
    let mut ids = Vec::new();
    for (at, report) in reports.iter().enumerate() {
        assert!(crate::core::order::encode(report).is_ok(), "{at}");
        let Report::Grants { grants, more, .. } = report else {
            panic!("{report:?}")
        };
        assert!((1..=PAGE).contains(&grants.len()));
        assert_eq!(*more, at + 1 < reports.len());
        ids.extend(grants.iter().map(|listed| listed.grant.id.0));
    }
    assert_eq!(ids, (1..=325).collect::<Vec<_>>());
}

#[test]
fn failed_close_is_retried_every_second() {
    let mut scene = Scene::new();
    scene.serve(0, vec![open(1, "alice", 7, 30)]);
    scene.fail(Some("no"));
    assert_eq!(scene.serve(5, vec![close(2, "alice", 7)]), [closed(2, 0)]);
    for second in 6..40 {
        // A close that was asked for is not forgotten until the grant's end.
        assert_eq!(scene.executor.next_end(), Some(at(second)));
        scene.serve(second, vec![]);
        assert_eq!(scene.in_ledger().len(), 1);
    }
    scene.fail(None);
    scene.serve(40, vec![]);
    assert_eq!((scene.in_ledger(), scene.in_firewall()), (vec![], vec![]));
    assert_eq!(scene.executor.next_end(), None);
}

#[test]
fn failed_install_fails_the_start() {
    let firewall = MemoryDriver::default();
    firewall.with(|state| state.failing = Some("no".to_owned()));
    let settings = settings(&[("alice", &["tcp/22"])]);
    assert!(Executor::open(&settings, Box::new(firewall), None, at(0)).is_err());
}

#[test]
fn changed_firewall_is_restored() {
    let mut scene = Scene::new();
    scene.serve(0, vec![open(1, "alice", 7, 30), open(2, "bob", 8, 60)]);
    scene.executor.check_firewall(at(1));
    scene.check();
    for change in [
        (|state| state.open.clear()) as fn(&mut crate::adapters::firewall::memory::State),
        |state| state.protection = [None, None],
        |state| state.open.truncate(1),
        |state| state.open[0].until = Timestamp::from_millis(u64::MAX),
    ] {
        scene.firewall.with(change);
        scene.executor.check_firewall(at(2));
        let both = [one("alice 192.0.2.7", 30), one("bob 192.0.2.8", 60)].concat();
        assert_eq!(scene.in_firewall(), both);
        assert!(
            scene
                .firewall
                .with(|state| state.protection.iter().all(Option::is_some))
        );
    }
    scene.firewall.with(|state| state.open.clear());
    scene.fail(Some("no"));
    scene.executor.check_firewall(at(3));
    scene.fail(None);
    // Alice's time is over by now, and nobody has closed it yet.
    scene.executor.check_firewall(at(30));
    scene.check();
    assert_eq!(scene.in_firewall(), one("bob 192.0.2.8", 60));
}

#[test]
fn shared_grant_passes_no_trial() {
    let mut scene = Scene::new();
    scene.executor.begin_trial(at(600));
    let share = |ticket| Order::Share {
        ticket,
        request: request("alice", "192.0.2.7/32", &["tcp/22"], 60),
    };
    scene.serve(0, vec![share(1), share(2)]);
    assert_eq!(scene.in_firewall(), one("alice 192.0.2.7", 60));
    assert!(scene.executor.trial_end().is_some());
    // The other gates hear of what a reload closes.
    let bob = settings(&[("bob", &["tcp/22"])]);
    scene.executor.reload(&bob, at(1)).unwrap();
    let ended = scene.executor.take_ended();
    let [Report::Ended { grants }] = &ended[..] else {
        panic!("{ended:?}");
    };
    assert_eq!((grants.len(), grants[0].id), (1, GrantId(1)));
    assert_eq!(scene.executor.take_ended(), []);
}

#[test]
fn clock_step_keeps_the_time_left() {
    let mut scene = Scene::new();
    scene.serve(5000, vec![open(1, "alice", 7, 30), open(2, "bob", 8, 60)]);
    scene.executor.begin_trial(at(5600));
    let back = ClockStep::Back(Duration::from_secs(4000));
    scene.executor.clock_was_set(back);
    scene.fail(Some("no"));
    scene.executor.check_firewall(at(1001));
    let reports = scene.serve(1002, vec![open(3, "bob", 9, 10)]);
    assert_eq!(refused(&reports), Some(Rule::Firewall));
    scene.fail(None);
    let not_yet = [one("alice 192.0.2.7", 5030), one("bob 192.0.2.8", 5060)];
    assert_eq!(scene.in_firewall(), not_yet.concat());
    let ends = (scene.executor.trial_end(), scene.executor.next_end());
    assert_eq!(ends, (Some(at(1600)), Some(at(1030))));
    // First, the expiry times are corrected.
    scene.serve(1003, vec![close(4, "alice", 7), open(5, "bob", 9, 10)]);
    let corrected = [one("bob 192.0.2.8", 1060), one("bob 192.0.2.9", 1013)];
    assert_eq!(scene.in_firewall(), corrected.concat());
    let forward = ClockStep::Forward(Duration::from_secs(100_000));
    scene.executor.clock_was_set(forward);
    scene.executor.check_firewall(at(101_003));
    scene.check();
    let later = [one("bob 192.0.2.8", 101_060), one("bob 192.0.2.9", 101_013)];
    assert_eq!(scene.in_firewall(), later.concat());
}

#[test]
fn clock_set_back_extends_no_grant() {
    let mut scene = Scene::new();
    let orders = vec![open(1, "alice", 7, 30), open(2, "bob", 8, 600)];
    scene.serve(50_000, orders);
    let mut later = Scene::over(scene.firewall, 10);
    later.check();
    let both = [one("alice 192.0.2.7", 3610), one("bob 192.0.2.8", 3610)];
    assert_eq!(later.in_firewall(), both.concat());
    later.serve(3610, vec![]);
    assert_eq!(later.in_firewall(), []);
}

#[test]
fn grant_is_closed_once_in_a_batch() {
    let mut scene = Scene::new();
    let bobs = [8, 9].map(|host| open(2, "bob", host, 60));
    scene.serve(0, [&[open(1, "alice", 7, 30)], &bobs[..]].concat());
    let all = |ticket| end(ticket, Selection::All);
    let reports = scene.serve(30, vec![close(4, "bob", 8), all(5), all(6)]);
    // Alice's has expired, and each of bob's is closed by the first order.
    assert_eq!(reports, [closed(4, 1), closed(5, 1), closed(6, 0)]);
    let turnover = scene.executor.tally().turnover;
    assert_eq!((turnover.opened, turnover.closed), (3, 3));
}

#[test]
fn kernel_without_nflog_hides_all_the_same() {
    let firewall = MemoryDriver::default();
    firewall.with(|state| state.lacks_nflog = true);
    let mut with_group = settings(&[("alice", &["tcp/22"])]);
    let plain = with_group.protection();
    with_group.firewall.nflog_group = NflogGroup::Group(7);
    let driver = Box::new(firewall.clone());
    let mut executor = Executor::open(&with_group, driver, None, at(0)).unwrap();
    let hides =
        || firewall.with(|state| state.protection == [Some(plain.clone()), Some(plain.clone())]);
    assert!(hides());
    executor.reload(&with_group, at(1)).unwrap();
    assert!(hides());
    executor.check_firewall(at(2));
    assert_eq!(executor.repairs(), 0, "nothing is missing");
}

#[test]
fn gate_without_its_sensor_hides_and_fails() {
    let firewall = MemoryDriver::default();
    firewall.with(|state| state.lacks_nflog = true);
    let mut config = settings(&[("alice", &["tcp/22"])]);
    let plain = Some(config.protection());
    config.gate.capture = CaptureKind::Nflog(5);
    let driver = Box::new(firewall.clone());
    let opened = Executor::open(&config, driver, None, at(0));
    let why = opened.err().unwrap().to_string();
    let cure = "no rule can send knocks to group 5 of NFLOG; write capture = \"packet\" in [gate]";
    assert!(why.ends_with(cure), "{why}");
    firewall.with(|state| assert_eq!(state.protection, [plain.clone(), plain]));
}

/// A service that the new config does not name must not be open to everyone in one family.
#[test]
fn half_done_reload_is_undone() {
    let less = settings(&[("alice", &["tcp/22"])]);
    let more = settings(&[("alice", &["tcp/22"]), ("bob", &["tcp/22", "tcp/80"])]);
    let protects = |scene: &Scene, settings: &Settings| {
        let wanted = Some(settings.protection());
        scene
            .firewall
            .with(|state| state.protection.iter().all(|found| *found == wanted))
    };
    let mut scene = Scene::new();
    scene.executor.reload(&more, at(0)).unwrap();
    scene.serve(0, vec![open(1, "bob", 7, 60)]);

    // One family keeps failing: the other goes back.
    scene.fail(Some("no"));
    scene
        .firewall
        .with(|state| state.failing_family = Some(Family::V6));
    assert!(scene.executor.reload(&less, at(1)).is_err());
    assert!(protects(&scene, &more));
    assert_eq!(scene.in_firewall(), one("bob 192.0.2.7", 60));

    // Neither family can go back: each look tries it, though the driver finds what it installed.
    for working in 0..4 {
        scene.fail(None);
        scene.firewall.with(|state| {
            (state.failing_family, state.working) = (None, Some(working));
        });
        let reloaded = scene.executor.reload(&less, at(2));
        assert_eq!(reloaded.is_ok(), working > 1);
        scene.executor.check_firewall(at(2));
        scene.fail(None);
        scene.firewall.with(|state| state.working = None);
        scene.executor.check_firewall(at(3));
        let in_force = if working > 1 { &less } else { &more };
        assert!(protects(&scene, in_force), "after {working} steps");
        scene.executor.reload(&more, at(3)).unwrap();
    }
}

/// What is reported as refused is not open (invariant 10).
#[test]
fn refused_open_after_clock_step_is_shut() {
    let mut scene = Scene::new();
    scene.serve(5000, vec![open(1, "alice", 7, 30)]);
    let back = ClockStep::Back(Duration::from_secs(4000));
    scene.executor.clock_was_set(back);
    // The end times can be rewritten, in both families, and then nothing can be opened.
    scene.firewall.with(|state| state.working = Some(2));
    let orders = vec![open(2, "bob", 8, 10), open(3, "alice", 7, 60)];
    let reports = scene.executor.serve(at(1001), orders);
    assert_eq!(
        reports
            .iter()
            .filter(|one| matches!(one, Report::Refused { .. }))
            .count(),
        2
    );
    assert_eq!(scene.in_firewall(), one("alice 192.0.2.7", 1030));
    assert_eq!(scene.in_ledger(), scene.in_firewall());
    // What is over then is closed once.
    scene.fail(None);
    scene
        .executor
        .clock_was_set(ClockStep::Back(Duration::from_secs(1)));
    scene.serve(1029, vec![]);
    assert_eq!(
        (scene.in_firewall(), scene.executor.tally().turnover.closed),
        (vec![], 1)
    );
}
