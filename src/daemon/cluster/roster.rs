//! Finds a newer roster at the coordinator, and hands it to the process that verifies it. Trusts and parses nothing of it.
//!
//! A watch says when to look. A slow look beside it finds what a broken watch misses.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::complaint::Complaint;
use crate::adapters::clock;
use crate::adapters::ipc::Link;
use crate::core::claims::{Coordinator, RosterSought, Stored, one_line};
use crate::core::roster::published::{HEAD, HEAD_MAX, Head, PART_MAX};
use crate::daemon::roster::offer;

const LOOK_WITHIN: Duration = Duration::from_secs(1);
const PART_WITHIN: Duration = Duration::from_secs(10);

/// How often it looks and offers.
#[derive(Clone, Copy)]
pub(super) struct Pauses {
    /// It does not look more often, whatever the coordinator says.
    least: Duration,
    /// It looks so often without a word of the watch.
    slow: Duration,
    /// A newer roster that was offered, and is not in force, is offered again after this time: the disk may have been full.
    again: Duration,
}

impl Pauses {
    pub(super) const DEFAULT: Self = Self {
        least: Duration::from_secs(1),
        slow: Duration::from_secs(30),
        again: Duration::from_secs(300),
    };
}

struct Follower<'c> {
    coordinator: &'c dyn Coordinator,
    sought: RosterSought,
    pauses: Pauses,
    link: &'c Link,
    offered: Option<(Head, Instant)>,
}

/// Why there is no roster to hand on.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The coordinator does not answer as it should.
    Away(String),
    /// It has no whole roster, or does not give it whole.
    NoRoster(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Away(why)
    }
}

/// Works until nobody can ask for a look any more. `asked`: there may be another roster.
pub(super) fn follow(
    coordinator: &dyn Coordinator,
    sought: RosterSought,
    pauses: Pauses,
    link: &Link,
    asked: &Receiver<()>,
) {
    let mut follower = Follower {
        coordinator,
        sought,
        pauses,
        link,
        offered: None,
    };
    let mut failed: Option<Fault> = None;
    // Whether the gate was told of the last fault.
    let mut is_told = false;
    let mut complaint = Complaint::default();
    let mut pause = pauses.least;
    loop {
        thread::sleep(pauses.least);
        match follower.look() {
            Ok(()) => {
                (failed, is_told) = (None, false);
                complaint.is_over();
                pause = follower.pause();
            }
            Err(fault) => {
                let (Fault::Away(why) | Fault::NoRoster(why)) = &fault;
                if let Some(line) = complaint.line(clock::instant(), &one_line(why)) {
                    warn!("the coordinator's roster can't be read: {line}");
                }
                if failed.as_ref() != Some(&fault) {
                    (pause, is_told) = (pauses.least, false);
                } else if matches!(fault, Fault::NoRoster(_)) && !is_told {
                    // Twice in a row, so it is not the moment in which another one is published.
                    is_told = offer::send_none(link, why).is_ok();
                }
                failed = Some(fault);
                pause = pause.saturating_mul(2).min(pauses.slow);
            }
        }
        if asked.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Watches the head, and asks for a look when it may have changed.
pub(super) fn watch(coordinator: &dyn Coordinator, pauses: Pauses, asks: &SyncSender<()>) {
    let mut pause = pauses.least;
    loop {
        let mut has_begun = false;
        let watched = coordinator.watch_value(HEAD, &mut || {
            has_begun = true;
            let _ = asks.try_send(());
            // A coordinator that tells changes without end is read no faster.
            thread::sleep(pauses.least);
        });
        pause = if has_begun {
            pauses.least
        } else {
            pause.saturating_mul(2).min(pauses.slow)
        };
        if let Err(why) = watched {
            debug!("the roster is not watched: {}", one_line(&why));
        }
        thread::sleep(pause);
    }
}

impl Follower<'_> {
    fn look(&mut self) -> Result<(), Fault> {
        let head = self.coordinator.read(HEAD, HEAD_MAX, LOOK_WITHIN)?;
        let head = match &head {
            Stored::Nothing => return Ok(()),
            Stored::Value(head) => Head::read(head),
            Stored::TooLong => None,
        };
        let no_roster = |why: &str| Fault::NoRoster(why.to_owned());
        let head = head.ok_or_else(|| no_roster("its head is not that of a roster"))?;
        if !self.is_wanted(&head) {
            return Ok(());
        }
        let fetched = fetch(self.coordinator, &head).map_err(Fault::NoRoster)?;
        let (text, signatures) =
            fetched.ok_or_else(|| no_roster("a part of it is missing or too long"))?;
        let sent = offer::send(self.link, &text, &signatures);
        sent.map_err(|error| format!("handing it on: {error}"))?;
        let version = head.version;
        info!("a roster with version {version} is at the coordinator");
        self.offered = Some((head, clock::instant()));
        Ok(())
    }

    /// Whether to offer a roster: a newer one, the one in force to confirm it, or an older one once to report its refusal.
    fn is_wanted(&self, head: &Head) -> bool {
        let (version, sought) = (head.version, self.sought.version);
        match &self.offered {
            // The one in force not more often under another head: each time it is verified and written.
            Some((last, at)) if last == head || version == sought => {
                let each = self.each(version);
                each.is_some_and(|each| clock::elapsed(*at) > each)
            }
            _ => version != sought || self.refresh().is_some(),
        }
    }

    /// How often a roster of this version is offered.
    fn each(&self, version: u64) -> Option<Duration> {
        let sought = self.sought.version;
        let again = (version > sought).then_some(self.pauses.again);
        let refresh = self.refresh().filter(|_| version >= sought);
        again.into_iter().chain(refresh).min()
    }

    fn refresh(&self) -> Option<Duration> {
        self.sought.refresh_ms.map(Duration::from_millis)
    }

    fn pause(&self) -> Duration {
        let Pauses { least, slow, .. } = self.pauses;
        let due = self.offered.as_ref().and_then(|(head, at)| {
            let each = self.each(head.version)?;
            Some(each.saturating_sub(clock::elapsed(*at)))
        });
        due.map_or(slow, |due| due.clamp(least, slow))
    }
}

/// Text and signatures.
type Whole = (Vec<u8>, Vec<u8>);

/// `None` if its parts are not all there and whole.
pub(crate) fn fetch(coordinator: &dyn Coordinator, head: &Head) -> Result<Option<Whole>, String> {
    let mut text = Vec::new();
    for name in head.parts() {
        let Stored::Value(part) = coordinator.read(&name, PART_MAX, PART_WITHIN)? else {
            return Ok(None);
        };
        text.extend(part);
    }
    if text.len() != head.text().saturating_add(head.signatures()) {
        return Ok(None);
    }
    let signatures = text.split_off(head.text());
    Ok(Some((text, signatures)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::sync_channel;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::adapters::ipc;
    use crate::core::claims::{Answer, Claim, Heard, Publish};

    const SOON: Duration = Duration::from_secs(20);
    const NEVER: Duration = Duration::from_secs(86_400);
    const TEXT: &[u8] = b"a roster and its signatures";
    /// Of a roster whose head alone is there.
    const WITHOUT_PARTS: u64 = 9;

    /// A coordinator with a roster of this version.
    struct Shelf {
        version: Mutex<u64>,
        reads: AtomicUsize,
        changes: Mutex<Receiver<()>>,
    }

    impl Coordinator for Shelf {
        fn claim(&self, _: &Claim, _: Option<&Publish>, _: Duration) -> Answer {
            let why = String::new();
            Answer::Unknown { why }
        }

        fn publish(&self, _: &[Publish], _: Duration) -> Result<(), String> {
            Ok(())
        }

        fn watch(&self, _: &mut dyn FnMut(Heard<'_>) -> bool) -> Result<(), String> {
            Ok(())
        }

        fn prepare(&self, _: Duration) -> Result<(), String> {
            Ok(())
        }

        fn is_due(&self) -> bool {
            false
        }

        fn read(&self, name: &str, _: usize, _: Duration) -> Result<Stored, String> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            if name != HEAD && *self.version.lock().unwrap() == WITHOUT_PARTS {
                return Ok(Stored::Nothing);
            }
            let head = || {
                let head = Head::new(*self.version.lock().unwrap(), &"0".repeat(16), 8, 19);
                head.write().into_bytes()
            };
            let value = if name == HEAD { head() } else { TEXT.to_vec() };
            Ok(Stored::Value(value))
        }

        fn write(&self, _: &str, _: &[u8], _: Duration) -> Result<(), String> {
            Ok(())
        }

        fn write_watched(&self, _: &str, _: &[u8], _: Duration) -> Result<(), String> {
            Ok(())
        }

        fn watch_value(&self, _: &str, changed: &mut dyn FnMut()) -> Result<(), String> {
            changed();
            while self.changes.lock().unwrap().recv().is_ok() {
                changed();
            }
            Err("it is gone".to_owned())
        }

        fn remove(&self, _: &str, _: Duration) -> Result<(), String> {
            Ok(())
        }
    }

    /// A gate with version 1 and these pauses, at a coordinator with version 2: its link, and how to change the version.
    fn start(slow: Duration, again: Duration) -> (Arc<Shelf>, Link, impl Fn(u64)) {
        let (change, changes) = sync_channel(1);
        let shelf = Arc::new(Shelf {
            version: Mutex::new(2),
            reads: AtomicUsize::new(0),
            changes: Mutex::new(changes),
        });
        let (ours, theirs) = ipc::pair().unwrap();
        let (asks, asked) = sync_channel(1);
        let pauses = Pauses {
            least: Duration::from_millis(1),
            slow,
            again,
        };
        let sought = RosterSought {
            version: 1,
            refresh_ms: None,
        };
        let by = Arc::clone(&shelf);
        thread::spawn(move || follow(by.as_ref(), sought, pauses, &theirs, &asked));
        let by = Arc::clone(&shelf);
        thread::spawn(move || watch(by.as_ref(), pauses, &asks));
        let own = Arc::clone(&shelf);
        let set = move |version| {
            *own.version.lock().unwrap() = version;
            let _ = change.send(());
        };
        (shelf, ours, set)
    }

    fn offered(link: &Link) -> bool {
        offer::receive(link, SOON).is_ok_and(|offer| offer.text == TEXT[..8])
    }

    #[test]
    fn only_the_watch_causes_looks() {
        let (shelf, link, set) = start(NEVER, NEVER);
        assert!(offered(&link));
        set(3);
        assert!(offered(&link));
        set(4);
        assert!(offered(&link));
        // Each is a head and a part, and the start of the watch causes one more look.
        let reads = shelf.reads.load(Ordering::SeqCst);
        assert!((6..=7).contains(&reads), "{reads}");
    }

    #[test]
    fn broken_watch_is_made_good_by_slow_looks() {
        let (shelf, link, _) = start(Duration::from_millis(5), NEVER);
        assert!(offered(&link));
        *shelf.version.lock().unwrap() = 3;
        assert!(offered(&link));
    }

    #[test]
    fn roster_that_was_not_taken_comes_again() {
        let (_, link, _) = start(NEVER, Duration::from_millis(5));
        assert!(offered(&link) && offered(&link) && offered(&link));
    }

    #[test]
    fn older_roster_is_offered_once() {
        let (shelf, link, set) = start(NEVER, NEVER);
        assert!(offered(&link));
        set(0);
        assert!(offered(&link));
        let reads = || shelf.reads.load(Ordering::SeqCst);
        let before = reads();
        set(0);
        let start = clock::instant();
        while reads() == before && clock::elapsed(start) < SOON {
            thread::yield_now();
        }
        set(3);
        assert!(offered(&link));
        assert!(offer::receive(&link, Duration::from_millis(100)).is_err());
    }

    #[test]
    fn roster_without_its_parts_is_refused() {
        let (_, link, set) = start(Duration::from_millis(5), NEVER);
        assert!(offered(&link));
        set(WITHOUT_PARTS);
        let refused = offer::receive(&link, SOON).unwrap_err();
        let why = "a part of it is missing or too long";
        assert_eq!(refused.to_string(), why);
    }
}
