//! The engine as the monitor sees it: a child process behind a socket pair.
//!
//! Executes this program again, hands over what the engine needs, exchanges messages with it and ends it. An engine may be hostile:
//! a message costs bounded time and memory, and an engine that breaks the protocol is ended.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use tracing::{info, warn};

use crate::adapters::clock;
use crate::adapters::config::bundle::Bundle;
use crate::adapters::config::disk;
use crate::adapters::ipc::{self, Link, Received};
use crate::adapters::log;
use crate::adapters::process::{self, StartOptions};
use crate::core::order::{self, Order, Report, Start};
use crate::model::counters::EngineCounters;
use crate::model::exit::{ExitError, FAILED};
use crate::model::reason::Rule;
use crate::model::settings::{INTERFACES_MAX, PORTS_MAX, Settings};

const ENGINE_ARGUMENTS: [&str; 1] = ["engine"];

/// So that glibc gives long blocks back as soon as they are free. By itself it stops after the first of a length.
const MALLOC: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072");

/// An engine must be loaded, and serve after it was told to, within this time. A million users take a few seconds.
pub(in crate::daemon::monitor) const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long the monitor waits for an announced order. A fast disk makes a mark durable in this time. An order that comes later is
/// carried out like any other.
const ANNOUNCED_WITHIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

const READ_WITHIN: Duration = Duration::from_secs(10);

/// A hostile engine can make the kernel take longer, for instance with files that are in many pieces.
const END_WITHIN: Duration = Duration::from_millis(300);

/// If this many questions in a row have no answer, the engine's loop hangs. The monitor counts questions, not time, because the host
/// may have slept and the monitor may have been busy.
const UNANSWERED_MAX: u32 = 3;

/// Descriptors besides the captures: config, control socket, metrics listener, attempts, three maps of the hint filter.
const OTHER_DESCRIPTORS: usize = 7;
// Every config that is accepted can be started.
const _: () = assert!(
    INTERFACES_MAX + OTHER_DESCRIPTORS <= ipc::DESCRIPTORS_MAX
        && PORTS_MAX + OTHER_DESCRIPTORS <= ipc::DESCRIPTORS_MAX
);

#[derive(Debug)]
pub(in crate::daemon::monitor) struct EngineProcess {
    child: Child,
    link: Link,
    stage: Stage,
    failure: Option<EngineFailure>,
    figures: Option<Box<EngineCounters>>,
    captures: Vec<String>,
    unanswered: u32,
    /// Reports that did not fit into the socket yet, and since when.
    unsent: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    unread_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::daemon::monitor) enum Stage {
    Loading,
    Loaded,
    Ready,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::daemon::monitor) enum EngineFailure {
    #[error("it ended")]
    Ended,
    #[error("it sent an invalid order: {0}")]
    InvalidOrder(String),
    #[error("it sent an order before it was allowed to serve")]
    EarlyOrder,
    #[error("it does not answer")]
    NoAnswer,
    #[error("it does not read its reports")]
    ReportsUnread,
    #[error("it cannot be sent a report: {0}")]
    Unreachable(String),
    #[error("it did not load within {} seconds", READY_WITHIN.as_secs())]
    LoadTimeout,
    #[error("it did not serve within {} seconds", READY_WITHIN.as_secs())]
    ServeTimeout,
    #[error("it did not end on request")]
    FinishTimeout,
    #[error("the firewall did not take its config: {0}")]
    ConfigRejected(String),
    #[error("its cluster process did not start: {0}")]
    NoCluster(String),
}

impl EngineProcess {
    pub(super) fn start(
        config: BorrowedFd<'_>,
        control: BorrowedFd<'_>,
        descriptors: &[BorrowedFd<'_>],
        start: &Start,
    ) -> Result<Self, ExitError> {
        let (ours, theirs) =
            ipc::pair().map_err(ExitError::system("making the link to the engine"))?;
        let mut env = log::inherited();
        env.push((MALLOC.0, MALLOC.1.to_owned()));
        let options = StartOptions {
            stdin: theirs.into_socket().into(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            env: &env,
        };
        let child = process::start_self(&ENGINE_ARGUMENTS.map(OsStr::new), options)
            .map_err(ExitError::system("starting the engine"))?;
        let mut engine = Self::new(child, ours);
        engine.captures = start.captures.iter().map(ToString::to_string).collect();
        if let Err(stop) = engine.hand_over(config, control, descriptors, start) {
            // It has done nothing yet that takes long.
            let _ = engine.end();
            return Err(stop);
        }
        Ok(engine)
    }

    fn hand_over(
        &self,
        config: BorrowedFd<'_>,
        control: BorrowedFd<'_>,
        descriptors: &[BorrowedFd<'_>],
        start: &Start,
    ) -> Result<(), ExitError> {
        let message = order::encode(start).map_err(|error| ExitError::new(FAILED, error))?;
        let all = [&[config, control], descriptors].concat();
        self.link
            .send_descriptors(&message, &all)
            .map_err(ExitError::system("handing the sockets to the engine"))
    }

    pub(in crate::daemon::monitor) fn new(child: Child, link: Link) -> Self {
        Self {
            child,
            link,
            stage: Stage::Loading,
            failure: None,
            figures: None,
            captures: Vec::new(),
            unanswered: 0,
            unsent: VecDeque::new(),
            unread_since: None,
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.stage >= Stage::Loaded
    }

    pub(super) fn serves(&self) -> bool {
        self.stage == Stage::Ready
    }

    pub(super) fn failure(&self) -> Option<&EngineFailure> {
        self.failure.as_ref()
    }

    pub(super) fn fail(&mut self, failure: EngineFailure) {
        self.failure.get_or_insert(failure);
    }

    pub(super) fn figures(&self) -> Option<&EngineCounters> {
        self.figures.as_deref()
    }

    pub(super) fn captures(&self) -> &[String] {
        &self.captures
    }

    /// What to poll: an order, or space for unsent reports. While reports are unsent, no order is read, so that they do not accumulate.
    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let event = if self.unsent.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        PollFd::from_borrowed_fd(self.link.as_fd(), event)
    }

    /// The orders that have come, from at most `most` messages. A request for the list ends the batch, because its reply may be long.
    pub(super) fn orders(&mut self, most: usize, buffer: &mut [u8]) -> Vec<Order> {
        let mut orders = Vec::new();
        for _ in 0..most {
            if !self.may_order() {
                break;
            }
            let received = self.link.try_receive(buffer);
            if matches!(received, Ok(Received::Nothing)) {
                break;
            }
            orders.extend(self.take(received, buffer));
            if matches!(orders.last(), Some(Order::List { .. })) {
                break;
            }
        }
        orders
    }

    /// Nothing counts after a failure, and reports must not accumulate.
    fn may_order(&self) -> bool {
        self.failure.is_none() && self.unsent.is_empty()
    }

    /// Waits for exactly this message, but not long. If another message comes instead, adds its order to `other`.
    pub(super) fn brings(
        &mut self,
        message: &[u8],
        buffer: &mut [u8],
        other: &mut impl Extend<Order>,
    ) -> bool {
        if !self.may_order() {
            return false;
        }
        let mut link = [PollFd::new(&self.link, PollFlags::IN)];
        if !poll(&mut link, Some(&ANNOUNCED_WITHIN)).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let received = self.link.try_receive(buffer);
        if let Ok(Received::Message(len)) = received
            && buffer.get(..len) == Some(message)
        {
            return true;
        }
        other.extend(self.take(received, buffer));
        false
    }

    /// Takes what was received. An order is for the executor.
    fn take(&mut self, received: io::Result<Received>, buffer: &[u8]) -> Option<Order> {
        let order = match received {
            Ok(Received::Nothing) => return None,
            Ok(Received::Gone) => {
                self.fail(EngineFailure::Ended);
                return None;
            }
            Ok(Received::Message(len)) => {
                order::decode_first(buffer, len).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match order {
            Ok(Order::Loaded) => self.stage = self.stage.max(Stage::Loaded),
            Ok(Order::Ready) => self.ready(),
            Ok(Order::Measured(figures)) => (self.figures, self.unanswered) = (Some(figures), 0),
            Ok(order) => return Some(order),
            Err(why) => self.fail(EngineFailure::InvalidOrder(why)),
        }
        None
    }

    fn ready(&mut self) {
        if self.stage < Stage::Ready {
            self.stage = Stage::Ready;
            info!("the engine serves");
        }
    }

    pub(super) fn ask_figures(&mut self) {
        if !self.serves() {
            return;
        }
        if self.unanswered >= UNANSWERED_MAX {
            self.fail(EngineFailure::NoAnswer);
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.send(&Report::Measure);
    }

    pub(super) fn send(&mut self, report: &Report) {
        self.send_with(report, None);
    }

    /// Sends a report, perhaps with a descriptor.
    pub(super) fn send_with(&mut self, report: &Report, descriptor: Option<OwnedFd>) {
        match order::encode(report) {
            Ok(bytes) => self.unsent.push_back((bytes, descriptor)),
            Err(error) => {
                warn!("a report to the engine is too long: {error}");
                let short = report.ticket().map(|ticket| Report::Refused {
                    ticket,
                    rule: Rule::Firewall,
                    why: error.to_string(),
                });
                let short = short.and_then(|short| order::encode(&short).ok());
                self.unsent.extend(short.map(|bytes| (bytes, None)));
            }
        }
        self.send_unsent();
    }

    pub(super) fn send_unsent(&mut self) {
        while let Some((message, descriptor)) = self.unsent.front() {
            let descriptors = descriptor.as_ref().map(AsFd::as_fd);
            match self.link.try_send_report(message, descriptors.as_slice()) {
                Ok(()) => {
                    self.unsent.pop_front();
                    self.unread_since = None;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.unsent.clear();
                    match error.kind() {
                        // An engine that has ended may have left orders in the socket, so this alone is no failure.
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {}
                        _ => self.fail(EngineFailure::Unreachable(error.to_string())),
                    }
                }
            }
        }
        if self.unsent.is_empty() {
            self.unread_since = None;
            return;
        }
        let since = *self.unread_since.get_or_insert_with(clock::instant);
        if clock::elapsed(since) > READ_WITHIN {
            self.fail(EngineFailure::ReportsUnread);
        }
    }

    /// Kills it. Returns the child if it has not ended in time: the monitor does not wait for it.
    pub(super) fn end(mut self) -> Result<ExitStatus, Child> {
        process::end(&mut self.child, END_WITHIN).ok_or(self.child)
    }

    #[cfg(test)]
    pub(in crate::daemon::monitor) fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }
}

/// Reads and checks the config. The texts, which hold keys, wait in a memory file until an engine has read and wiped it.
pub(in crate::daemon::monitor) fn load(path: &Path) -> Result<(OwnedFd, Settings), ExitError> {
    let (bundle, settings) = disk::load_and_keep(path)?;
    let config = in_memory(&bundle);
    let config = config.map_err(ExitError::system("handing the config to the engine"))?;
    Ok((config, settings))
}

pub(super) fn in_memory(bundle: &Bundle) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("postern-config", MemfdFlags::CLOEXEC)?);
    bundle.write_to(&mut file)?;
    Ok(file.into())
}
