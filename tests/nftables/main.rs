//! The nftables driver against the real kernel, each test in network namespaces of its own, with the program `nft` as a second opinion.
//!
//! Owns the gate that all of them set up. Needs root; changes nothing of the host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_docs
)]

mod forward;
mod grants;
mod holders;
mod repair;
mod scale;
mod space;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::backend::nftables::Nftables;
use postern::backend::{Backend, BackendError, Change};
use postern::grant::{Grant, GrantId};
use postern::settings::Protection;
use postern::time::Timestamp;

use space::Space;

/// When all tests play; only differences reach the kernel.
pub const NOW: Timestamp = Timestamp::from_millis(1_795_341_600_000);

pub const KNOCK_PORT: u16 = 62201;

/// A namespace with the driver at work in it.
#[derive(Clone)]
pub struct Gate {
    pub space: Arc<Space>,
    driver: Arc<Mutex<Option<Nftables>>>,
}

impl Gate {
    pub fn plain() -> Self {
        let space = Arc::new(Space::new());
        let mut driver = space.run(|| Nftables::open().unwrap());
        driver.tick(NOW);
        Self { space, driver: Arc::new(Mutex::new(Some(driver))) }
    }

    /// The driver is used from another thread and namespace here, as its socket keeps the one it was made in.
    pub fn driver<R>(&self, act: impl FnOnce(&mut Nftables) -> R) -> R {
        act(self.driver.lock().unwrap().as_mut().unwrap())
    }

    /// What the kernel does alone from here on.
    pub fn kill_driver(&self) {
        *self.driver.lock().unwrap() = None;
    }

    pub fn install(&self, services: &[&str], live: &[Grant]) {
        self.driver(|driver| driver.install(&protection(services), live)).unwrap();
    }

    pub fn apply(&self, change: Change) -> Result<(), BackendError> {
        let mut results = self.driver(|driver| driver.apply(&[change]));
        assert_eq!(results.len(), 1);
        results.remove(0)
    }

    pub fn open(&self, grant: &Grant) {
        self.apply(Change::Open(grant.clone())).unwrap();
    }

    pub fn close(&self, grant: &Grant) {
        self.apply(Change::Close(grant.clone())).unwrap();
    }

    pub fn list(&self) -> Vec<Grant> {
        self.driver(Backend::list).unwrap()
    }

    pub fn nft(&self, line: &str) -> String {
        self.space.sh(&format!("nft {line}"))
    }

    /// Elements of a set as `nft` counts them.
    pub fn elements(&self, set: &str) -> usize {
        let text = self.nft(&format!("-j list set inet postern {set}"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["nftables"][1]["set"]["elem"].as_array().map_or(0, Vec::len)
    }
}

pub fn protection(services: &[&str]) -> Protection {
    Protection {
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        knock_ports: vec![KNOCK_PORT],
        silence_knocks: true,
        ..Protection::default()
    }
}

/// A grant of alice for a minute.
pub fn grant(id: u64, allow: &str, services: &[&str]) -> Grant {
    Grant {
        id: GrantId(id),
        user: "alice".to_owned(),
        allow: allow.parse().unwrap(),
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        forwards: Vec::new(),
        until: NOW.plus(Duration::from_secs(60)),
    }
}

pub fn lasting(mut grant: Grant, millis: u64) -> Grant {
    grant.until = NOW.plus(Duration::from_millis(millis));
    grant
}

/// A gate with a client beside it: 192.0.2.1 and 2001:db8::1 here, .7 and .8 there, port 22 and others served.
pub fn gate_and_client() -> (Gate, Space) {
    let (gate, client) = (Gate::plain(), Space::new());
    gate.space.link(
        &client,
        "wire",
        &["192.0.2.1/24", "2001:db8::1/64"],
        &["192.0.2.7/24", "192.0.2.8/24", "2001:db8::7/64", "2001:db8::8/64"],
    );
    gate.space.serve(22);
    let linked = || client.reaches("192.0.2.8", "192.0.2.1", 22) && client.reaches("2001:db8::8", "2001:db8::1", 22);
    assert!(space::wait_until(linked, Duration::from_secs(10)).is_some(), "the link does not come up");
    (gate, client)
}
