//! The engine that a reload or a restart starts, until it serves.

use std::time::Instant;

use super::READY_WITHIN;
use super::cluster_process::ClusterProcess;
use super::engine_process::{EngineFailure, EngineProcess};
use super::launcher::BoundSockets;
use crate::adapters::clock;
use crate::model::settings::Settings;

pub(super) struct Successor {
    pub(super) engine: EngineProcess,
    pub(super) cluster: Option<ClusterProcess>,
    pub(super) settings: Settings,
    pub(super) bound: BoundSockets,
    pub(super) started: Instant,
    /// Reload orders of the old engine that wait for the outcome.
    pub(super) tickets: Vec<u64>,
    /// Its config can come into force.
    pub(super) is_ready: bool,
    /// Since when its config is in force and the old engine was told to finish.
    pub(super) in_force_since: Option<Instant>,
}

impl Successor {
    /// `replaces`: an engine serves, and goes on if this one cannot start.
    pub(super) fn check(&mut self, replaces: bool, buffer: &mut [u8]) {
        if !self.engine.orders(1, buffer).is_empty() {
            self.engine.fail(EngineFailure::EarlyOrder);
        }
        if self.is_ready {
            return;
        }
        let cluster = self.cluster.as_mut();
        let opened = cluster.map_or(Ok(true), |cluster| cluster.has_opened(buffer));
        // An engine without a cluster process opens only `break_glass`, which is better than no engine.
        match if replaces { opened } else { Ok(true) } {
            Err(why) => self.engine.fail(EngineFailure::NoCluster(why)),
            Ok(has_opened) if has_opened && self.engine.is_loaded() => self.is_ready = true,
            Ok(_) if clock::elapsed(self.started) > READY_WITHIN => {
                let failure = if self.engine.is_loaded() {
                    EngineFailure::NoCluster("it does not answer".to_owned())
                } else {
                    EngineFailure::LoadTimeout
                };
                self.engine.fail(failure);
            }
            Ok(_) => {}
        }
    }
}
