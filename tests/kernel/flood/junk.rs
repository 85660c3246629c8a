//! The five kinds of junk, and a thread that sends one of them as fast as it can.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_proto::limits::{PACKET_MAX, PACKET_MIN};
use postern_proto::{GateName, KeyMaterial, SharedKey, Step, UserKeys};

use postern_harness::{
    Client, Family, GATE_NAME, KNOCK, KnockMaker, Random, SERVICE, key, now, socket_for,
};

/// Packets between two looks at the clock.
const BURST: usize = 64;
/// Packets a second of a flood upon a debug build, which is some ten times as slow.
const DEBUG_PACE: u32 = 20_000;

/// A kind of junk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A knock's length, to another port.
    OtherPort,
    /// A knock's length and random bytes.
    Random,
    /// Alice's present hint and random bytes, as from an observer of her knock.
    WrongMac,
    /// An unchanged copy of a knock of Alice that opened.
    Replay,
    /// Knocks of an unknown user.
    UnknownKey,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::OtherPort,
        Self::Random,
        Self::WrongMac,
        Self::Replay,
        Self::UnknownKey,
    ];

    /// Whether the hint filter drops it. The classic filter drops another port by itself.
    pub(crate) fn dies_in_the_kernel(self) -> bool {
        matches!(self, Self::Random | Self::UnknownKey | Self::Replay)
    }
}

/// A running flood, until it is stopped.
pub(crate) struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// From this client, over IPv4.
    pub(crate) fn start(from: &Client, kind: Kind) -> Self {
        let (over, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut junk = Junk::of(from, kind);
        let to = SocketAddr::new(
            Family::V4.address(1),
            if kind == Kind::OtherPort {
                KNOCK - 1
            } else {
                KNOCK
            },
        );
        let socket: UdpSocket = from.space.run(move || socket_for(to));
        socket.connect(to).unwrap();
        let (is_over, count) = (Arc::clone(&over), Arc::clone(&sent));
        let began = Instant::now();
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                junk.turn();
                // The kernel answers for a closed port, which the next packet reports as an error.
                let gone = (0..BURST)
                    .filter(|_| socket.send(junk.next()).is_ok())
                    .count();
                let all = count.fetch_add(gone as u64, Ordering::Relaxed) + gone as u64;
                if cfg!(debug_assertions) {
                    let due = Duration::from_secs_f64(all as f64 / f64::from(DEBUG_PACE));
                    thread::sleep(due.saturating_sub(began.elapsed()));
                }
            }
        });
        Self {
            over,
            sent,
            thread: Some(thread),
        }
    }

    /// How many packets went so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; how many packets went.
    pub(crate) fn end(mut self) -> u64 {
        self.stop();
        self.sent()
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes one packet after another without a system call.
struct Junk {
    kind: Kind,
    alice: UserKeys,
    hint: [u8; 8],
    made: Vec<Vec<u8>>,
    random: [u8; PACKET_MAX],
    dice: Random,
    at: usize,
}

impl Junk {
    fn of(from: &Client, kind: Kind) -> Self {
        let made = match kind {
            Kind::Replay => {
                let packet = KnockMaker::new("alice").open(from.address(Family::V4), SERVICE, 1);
                from.send(Family::V4, &packet);
                vec![packet]
            }
            Kind::UnknownKey => (0..512)
                .map(|_| KnockMaker::new("mallory").open(from.address(Family::V4), SERVICE, 60))
                .collect(),
            Kind::OtherPort | Kind::Random | Kind::WrongMac => Vec::new(),
        };
        let shared = SharedKey::from_base64(&key("alice")).unwrap();
        let alice = UserKeys::derive(
            &GateName::new(GATE_NAME).unwrap(),
            &KeyMaterial::shared(&shared),
        );
        let mut junk = Self {
            kind,
            alice,
            hint: [0; 8],
            made,
            random: [0; PACKET_MAX],
            dice: Random(1),
            at: 0,
        };
        for at in (0..PACKET_MAX - 8).step_by(8) {
            junk.random[at..at + 8].copy_from_slice(&junk.dice.below(u64::MAX).to_le_bytes());
        }
        junk
    }

    /// What depends on the time.
    fn turn(&mut self) {
        self.hint = self.alice.hint_key().hint(Step::of(now().as_millis())).0;
    }

    fn next(&mut self) -> &[u8] {
        let random = self.dice.below(u64::MAX);
        if let Some(packet) = self.made.get(self.at) {
            self.at = (self.at + 1) % self.made.len();
            return packet;
        }
        let len =
            PACKET_MIN + usize::try_from(random >> 32).unwrap() % (PACKET_MAX - PACKET_MIN + 1);
        let first = if self.kind == Kind::WrongMac {
            self.hint
        } else {
            random.to_le_bytes()
        };
        self.random[..8].copy_from_slice(&first);
        self.random[8..16].copy_from_slice(&random.to_be_bytes());
        &self.random[..len]
    }
}
