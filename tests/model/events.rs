//! What can happen in the cluster of the model, and what its properties look at.

use std::time::Duration;

use postern::model::time::Timestamp;

/// How often the network delivers one knock to one gate.
const COPIES: u8 = 2;

/// What can happen at one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The network delivers a copy of the knock.
    Arrives,
    /// The disk has written the oldest mark.
    Stored,
    /// The disk fails to write it.
    DiskFails,
    /// A message of the cluster process comes.
    Told(Reply),
    /// The coordinator tells what a gate has published: late, again, or never.
    Hears(usize),
    /// The monitor carries out the oldest order.
    Ordered,
    /// The administrator closes all grants.
    Closes,
    /// The engine dies, and the monitor starts another.
    EngineDies,
    /// The cluster process dies, and the monitor starts another.
    ClusterDies,
    /// The monitor dies, and the engine with it.
    MonitorDies,
    MonitorStarts,
    Passes,
}

/// What the cluster process answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reply {
    Won { ticket: u64 },
    Lost { ticket: u64, made: Timestamp },
    CodeLost { ticket: u64 },
    Unknown { ticket: u64 },
    Back { number: u64 },
}

/// What the engine asks the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Asked {
    Claim {
        ticket: u64,
        /// The number of the knock.
        knock: u8,
        has_code: bool,
        made: Timestamp,
        lasts_ms: u64,
        /// What is published if it is won.
        publishes: Option<usize>,
    },
    Publish(usize),
    Probe {
        number: u64,
    },
}

/// What the properties look at. The gate does not see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// How many links between engine and cluster process there were.
    pub(crate) links: u8,
    pub(crate) is_monitor_alive: bool,
    /// Orders given for the knock.
    pub(crate) orders: u8,
    /// An order was given before its mark was durable.
    pub(crate) was_early: bool,
    /// An order was given after the deadline of its claim.
    pub(crate) was_late: bool,
    pub(crate) is_open: bool,
    /// A grant is open past its end, though somebody could end it.
    pub(crate) is_overdue: bool,
    /// A grant is open that opened after this gate knew that it is closed.
    pub(crate) is_reopened: bool,
    /// A grant is open that no gate has admitted.
    pub(crate) is_made_up: bool,
    /// The living engine knows that the grant is closed.
    pub(crate) knows_close: bool,
    pub(crate) opened_late: bool,
    pub(crate) shares: bool,
    pub(crate) has_cluster: bool,
    pub(crate) copies: u8,
    pub(crate) waits_for_disk: bool,
    pub(crate) has_orders: bool,
}

impl Facts {
    pub(crate) fn may(&self, event: Event) -> bool {
        match event {
            Event::Arrives => self.is_monitor_alive && !self.shares && self.copies < COPIES,
            Event::Stored | Event::DiskFails => self.waits_for_disk,
            Event::Ordered => self.has_orders,
            Event::MonitorStarts => !self.is_monitor_alive,
            Event::Passes => true,
            Event::Closes => self.is_open && self.shares && self.is_monitor_alive,
            Event::ClusterDies => self.is_monitor_alive && self.has_cluster && !self.shares,
            _ => self.is_monitor_alive,
        }
    }
}

/// How a gate is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Setup {
    pub(crate) has_cluster: bool,
    /// Gates share their grants.
    pub(crate) shares: bool,
    /// Each gate gets another knock, and all have the same one-time code.
    pub(crate) has_codes: bool,
    /// The number of the gate.
    pub(crate) number: u8,
    /// The kernel ends grants. Otherwise only the monitor does.
    pub(crate) kernel_ends: bool,
    /// How far the engine's clock is behind.
    pub(crate) behind: Duration,
}
