//! Keeps a grant open: knocks before it ends, when the way to the gate changes, and after a suspend.
//!
//! Works on a thread of its own, because a wait for the port must not delay signals or the end of a command.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::attempts::OpenPort;
use super::codes::{AskProgram, Codes};
use super::knock::SentKnock;
use super::network_watch::{self, NetworkEvent};
use super::open_grant::OpenGrant;
use super::until_open::Awaited;
use super::wake::{Alarm, Waker};
use crate::adapters::clock;
use crate::adapters::routes::{NextHop, Routes};
use crate::model::exit::{ExitError, FAILED};

/// A new address comes with many events: it is new when none has come for this long, or after the longest burst.
const QUIET: Duration = Duration::from_millis(100);
const LONGEST_BURST: Duration = Duration::from_millis(500);
/// How long to knock after a change, until the port opens.
const REOPEN_WITHIN: Duration = Duration::from_secs(10);
const ORDERS_MAX: usize = 16;
/// The pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// How to keep a grant open.
pub(crate) struct Keeping {
    /// The time until the first knock.
    pub(crate) first: Duration,
    /// The time between knocks while nothing changes.
    pub(crate) interval: Duration,
    /// What shows that the gate is open.
    pub(crate) port: Option<u16>,
    /// Gives a new one-time code for each wait, if they need one.
    pub(crate) code: Option<AskProgram>,
    /// Whether the first knock has opened the port.
    pub(crate) is_open: bool,
}

/// What happened meanwhile.
pub(crate) enum Kept<'a> {
    /// A knock after a change.
    Sent(&'a SentKnock),
    /// Open again after a change.
    Open(&'a OpenPort, &'a [SentKnock]),
    NotOpen(Duration, &'a [SentKnock]),
    Failed(&'a ExitError),
}

type Tell = Box<dyn FnMut(Kept<'_>) + Send>;

#[derive(Debug)]
enum Order {
    Network(NetworkEvent),
    Stop,
}

/// A grant that is kept open until [`Keeper::stop`].
#[derive(Debug)]
pub(crate) struct Keeper {
    orders: SyncSender<Order>,
    waker: Waker,
    thread: JoinHandle<Ended>,
}

/// The grant, and how often it was renewed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) grant: OpenGrant,
    pub(crate) renewals: u32,
}

impl Keeper {
    /// Without the right to watch the network, it still knocks before the grant ends.
    pub(crate) fn start(grant: OpenGrant, keeping: Keeping, alarm: Alarm, mut tell: Tell) -> Self {
        let (orders, received) = sync_channel(ORDERS_MAX);
        let events = orders.clone();
        // One event of many is enough.
        let has_receiver = move |event| {
            let sent = events.try_send(Order::Network(event));
            !matches!(sent, Err(TrySendError::Disconnected(_)))
        };
        if let Err(error) = network_watch::watch(has_receiver) {
            tell(Kept::Failed(&unwatched(error)));
        }
        let waker = alarm.waker();
        let mut work = Work {
            hops: hops(&grant),
            due: clock::since_boot().saturating_add(keeping.first),
            is_open: keeping.is_open,
            failure: None,
            renewals: 0,
            grant,
            keeping,
            alarm,
            orders: received,
            tell,
        };
        let thread = thread::spawn(move || {
            while work.next() {}
            Ended {
                grant: work.grant,
                renewals: work.renewals,
            }
        });
        Self {
            orders,
            waker,
            thread,
        }
    }

    /// Ends the work, also in the middle of a wait for the port.
    pub(crate) fn stop(self) -> Result<Ended, ExitError> {
        self.waker.stop();
        let _ = self.orders.send(Order::Stop);
        let what = "the renewal of the grant failed; the grant ends by itself";
        self.thread.join().map_err(|_| ExitError::new(FAILED, what))
    }
}

fn unwatched(error: std::io::Error) -> ExitError {
    let what = format!("cannot watch this machine's network: {error}; a new address waits");
    ExitError::new(FAILED, what)
}

struct Work {
    grant: OpenGrant,
    keeping: Keeping,
    alarm: Alarm,
    orders: Receiver<Order>,
    tell: Tell,
    /// The ways to the gate at the last knock.
    hops: Hops,
    /// When to knock again, counted from the start of the system: a suspend counts as well.
    due: Duration,
    is_open: bool,
    /// The last failure, which is told once.
    failure: Option<String>,
    renewals: u32,
}

/// The way to each address of the gate; `None` if there is no route.
type Hops = Vec<(SocketAddr, Option<NextHop>)>;

impl Work {
    /// Waits for the next reason to knock, and knocks. Returns false at the end.
    fn next(&mut self) -> bool {
        let left = self.due.saturating_sub(clock::since_boot());
        let event = match self.orders.recv_timeout(left) {
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(Order::Network(event)) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
        };
        if let Some(first) = event {
            let Some(has_clock_event) = self.end_of_burst(first) else {
                return false;
            };
            if !self.is_changed(has_clock_event) {
                return true;
            }
            self.is_open = false;
        }
        // Bursts of changes must not use up the quota that renewals need.
        let room = self.grant.until_room();
        if !self.is_open && !room.is_zero() {
            self.due = clock::since_boot().saturating_add(room);
            return true;
        }
        let pause = match self.knock() {
            _ if self.alarm.is_stopped() => return false,
            Ok(pause) => pause,
            Err(error) => {
                if self.failure.as_ref() != Some(&error.message) {
                    (self.tell)(Kept::Failed(&error));
                }
                self.failure = Some(error.message);
                RETRY_PAUSE
            }
        };
        self.due = clock::since_boot().saturating_add(pause);
        true
    }

    /// Whether the clock was among the events; `None` at the end of the work.
    fn end_of_burst(&self, first: NetworkEvent) -> Option<bool> {
        let start = clock::instant();
        let mut has_clock_event = first == NetworkEvent::Clock;
        while clock::elapsed(start) < LONGEST_BURST {
            match self.orders.recv_timeout(QUIET) {
                Ok(Order::Network(event)) => has_clock_event |= event == NetworkEvent::Clock,
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        Some(has_clock_event)
    }

    /// Whether to knock at once. Without a route it is of no use.
    fn is_changed(&mut self, has_clock_event: bool) -> bool {
        let now = hops(&self.grant);
        let is_changed = has_clock_event || now.is_empty() || now != self.hops;
        let has_route = now.is_empty() || now.iter().any(|(_, hop)| hop.is_some());
        self.hops = now;
        is_changed && has_route
    }

    /// Knocks, and returns the time until the next knock.
    fn knock(&mut self) -> Result<Duration, ExitError> {
        let first = self.keeping.code.as_ref().map(|ask| ask()).transpose()?;
        let more = self.keeping.code.clone();
        let codes = Codes { first, more };
        self.hops = hops(&self.grant);
        self.is_open = match self.keeping.port {
            Some(port) if !self.is_open => self.reopen(port, codes)?,
            _ => self.grant.knock(codes).map(|_| true)?,
        };
        if !self.is_open {
            return Ok(RETRY_PAUSE);
        }
        self.failure = None;
        self.renewals = self.renewals.saturating_add(1);
        Ok(self.keeping.interval)
    }

    fn reopen(&mut self, port: u16, codes: Codes) -> Result<bool, ExitError> {
        let (service, tell) = (Awaited::AtGate(port), &mut self.tell);
        let mut tell_sent = |sent: &SentKnock| tell(Kept::Sent(sent));
        let (alarm, limit) = (&self.alarm, REOPEN_WITHIN);
        let waited = self
            .grant
            .until_open(&service, limit, codes, alarm, &mut tell_sent)?;
        let is_open = waited.result.is_ok();
        match waited.result {
            Ok(connected) => (self.tell)(Kept::Open(&connected.port, &waited.sent)),
            Err(_) if alarm.is_stopped() || self.failure.is_some() => {}
            Err(_) => {
                self.failure = Some(String::new());
                (self.tell)(Kept::NotOpen(limit, &waited.sent));
            }
        }
        Ok(is_open)
    }
}

fn hops(grant: &OpenGrant) -> Hops {
    let mut routes = Routes::open().ok();
    let mut hop = |gate: SocketAddr| routes.as_mut()?.next_hop(gate.ip()).ok();
    let gates = grant.gates().into_iter();
    gates.map(|gate| (gate, hop(gate))).collect()
}
