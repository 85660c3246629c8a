//! The engine as the monitor sees it: a child process behind a link.
//!
//! Starts it by executing this very program again, hands everything over, hears and tells it, and ends it. What an engine says
//! may be hostile: it costs bounded time and memory, and one that talks nonsense or does not listen is of no more use.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{MemfdFlags, memfd_create};
use tracing::{info, warn};

use crate::adapters::clock;
use crate::adapters::config::bundle::Bundle;
use crate::adapters::ipc::{self, Link, Received};
use crate::adapters::log;
use crate::adapters::process::{self, Wiring};
use crate::core::order::{self, CaptureSpec, Order, Report, Start};
use crate::model::counters::EngineCounters;
use crate::model::exit::{ExitError, FAILED};
use crate::model::reason::Rule;
use crate::model::settings::{INTERFACES_MAX, PORTS_MAX};

/// An engine that takes no report for so long does not listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// An engine that leaves so many questions in a row without an answer has its loop stuck. A question is asked every few seconds,
/// so neither a host that was asleep nor a monitor that was busy is taken for that.
const UNANSWERED_MAX: u32 = 3;

/// Config, control socket, listener for the figures, and the two maps of a hint filter.
const BESIDES: usize = 5;
// A config that is accepted can be started.
const _: () = assert!(
    INTERFACES_MAX + BESIDES <= ipc::DESCRIPTORS_MAX && PORTS_MAX + BESIDES <= ipc::DESCRIPTORS_MAX
);

/// A running engine.
#[derive(Debug)]
pub(super) struct Engine {
    child: Child,
    /// The monitor's end.
    link: Link,
    /// How far it has come, by its own word.
    pub(super) stage: Stage,
    /// Why it is of no more use.
    pub(super) over: Option<Over>,
    /// What it counts, by its own word.
    pub(super) figures: Option<Box<EngineCounters>>,
    /// The names of its captures.
    pub(super) captures: Vec<String>,
    /// Questions since its last answer.
    unanswered: u32,
    /// Reports that found no room in the link yet, and since when.
    unsent: VecDeque<Vec<u8>>,
    stuck_since: Option<Instant>,
}

/// How far an engine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It reads the config.
    Loading,
    /// It waits for the word to go.
    Loaded,
    /// It serves.
    Ready,
}

/// Why an engine is of no more use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// It is gone by itself.
    Gone,
    /// It is to be ended, for this reason.
    Unfit(String),
}

impl Engine {
    /// Starts an engine and hands it all that it needs; `start` names the captures in their order, and whether
    /// `besides` has a listener for the figures and the maps of a hint filter. `arguments` select the engine role of this program.
    ///
    /// # Errors
    /// What could not be done.
    pub(super) fn start(
        arguments: &[&str],
        bundle: &Bundle,
        control: BorrowedFd<'_>,
        captures: &[(CaptureSpec, OwnedFd)],
        besides: &[BorrowedFd<'_>],
        start: &Start,
    ) -> Result<Self, ExitError> {
        let (ours, theirs) =
            ipc::pair().map_err(ExitError::system("making the link to the engine"))?;
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let env: Vec<(&str, String)> = log::INHERITED
            .into_iter()
            .filter_map(|name| Some((name, std::env::var(name).ok()?)))
            .collect();
        let wiring = Wiring {
            stdin: theirs.into_socket().into(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            env: &env,
        };
        let child = process::start_again(&arguments, wiring)
            .map_err(ExitError::system("starting the engine"))?;
        let mut engine = Self::new(child, ours);
        engine.captures = start.captures.iter().map(ToString::to_string).collect();
        let config =
            in_memory(bundle).map_err(ExitError::system("handing the config to the engine"))?;
        let message = order::encode(start).map_err(|error| ExitError::new(FAILED, error))?;
        let descriptors: Vec<BorrowedFd<'_>> = [config.as_fd(), control]
            .into_iter()
            .chain(captures.iter().map(|(_, socket)| socket.as_fd()))
            .chain(besides.iter().copied())
            .collect();
        if let Err(error) = engine.link.send_descriptors(&message, &descriptors) {
            engine.end();
            return Err(ExitError::system("handing the sockets to the engine")(
                error,
            ));
        }
        Ok(engine)
    }

    /// The process behind this link.
    pub(super) fn new(child: Child, link: Link) -> Self {
        let (figures, captures, unsent) = (None, Vec::new(), VecDeque::new());
        Self {
            child,
            link,
            stage: Stage::Loading,
            over: None,
            figures,
            captures,
            unanswered: 0,
            unsent,
            stuck_since: None,
        }
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What to wait for: an order, or room where reports have not all been sent. Until they are, no further order is taken, so
    /// that they never pile up.
    pub(super) fn waited_for(&self) -> PollFd<'_> {
        let what = if self.unsent.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        PollFd::from_borrowed_fd(self.link.as_fd(), what)
    }

    /// All orders that are there, of at most so many messages. A list of grants is the last of its batch, for it may be long.
    pub(super) fn orders(&mut self, most: usize, buffer: &mut [u8]) -> Vec<Order> {
        let mut orders = Vec::new();
        for _ in 0..most {
            if self.over.is_some() || !self.unsent.is_empty() {
                break;
            }
            let order = match self.link.try_receive(buffer) {
                Ok(Received::Nothing) => break,
                Ok(Received::Gone) => {
                    self.over = Some(Over::Gone);
                    break;
                }
                Ok(Received::Message(len)) => order::decode(buffer.get(..len).unwrap_or_default())
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match order {
                Ok(Order::Loaded) => self.stage = self.stage.max(Stage::Loaded),
                Ok(Order::Ready) => self.serves(),
                Ok(Order::Measured(figures)) => {
                    (self.figures, self.unanswered) = (Some(figures), 0)
                }
                Ok(order) => orders.push(order),
                Err(why) => {
                    self.over = Some(Over::Unfit(format!("it gave an order that is none: {why}")))
                }
            }
            if matches!(orders.last(), Some(Order::List { .. })) {
                break;
            }
        }
        orders
    }

    fn serves(&mut self) {
        if self.stage < Stage::Ready {
            self.stage = Stage::Ready;
            info!("the engine serves");
        }
    }

    /// Asks an engine that serves what it counts. One that does not answer is of no more use.
    pub(super) fn ask(&mut self) {
        if self.stage < Stage::Ready {
            return;
        }
        if self.unanswered >= UNANSWERED_MAX {
            self.over
                .get_or_insert(Over::Unfit("it does not answer".to_owned()));
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.tell(&Report::Measure);
    }

    /// Tells it something, now or when there is room.
    pub(super) fn tell(&mut self, report: &Report) {
        match order::encode(report) {
            Ok(bytes) => self.unsent.push_back(bytes),
            Err(error) => {
                warn!("a report to the engine is left out: {error}");
                let short = report.ticket().map(|ticket| Report::Refused {
                    ticket,
                    rule: Rule::Firewall,
                    why: error.to_string(),
                });
                self.unsent
                    .extend(short.and_then(|short| order::encode(&short).ok()));
            }
        }
        self.send_unsent();
    }

    /// Sends what there is room for.
    pub(super) fn send_unsent(&mut self) {
        while let Some(message) = self.unsent.front() {
            match self.link.try_send(message) {
                Ok(()) => {
                    self.unsent.pop_front();
                    self.stuck_since = None;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Nobody is there to be told, but orders of before its end may still be in the link.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ) =>
                {
                    self.unsent.clear()
                }
                Err(error) => {
                    self.unsent.clear();
                    self.over
                        .get_or_insert(Over::Unfit(format!("it can't be told anything: {error}")));
                }
            }
        }
        if self.unsent.is_empty() {
            self.stuck_since = None;
        } else if clock::elapsed(*self.stuck_since.get_or_insert_with(clock::instant))
            > LISTENS_WITHIN
        {
            self.over
                .get_or_insert(Over::Unfit("it does not listen".to_owned()));
        }
    }

    /// Ends it, whatever it does, and waits for that. How it ended is its own doing where it was gone before.
    pub(super) fn end(mut self) -> Option<ExitStatus> {
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it ended"),
            Self::Unfit(why) => f.write_str(why),
        }
    }
}

/// The config in memory that belongs to no file system; the engine overwrites it once it has read it.
fn in_memory(bundle: &Bundle) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("postern-config", MemfdFlags::CLOEXEC)?);
    file.write_all(&bundle.encode())?;
    Ok(file.into())
}
