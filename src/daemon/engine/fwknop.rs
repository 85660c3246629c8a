//! Packets that look like fwknop's wait here and are tried with the users' keys on a thread of their own.
//!
//! A packet can cost one mac for each such user. So these packets have their own queue and their own share of the
//! processor: knocks of ours never wait behind them. What finds no room is dropped and counted. A packet that needs only a
//! few macs is tried at once.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use postern_fwknop::Reason;

use super::events::{Event, Events, Tried};
use super::threads::start;
use crate::adapters::clock;
use crate::core::gate::{FwknopRow, FwknopUsers};
use crate::model::datagram::Datagram;
use crate::model::exit::ExitError;
use crate::model::time::Timestamp;

/// Packets of one rank that may wait: with many users fewer, so that none waits long.
const WAITING: RangeInclusive<usize> = 128..=512;
/// Packets of one rank times users.
const WAITING_KEYS: usize = 128 * 1024;

/// After each slice the thread rests this many times as long as it worked: it takes a fifth of one processor at most. In a
/// rest no more than a few hundred packets come.
const REST: u32 = 4;
const SLICE: Duration = Duration::from_micros(500);

/// Sources remembered; a power of two. Four bytes each.
const SOURCES: usize = 1 << 20;
/// A source with more packets in a second goes last.
const OFTEN: u32 = 2;
/// A source that comes again within this time goes before one that is new.
const SOON_S: u32 = 8;
/// One that comes once a second rises by a rank each time. Of a million forged ones, which come again by chance, few do.
const RANKS: usize = 8;
const CREDIT: u32 = 2;

/// Sources of knocks that opened. If there are more, all are forgotten.
const KNOWN_MAX: usize = 4096;
/// Users whose knocks from one source opened last.
const OF_ONE: usize = 2;

/// The loop's end of the thread.
pub(super) struct FwknopThread {
    shared: Arc<Shared>,
    users: FwknopUsers,
    /// Where admitted packets came from. The keys of these users are tried at once: a packet from there costs no more than
    /// a knock of ours with a known hint.
    known: HashMap<IpAddr, Vec<FwknopRow>>,
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Packets that wait or are being tried, also those that the loop has not taken back.
    pending: AtomicUsize,
}

struct Queue {
    hasher: RandomState,
    /// For each source, the second in which it last came (16 bits), its rank (8 bits), and how often in that second (8 bits).
    sources: Box<[u32]>,
    /// By rank. The last one is for sources that come often.
    waiting: [VecDeque<Datagram>; RANKS + 1],
    most: usize,
}

impl FwknopThread {
    pub(super) fn start(users: FwknopUsers, events: Events) -> Result<Self, ExitError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(users.len())),
            filled: Condvar::new(),
            pending: AtomicUsize::new(0),
        });
        let (own, all) = (Arc::clone(&shared), users.clone());
        start(move || own.serve(&all, &events))?;
        Ok(Self {
            shared,
            users,
            known: HashMap::new(),
        })
    }

    /// Whose packet this is, if a few keys say so.
    pub(super) fn find_quickly(&self, datagram: &Datagram) -> Option<Result<FwknopRow, Reason>> {
        let likely = self.known.get(&datagram.source());
        let likely = likely.map(Vec::as_slice).unwrap_or_default();
        self.users.find_quickly(likely, datagram.payload())
    }

    /// A packet of this user came from there, and its mark is used up.
    pub(super) fn admitted(&mut self, source: IpAddr, row: FwknopRow) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&source) {
            self.known.clear();
        }
        let rows = self.known.entry(source).or_default();
        rows.retain(|known| *known != row);
        rows.insert(0, row);
        rows.truncate(OF_ONE);
    }

    /// Lets a packet wait. False if there is no room.
    pub(super) fn push(&self, now: Timestamp, datagram: &Datagram) -> bool {
        let queue = self.shared.queue.lock();
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        let has_room = queue.push(now, datagram);
        if has_room {
            self.shared.pending.fetch_add(1, Ordering::Relaxed);
            self.shared.filled.notify_one();
        }
        has_room
    }

    /// The loop has taken so many tried packets.
    pub(super) fn taken(&self, count: usize) {
        self.shared.pending.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.shared.pending.load(Ordering::Relaxed) == 0
    }
}

impl Shared {
    fn serve(&self, users: &FwknopUsers, events: &Events) {
        let mut worked = Duration::ZERO;
        let mut tried = Vec::new();
        loop {
            let (datagram, is_last) = self.next();
            let start = clock::instant();
            let found = users.find(datagram.payload());
            worked = worked.saturating_add(clock::elapsed(start));
            let is_found = found.is_ok();
            tried.push(match found {
                Ok(row) => Tried::Found(Box::new(datagram), row),
                Err(reason) => Tried::Wrong(datagram.source(), reason),
            });
            let rests = worked >= SLICE;
            // In a flood, to wake the loop for each would cost more than its mac.
            if (is_found || is_last || rests)
                && events
                    .send(Event::FwknopTried(std::mem::take(&mut tried)))
                    .is_err()
            {
                return;
            }
            if rests {
                thread::sleep(worked.saturating_mul(REST));
                worked = Duration::ZERO;
            }
        }
    }

    /// The next packet, and whether no other waits.
    fn next(&self) -> (Datagram, bool) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(datagram) = queue.pop() {
                return (datagram, queue.is_empty());
            }
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    fn new(users: usize) -> Self {
        let most = WAITING_KEYS.checked_div(users).unwrap_or_default();
        Self {
            hasher: RandomState::new(),
            sources: vec![0; SOURCES].into(),
            waiting: Default::default(),
            most: most.clamp(*WAITING.start(), *WAITING.end()),
        }
    }

    fn push(&mut self, now: Timestamp, datagram: &Datagram) -> bool {
        let rank = self.rank(now, datagram.source()).unwrap_or(RANKS);
        let Some(waiting) = self.waiting.get_mut(rank) else {
            return false;
        };
        let has_room = waiting.len() < self.most;
        if has_room {
            waiting.push_back(datagram.clone());
        }
        has_room
    }

    fn pop(&mut self) -> Option<Datagram> {
        let (ranks, often) = self.waiting.split_at_mut(RANKS);
        let mut queues = ranks.iter_mut().rev().chain(often);
        queues.find_map(VecDeque::pop_front)
    }

    fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// Notes a packet of this source. `None` if it comes often.
    fn rank(&mut self, now: Timestamp, source: IpAddr) -> Option<usize> {
        let second = u32::try_from((now.as_millis() / 1000) & 0xffff).unwrap_or_default();
        let place = self.hasher.hash_one(source) as usize & (SOURCES - 1);
        let entry = self.sources.get_mut(place)?;
        let (last, rank, count) = (*entry >> 16, *entry >> 8 & 0xff, *entry & 0xff);
        let gap = second.wrapping_sub(last) & 0xffff;
        let (rank, count) = if gap == 0 {
            (rank, count.saturating_add(1).min(OFTEN + 1))
        } else if count > OFTEN {
            // who came often must first be silent
            (0, 1)
        } else {
            let rank = rank.saturating_add(CREDIT).saturating_sub(gap);
            let least = u32::from(gap <= SOON_S && *entry != 0);
            (rank.clamp(least, RANKS as u32 - 1), 1)
        };
        *entry = second << 16 | rank << 8 | count;
        (count <= OFTEN).then_some(rank as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: usize = 1024;

    fn datagram(source: u32) -> Datagram {
        let source = IpAddr::from(source.to_be_bytes());
        Datagram::new(source, source, 62201, b"8")
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    #[test]
    fn second_try_passes_a_flood_of_new_sources() {
        let mut queue = Queue::new(USERS);
        queue.push(at(0), &datagram(7));
        assert!(queue.pop().is_some());
        let flood = (100..10_100).filter(|n| queue.push(at(500), &datagram(*n)));
        let (count, most) = (flood.count(), queue.most);
        // Sources that share a place by chance count as one that comes often.
        assert!((most..=2 * most).contains(&count));
        assert!(queue.push(at(1000), &datagram(7)), "it has room of its own");
        assert_eq!(queue.pop().unwrap().source(), datagram(7).source());
    }

    #[test]
    fn steady_source_passes_chance_returns() {
        let mut queue = Queue::new(USERS);
        let mut dice = 1_u64;
        let opened = (0..10_u64).position(|second| {
            queue.push(at(second * 1000), &datagram(7));
            let mut tried = (0..20).filter_map(|_| queue.pop());
            let is_tried = tried.any(|one| one.source() == datagram(7).source());
            for n in 0..11_000 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let source = 100 + (dice >> 33) as u32 % 50_000;
                queue.push(at(second * 1000 + n / 11), &datagram(source));
            }
            is_tried && second > 0
        });
        assert!(opened.is_some());
    }

    #[test]
    fn one_source_holds_up_no_other() {
        let mut queue = Queue::new(USERS);
        let flood = (0..10_000).filter(|n| queue.push(at(n / 10), &datagram(1)));
        assert!(flood.count() < 10_000);
        assert!(queue.push(at(1000), &datagram(2)));
        let ahead =
            std::iter::from_fn(|| queue.pop()).position(|one| one.source() == datagram(2).source());
        assert!(ahead.unwrap() <= OFTEN as usize + 1, "{ahead:?}");
    }
}
