//! Orders that were announced, over a firewall in memory.

use super::tests::{Scene, at};
use super::*;
use crate::core::fixture::request;
use crate::model::reason::Rule;

impl Scene {
    /// Announces an order of this user. Returns the report, and whether it was asked if the order has come.
    fn announce(&mut self, user: &str, comes: bool) -> (Option<Report>, bool) {
        let mut is_asked = false;
        let mut ask = || {
            is_asked = true;
            comes
        };
        let request = request(user, "192.0.2.7/32", &["tcp/22"], 60);
        let report = self.executor.open_if(at(0), 1, request, &mut ask);
        self.check();
        (report, is_asked)
    }

    fn open(&self) -> usize {
        self.in_firewall().len()
    }
}

#[test]
fn announced_order_opens_when_it_comes() {
    let mut scene = Scene::new();
    assert_eq!(scene.announce("alice", false), (None, true));
    assert_eq!(scene.open(), 0);
    let (report, _) = scene.announce("alice", true);
    assert!(matches!(report, Some(Report::Opened { ticket: 1, .. })));
    assert_eq!(scene.open(), 1);
}

#[test]
fn only_new_grants_are_prepared() {
    let mut scene = Scene::new();
    assert_eq!(scene.announce("mallory", true), (None, false));
    scene.announce("alice", true);
    assert_eq!(scene.announce("alice", true), (None, false));
    assert_eq!(scene.open(), 1);
}

#[test]
fn failed_firewall_is_reported_when_the_order_comes() {
    let mut scene = Scene::new();
    scene.fail(Some("no"));
    let (report, _) = scene.announce("alice", true);
    assert!(matches!(
        report,
        Some(Report::Refused {
            rule: Rule::Firewall,
            ..
        })
    ));
    scene.fail(None);
    scene.announce("alice", true);
    assert_eq!(scene.open(), 1);
}
