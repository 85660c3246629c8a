//! What can happen in the daemon, and what can be broken in it.

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The user knocks from the next address.
    Knock,
    /// The user closes what the last knock opened.
    Close,
    /// The first knock comes once more.
    First,
    /// The last knock comes once more.
    Last,
    /// The disk completes the oldest commit, and the engine is informed.
    Stored,
    /// The disk refuses the oldest commit; the engine ends, and another begins.
    Refused,
    /// The monitor serves the oldest order.
    Served,
    /// The engine dies with all that is under way in it, and another begins.
    EngineDies,
    /// The same, but the disk had done its work already.
    EngineDiesLate,
    /// Monitor and engine die.
    MonitorDies,
    /// A monitor starts, and then its engine.
    MonitorBegins,
    /// A new engine takes over with another config: the old one finishes its pending work, while knocks wait for the new one.
    HandOver,
    /// Time passes for everyone.
    Pass,
    /// Somebody sets the engine's clock back.
    Back,
    /// The firewall begins to fail, or to work again.
    Fail,
    /// The firewall begins to fail after one more change of one family.
    FailSoon,
    /// Another program empties the firewall; the monitor checks it within a second.
    Flush,
}

pub const EVENTS: [Event; 17] = [
    Event::Knock,
    Event::First,
    Event::Stored,
    Event::Served,
    Event::EngineDies,
    Event::EngineDiesLate,
    Event::MonitorDies,
    Event::MonitorBegins,
    Event::Pass,
    Event::Back,
    Event::HandOver,
    Event::Last,
    Event::Close,
    Event::Refused,
    Event::Fail,
    Event::Flush,
    Event::FailSoon,
];

/// What some part of the daemon may be made to do wrong, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk says that it has done what it has not done.
    LyingDisk,
    /// An engine begins as if nothing were on the disk.
    EmptyDisk,
    /// The monitor closes nothing by itself.
    SleepingMonitor,
    /// A monitor begins by emptying the firewall.
    CleaningMonitor,
    /// The firewall makes grants longer.
    GenerousFirewall,
    /// The firewall opens grants without an order.
    OpenFirewall,
}
