//! What the loop waits for and reads itself: packets, and the reports of the monitor.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::{info, warn};

use super::event_loop::{Engine, LAST_TICK, OpenCapture};
use crate::adapters::capture::Caught;
use crate::adapters::clock;
use crate::adapters::ipc::{self, Link, Received};
use crate::core::order::{self, Report};
use crate::model::datagram::Datagram;
use crate::model::exit::{ExitError, FAILED};
use crate::model::time::Timestamp;

/// The longest wait while nothing is due.
const IDLE: Duration = Duration::from_secs(5);
/// The wait while something may change without a word: a lost interface, room in the link to the cluster process, or the clock where the
/// kernel does not tell of it.
const TICK: Duration = Duration::from_millis(250);

/// Packets that one capture may pass on before the others have their turn.
const PACKETS: usize = 64;
const REPORTS: usize = 64;

const EVENTS: usize = 0;
const LINK: usize = 1;
const CLUSTER: usize = 2;
const CLOCK: usize = 3;
const CAPTURES: usize = 4;
/// No engine is handed more descriptors.
const DESCRIPTORS: usize = CAPTURES + ipc::DESCRIPTORS_MAX;

/// What can be read: a bit for each descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready(u128);

impl Ready {
    fn has(self, descriptor: usize) -> bool {
        self.0 >> descriptor & 1 == 1
    }

    pub(super) fn has_events(self) -> bool {
        self.has(EVENTS)
    }

    pub(super) fn has_reports(self) -> bool {
        self.has(LINK)
    }

    pub(super) fn has_told(self) -> bool {
        self.has(CLUSTER)
    }

    pub(super) fn has_clock(self) -> bool {
        self.has(CLOCK)
    }
}

impl Engine {
    pub(super) fn wait(&self) -> Result<Ready, ExitError> {
        let (events, link) = (&self.inbox, &self.link);
        let nothing = || PollFd::new(events, PollFlags::empty());
        let read = |number: usize| match number {
            EVENTS => PollFd::new(events, PollFlags::IN),
            LINK => PollFd::new(link, PollFlags::IN),
            CLUSTER => match &self.cluster {
                Some(cluster) => PollFd::new(cluster, PollFlags::IN),
                None => nothing(),
            },
            CLOCK => match &self.clock_events {
                Some(clock) => PollFd::new(clock, PollFlags::IN),
                None => nothing(),
            },
            number => {
                let open = self.captures.get(number.saturating_sub(CAPTURES));
                match open.and_then(|open| open.capture.descriptor()) {
                    Some(socket) => PollFd::from_borrowed_fd(socket, PollFlags::IN),
                    None => nothing(),
                }
            }
        };
        let mut all: [PollFd<'_>; DESCRIPTORS] = std::array::from_fn(read);
        let count = CAPTURES.saturating_add(self.captures.len());
        let used = all.get_mut(..count).unwrap_or_default();
        match poll(used, Timespec::try_from(self.patience()).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(ExitError::system("waiting for packets")(error)),
        }
        let ready = used.iter().rev().fold(0, |ready, descriptor| {
            ready << 1 | u128::from(!descriptor.revents().is_empty())
        });
        Ok(Ready(ready))
    }

    fn patience(&self) -> Duration {
        if self.must_settle() {
            return Duration::ZERO;
        }
        let mut captures = self.captures.iter();
        let is_blind = captures.any(|open| open.capture.descriptor().is_none());
        let longest = if self.finish.load(Ordering::Relaxed) {
            LAST_TICK
        } else if is_blind || self.clock_events.is_none() || self.cluster.is_some() {
            TICK
        } else {
            IDLE
        };
        let now = clock::wall();
        let due = [self.core.next_cluster_due(now), self.core.refusals_due(now)];
        due.into_iter().flatten().fold(longest, Duration::min)
    }

    /// Takes packets that have come. Returns how many the busiest capture had, or 0 if it may have more.
    pub(super) fn receive(&mut self, now: Timestamp, ready: Ready) -> Result<usize, ExitError> {
        let mut captures = std::mem::take(&mut self.captures);
        let mut datagram = Datagram::empty();
        let mut most = 0;
        for (number, open) in (CAPTURES..).zip(&mut captures) {
            if ready.has(number) || open.capture.descriptor().is_none() {
                most = most.max(self.receive_from(now, open, &mut datagram)?);
            }
        }
        self.captures = captures;
        Ok(if most < PACKETS { most } else { 0 })
    }

    /// A capture may have to release its interface, or can bind it again: each does so when it is asked for a packet.
    pub(super) fn look_at_captures(&mut self, now: Timestamp) -> Result<(), ExitError> {
        self.receive(now, Ready(u128::MAX)).map(drop)
    }

    fn receive_from(
        &mut self,
        now: Timestamp,
        open: &mut OpenCapture,
        datagram: &mut Datagram,
    ) -> Result<usize, ExitError> {
        for count in 1..=PACKETS {
            let caught = open.capture.take(datagram);
            let failed = |error| ExitError::new(FAILED, format!("capture failed: {error}"));
            match caught.map_err(failed)? {
                Caught::Datagram => {
                    open.received.fetch_add(1, Ordering::Relaxed);
                    self.datagram(now, datagram);
                }
                Caught::Hit(hit) => {
                    open.received.fetch_add(1, Ordering::Relaxed);
                    let commit = self.core.hit(now, &hit);
                    self.commits.extend(commit);
                }
                Caught::Nothing => {}
                Caught::Lost { interface, why } => {
                    warn!(
                        interface,
                        "listening on {interface} is not possible now: {why}; waiting for it to come back"
                    );
                    self.core.health().set_lost(open.number, Some(why));
                }
                Caught::Back { interface } => {
                    info!(interface, "listening on {interface}");
                    self.core.health().set_lost(open.number, None);
                }
            }
            if !open.capture.holds() {
                return Ok(count);
            }
        }
        Ok(PACKETS)
    }

    pub(super) fn take_reports(&mut self, now: Timestamp) -> Result<(), ExitError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..REPORTS {
            let (received, files) =
                self.link
                    .try_receive_descriptors(&mut buffer)
                    .map_err(|error| {
                        ExitError::new(FAILED, format!("receiving from the monitor: {error}"))
                    })?;
            let mut files = files.into_iter();
            let report: Report = match received {
                Received::Message(len) => order::decode_first(&buffer, len).map_err(|error| {
                    ExitError::new(FAILED, format!("a report of the monitor: {error}"))
                })?,
                Received::Nothing => break,
                Received::Gone => return Err(ExitError::new(FAILED, "the monitor is gone")),
            };
            if let Report::Cluster { member, roster } = &report
                && let Some(socket) = files.next()
            {
                self.core.roster_loaded(*roster);
                self.connect_cluster(now, member, Link::from_socket(socket));
            }
            files.for_each(|file| self.replace_log(file));
            self.report(now, report)?;
        }
        self.buffer = buffer;
        Ok(())
    }
}
