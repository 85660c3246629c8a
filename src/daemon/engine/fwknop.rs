//! Packets that look like fwknop's wait here and are tried with the users' keys on a thread of their own.
//!
//! A packet can cost one mac for each such user. So these packets have their own queue and their own share of the
//! processor: knocks of ours never wait behind them. What finds no room is dropped and counted.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::events::{Event, Events, Tried};
use super::threads::start;
use crate::adapters::clock;
use crate::core::gate::FwknopUsers;
use crate::model::datagram::Datagram;
use crate::model::exit::ExitError;
use crate::model::time::Timestamp;

/// Packets of one class that may wait.
const WAITING_MAX: usize = 128;

/// After each slice the thread rests this many times as long as it worked: it takes a fifth of one processor at most.
const REST: u32 = 4;
const SLICE: Duration = Duration::from_millis(2);

/// Sources remembered for [`KNOWN_S`]; a power of two. Four bytes each.
const SOURCES: usize = 1 << 20;
/// A source that comes again within this time, and not often, goes before a source that is new.
const KNOWN_S: u32 = 8;
/// A source with more packets in a second goes last.
const OFTEN: u32 = 2;

/// The loop's end of the thread.
pub(super) struct FwknopThread {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Packets that wait or are being tried, also those that the loop has not taken back.
    pending: AtomicUsize,
}

/// Who goes first: a source that keeps knocking, one that knocks again, a new one, one with many packets. Of a million
/// forged sources some come again by chance, but hardly twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Keeps,
    Again,
    New,
    Often,
}

struct Queue {
    hasher: RandomState,
    /// For each source, the second in which it last came (28 bits), how many times in a row it came again, and how often
    /// in that second, at most 3 each (2 bits).
    sources: Box<[u32]>,
    classes: [VecDeque<Datagram>; 4],
}

impl FwknopThread {
    pub(super) fn start(users: FwknopUsers, events: Events) -> Result<Self, ExitError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new()),
            filled: Condvar::new(),
            pending: AtomicUsize::new(0),
        });
        let own = Arc::clone(&shared);
        start(move || own.serve(&users, &events))?;
        Ok(Self { shared })
    }

    /// Lets a packet wait. False if there is no room.
    pub(super) fn push(&self, now: Timestamp, datagram: &Datagram) -> bool {
        let mut queue = self
            .shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let has_room = queue.push(now, datagram);
        if has_room {
            self.shared.pending.fetch_add(1, Ordering::Relaxed);
            self.shared.filled.notify_one();
        }
        has_room
    }

    /// The loop has taken a tried packet.
    pub(super) fn taken(&self) {
        self.shared.pending.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.shared.pending.load(Ordering::Relaxed) == 0
    }
}

impl Shared {
    fn serve(&self, users: &FwknopUsers, events: &Events) {
        let mut worked = Duration::ZERO;
        loop {
            let datagram = self.next();
            let start = clock::instant();
            let found = users.find(datagram.payload());
            worked = worked.saturating_add(clock::elapsed(start));
            if events
                .send(Event::FwknopTried(Box::new(Tried { datagram, found })))
                .is_err()
            {
                return;
            }
            if worked >= SLICE {
                thread::sleep(worked.saturating_mul(REST));
                worked = Duration::ZERO;
            }
        }
    }

    fn next(&self) -> Datagram {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(datagram) = queue.pop() {
                return datagram;
            }
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            sources: vec![0; SOURCES].into(),
            classes: Default::default(),
        }
    }

    fn push(&mut self, now: Timestamp, datagram: &Datagram) -> bool {
        let class = self.class(now, datagram.source()) as usize;
        let Some(waiting) = self.classes.get_mut(class) else {
            return false;
        };
        let has_room = waiting.len() < WAITING_MAX;
        if has_room {
            waiting.push_back(datagram.clone());
        }
        has_room
    }

    fn pop(&mut self) -> Option<Datagram> {
        self.classes.iter_mut().find_map(VecDeque::pop_front)
    }

    /// Notes a packet of this source.
    fn class(&mut self, now: Timestamp, source: IpAddr) -> Class {
        // never 0, which means that the source did not come yet
        let second = u32::try_from((now.as_millis() / 1000) & 0x0fff_ffff)
            .unwrap_or_default()
            .max(1);
        let place = self.hasher.hash_one(source) as usize & (SOURCES - 1);
        let Some(entry) = self.sources.get_mut(place) else {
            return Class::New;
        };
        let (last, again, count) = (*entry >> 4, *entry >> 2 & 3, *entry & 3);
        if last == second {
            *entry = second << 4 | again << 2 | count.saturating_add(1).min(3);
            return if count < OFTEN {
                Class::New
            } else {
                Class::Often
            };
        }
        // who came often must first be silent
        let comes_again = matches!(second.checked_sub(last), Some(1..=KNOWN_S)) && count <= OFTEN;
        let again = if comes_again && last != 0 {
            again.saturating_add(1).min(3)
        } else {
            0
        };
        *entry = second << 4 | again << 2 | 1;
        match again {
            0 => Class::New,
            1 => Class::Again,
            _ => Class::Keeps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(source: u32) -> Datagram {
        let source = IpAddr::from(source.to_be_bytes());
        Datagram::new(source, source, 62201, b"8")
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    #[test]
    fn second_try_passes_a_flood_of_new_sources() {
        let mut queue = Queue::new();
        queue.push(at(0), &datagram(7));
        assert!(queue.pop().is_some());
        let flood = (100..10_100).filter(|n| queue.push(at(500), &datagram(*n)));
        // Sources that share a place by chance count as one that comes often.
        assert!((WAITING_MAX..=2 * WAITING_MAX).contains(&flood.count()));
        assert!(queue.push(at(1000), &datagram(7)), "it has room of its own");
        assert_eq!(queue.pop().unwrap().source(), datagram(7).source());
    }

    #[test]
    fn third_try_passes_sources_that_come_again() {
        let mut queue = Queue::new();
        for second in 0..2 {
            assert!(queue.push(at(second * 1000), &datagram(7)));
            while queue.pop().is_some() {}
            for n in 100..10_100 {
                queue.push(at(second * 1000 + 500), &datagram(n));
            }
        }
        assert!(queue.push(at(2000), &datagram(7)));
        assert_eq!(queue.pop().unwrap().source(), datagram(7).source());
    }

    #[test]
    fn one_source_holds_up_no_other() {
        let mut queue = Queue::new();
        let flood = (0..10_000).filter(|n| queue.push(at(n / 10), &datagram(1)));
        assert!(flood.count() < 10_000);
        assert!(queue.push(at(1000), &datagram(2)));
        let ahead =
            std::iter::from_fn(|| queue.pop()).position(|one| one.source() == datagram(2).source());
        assert!(ahead.unwrap() <= OFTEN as usize + 1, "{ahead:?}");
    }
}
