//! Tells the engine what the gates of its name publish, at the speed at which the engine reads.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{info, warn};

use super::complaint::Complaint;
use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::core::claims::{Coordinator, Heard, Told, one_line};
use crate::core::order;

/// The pause before the watch is opened again, which doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The most that is told in one slice of time: a coordinator can make the engine read no more.
const SLICE: Duration = Duration::from_millis(100);
const TOLD_MAX: usize = 500;

/// An engine that takes nothing for so long starts anew.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

struct Teller<'l> {
    link: &'l Link,
    asked: &'l Receiver<()>,
    /// When this slice began, and what was told in it.
    slice: (Instant, usize),
    was_current: bool,
    end: Option<End>,
}

/// Why the watch ended, if not at the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The engine asked for it again.
    Again,
    /// The engine does not read.
    Slow,
    /// The engine has ended.
    Gone,
}

/// Works until the engine has ended. `asked`: the engine wants to watch.
pub(super) fn watch(coordinator: &dyn Coordinator, asked: &Receiver<()>, link: &Link) {
    if asked.recv().is_err() {
        return;
    }
    let mut pause = PAUSE_MIN;
    let mut complaint = Complaint::default();
    loop {
        let mut teller = Teller {
            link,
            asked,
            slice: (clock::instant(), 0),
            was_current: false,
            end: None,
        };
        // This start answers all that were asked until now.
        while asked.try_recv().is_ok() {}
        let start = clock::instant();
        let watched = coordinator.watch(&mut |heard| teller.hear(heard));
        // A watch that ends at once is not repeated, and not logged, ten times a second.
        if teller.was_current && clock::elapsed(start) > PAUSE_MAX {
            pause = PAUSE_MIN;
            complaint.is_over();
        }
        let why = match (teller.end, watched) {
            (Some(End::Gone), _) => return,
            (Some(End::Again), _) => continue,
            (Some(End::Slow), _) => "the engine does not read in time".to_owned(),
            (None, Err(why)) => one_line(&why),
            (None, Ok(())) => "the watch ended".to_owned(),
        };
        if let Some(line) = complaint.line(clock::instant(), &why) {
            warn!("grants of other gates may be missed: {line}");
        }
        let behind = Told::Behind { why };
        if !teller.wait_and_send(&behind) {
            return;
        }
        thread::sleep(pause);
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

impl Teller<'_> {
    /// Returns whether the watch goes on.
    fn hear(&mut self, heard: Heard<'_>) -> bool {
        let told = match heard {
            Heard::Published(sealed) => Told::Published {
                sealed: sealed.to_owned(),
            },
            Heard::Current => {
                info!("grants of other gates are known");
                self.was_current = true;
                Told::Current
            }
            Heard::Silence => {
                self.end = match self.asked.try_recv() {
                    Ok(()) => Some(End::Again),
                    Err(TryRecvError::Disconnected) => Some(End::Gone),
                    Err(TryRecvError::Empty) => None,
                };
                // One start answers all that were asked.
                while self.asked.try_recv().is_ok() {}
                return self.end.is_none();
            }
        };
        self.keep_pace();
        self.end = match self.send(&told, TAKEN_WITHIN) {
            Some(true) => None,
            Some(false) => Some(End::Slow),
            None => Some(End::Gone),
        };
        self.end.is_none()
    }

    fn keep_pace(&mut self) {
        let (start, told) = self.slice;
        let left = SLICE.saturating_sub(clock::elapsed(start));
        self.slice = if left.is_zero() {
            (clock::instant(), 1)
        } else if told < TOLD_MAX {
            (start, told.saturating_add(1))
        } else {
            thread::sleep(left);
            (clock::instant(), 1)
        };
    }

    /// Waits until the engine takes it, however long. Returns false if it has ended.
    fn wait_and_send(&self, told: &Told) -> bool {
        loop {
            match self.send(told, TAKEN_WITHIN) {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
        }
    }

    /// Whether the engine took it in time. The kernel says that there is space while three quarters are free, so that answers to
    /// claims pass. `None`: the engine has ended.
    fn send(&self, told: &Told, within: Duration) -> Option<bool> {
        let bytes = order::encode(told).ok()?;
        let until = clock::instant() + within;
        loop {
            let left = until.saturating_duration_since(clock::instant());
            if left.is_zero() {
                return Some(false);
            }
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut ready = [PollFd::new(self.link, PollFlags::OUT)];
            if poll(&mut ready, Some(&left)).is_ok_and(|count| count == 0) {
                return Some(false);
            }
            match self.link.try_send(&bytes) {
                Ok(()) => return Some(true),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}
