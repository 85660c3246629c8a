//! Repeated knocks, renewals and the end of a user, over a firewall in memory.

use std::time::Duration;

use super::tests::{Scene, at, close, closed, one, open};
use super::*;
use crate::core::fixture::settings;
use crate::model::grant::GrantId;
use crate::model::reason::Rule;

#[test]
fn knocks_of_one_wait_extend_one_grant() {
    let mut scene = Scene::new();
    let before = scene.batches();
    let times = [0, 250, 500, 1000, 2000, 3000];
    for (ticket, millis) in (1..).zip(times) {
        let now = at(0).plus(Duration::from_millis(millis));
        let reports = scene
            .executor
            .serve(now, vec![open(ticket, "alice", 7, 30)]);
        let [Report::Opened { grant, .. }] = &reports[..] else {
            panic!("{reports:?}")
        };
        assert!(grant.id == GrantId(1) && grant.until.since(now) > Duration::from_secs(29));
        scene.check();
    }
    assert_eq!(scene.in_firewall(), one("alice 192.0.2.7", 33));
    let turnover = scene.executor.tally().turnover;
    assert_eq!((turnover.opened, turnover.extended), (1, 5));
    assert_eq!(scene.batches() - before, 4, "small gains change nothing");
    let listed = scene.serve(4, vec![Order::List { ticket: 9 }]);
    let is_right =
        |report: &Report| matches!(report, Report::Grants { grants, .. } if grants[0].knocks == 6);
    assert!(is_right(&listed[0]), "{listed:?}");
    scene.serve(33, vec![]);
    assert_eq!(scene.in_firewall(), []);
}

#[test]
fn short_grants_have_no_gap() {
    let mut scene = Scene::new();
    for millis in (0..5000).step_by(400) {
        let now = at(0).plus(Duration::from_millis(millis));
        scene.executor.serve(now, vec![]);
        assert!(millis == 0 || scene.in_firewall().len() == 1, "{millis}");
        let orders = vec![open(1, "alice", 7, 1)];
        assert_eq!(scene.executor.serve(now, orders).len(), 1);
    }
}

#[test]
fn repeat_of_failed_knock_is_refused() {
    let mut scene = Scene::new();
    scene.fail(Some("no"));
    for _ in 0..2 {
        let orders = vec![open(1, "alice", 7, 30), open(2, "alice", 7, 30)];
        let reports = scene.serve(0, orders);
        assert!(
            reports
                .iter()
                .all(|one| matches!(one, Report::Refused { .. }))
        );
    }
    scene.fail(None);
    scene.serve(0, vec![open(3, "alice", 7, 30)]);
    scene.fail(Some("no"));
    assert_eq!(scene.serve(0, vec![close(4, "alice", 7)]), [closed(4, 0)]);
    scene.fail(None);
    // The knock cancels the failed close, and nothing is due.
    scene.serve(0, vec![open(5, "alice", 7, 30)]);
    scene.serve(2, vec![]);
    assert_eq!(scene.in_firewall(), one("alice 192.0.2.7", 30));
}

#[test]
fn knock_at_its_end_extends_a_grant() {
    let mut scene = Scene::new();
    scene.serve(0, vec![open(1, "alice", 7, 30)]);
    let reports = scene.serve(30, vec![open(2, "alice", 7, 30)]);
    assert!(matches!(reports[..], [Report::Opened { .. }]));
    assert_eq!(scene.in_firewall(), one("alice 192.0.2.7", 60));
    assert_eq!(scene.executor.tally().turnover.closed, 0);
}

#[test]
fn renewal_during_a_failing_close_opens() {
    let mut scene = Scene::new();
    scene.serve(0, vec![open(1, "alice", 7, 30)]);
    scene.fail(Some("no"));
    scene.serve(30, vec![]);
    scene.fail(None);
    let reports = scene.serve(30, vec![open(2, "alice", 7, 30)]);
    assert!(matches!(reports[..], [Report::Opened { .. }]));
    assert_eq!(scene.in_firewall(), one("alice 192.0.2.7", 60));
    scene.serve(60, vec![]);
    assert_eq!(scene.in_firewall(), []);
}

#[test]
fn grants_end_with_their_user() {
    let with_end = |seconds| {
        let mut settings = settings(&[("alice", &["tcp/22"]), ("bob", &["tcp/22"])]);
        settings.policies[0].expires = Some(at(seconds));
        settings
    };
    let ends = |scene: &Scene| -> Vec<Timestamp> {
        let mut held = scene.firewall.with(|state| state.open.clone());
        held.sort_by_key(|grant| grant.id);
        let known: Vec<Grant> = scene.executor.grants().cloned().collect();
        assert_eq!(held, known, "firewall and ledger agree");
        held.iter().map(|grant| grant.until).collect()
    };
    let mut scene = Scene::new();
    let orders = vec![open(1, "alice", 1, 600), open(2, "bob", 1, 600)];
    scene.executor.serve(at(0), orders);
    assert_eq!(ends(&scene), [at(600), at(600)]);
    // A reload brings the end nearer.
    scene.executor.reload(&with_end(100), at(10)).unwrap();
    assert_eq!(ends(&scene), [at(100), at(600)]);
    scene.executor.serve(
        at(20),
        vec![open(3, "alice", 1, 600), open(4, "alice", 2, 600)],
    );
    assert_eq!(ends(&scene), [at(100), at(600), at(100)]);
    // So does a clock that is set forward: the end is a time of the clock.
    scene
        .executor
        .clock_was_set(ClockStep::Forward(Duration::from_secs(50)));
    scene.executor.check_firewall(at(80));
    assert_eq!(ends(&scene), [at(100), at(650), at(100)]);
    assert_eq!(scene.executor.next_end(), Some(at(100)));
    scene.executor.serve(at(100), Vec::new());
    assert_eq!(ends(&scene), [at(650)]);
    let refused = scene
        .executor
        .serve(at(101), vec![open(5, "alice", 1, 600)]);
    assert!(matches!(
        refused[..],
        [Report::Refused {
            rule: Rule::Expired,
            ..
        }]
    ));
    scene.executor.reload(&with_end(90), at(102)).unwrap();
    assert_eq!(ends(&scene), [at(650)]);
}

#[test]
fn a_restart_keeps_the_users_end() {
    let mut scene = Scene::new();
    scene.executor.serve(at(0), vec![open(1, "alice", 1, 600)]);
    let mut settings = settings(&[("alice", &["tcp/22"])]);
    for (end, left) in [(100, 1), (20, 0)] {
        settings.policies[0].expires = Some(at(end));
        let driver = Box::new(scene.firewall.clone());
        scene.executor = Executor::open(&settings, driver, None, at(30)).unwrap();
        let ends: Vec<Timestamp> = scene.executor.grants().map(|grant| grant.until).collect();
        assert_eq!(ends, vec![at(end); left]);
    }
}
