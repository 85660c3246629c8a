//! The kinds of junk, and a thread that sends one of them as fast as it can.

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_proto::limits::{PACKET_MAX, PACKET_MIN};
use postern_proto::{GateName, KeyMaterial, SharedKey, Step, UserKeys};

use postern_harness::{
    Client, Family, GATE_NAME, KNOCK, KnockMaker, Random, SERVICE, key, now, number, socket_for,
};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// Packets between two looks at the clock.
const BURST: usize = 64;
/// Packets a second of a flood upon a debug build, which is some ten times as slow. 0 is as many as can be sent.
const PACE: u32 = if cfg!(debug_assertions) { 20_000 } else { 0 };
/// A port of a sequence.
pub(crate) const HIT: u16 = 7000;
const GIANT: usize = 20_000;

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
    /// Alice's present hint and a length that no knock has.
    Length,
    /// Datagrams of 20,000 bytes, which come as fragments.
    Giant,
    /// To a port of a sequence, out of turn.
    Hit,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::OtherPort,
        Self::Random,
        Self::WrongMac,
        Self::Replay,
        Self::UnknownKey,
        Self::Length,
        Self::Giant,
    ];

    /// Whether the hint filter drops it. The classic filter drops another port and fragments by itself.
    pub(crate) fn dies_in_the_kernel(self, has_hint_filter: bool) -> bool {
        match self {
            Self::OtherPort | Self::Giant => true,
            Self::WrongMac | Self::Hit => false,
            Self::Random | Self::UnknownKey | Self::Replay | Self::Length => has_hint_filter,
        }
    }
}

/// A running flood, until it is stopped.
pub(crate) struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// From this client. `POSTERN_PACE` says how many packets a second.
    pub(crate) fn start(from: &Client, family: Family, kind: Kind) -> Self {
        let (over, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut junk = Junk::of(from, family, kind);
        let port = match kind {
            Kind::OtherPort => KNOCK - 1,
            Kind::Hit => HIT,
            _ => KNOCK,
        };
        let to = SocketAddr::new(family.address(1), port);
        let pace = number("POSTERN_PACE", PACE);
        let socket: UdpSocket = from.space.run(move || socket_for(to));
        let (is_over, count) = (Arc::clone(&over), Arc::clone(&sent));
        let began = Instant::now();
        let thread = thread::spawn(move || {
            let mut burst = vec![Vec::new(); BURST];
            while !is_over.load(Ordering::Relaxed) {
                junk.turn();
                for packet in &mut burst {
                    packet.clear();
                    packet.extend_from_slice(junk.next());
                }
                let gone = send(&socket, to, &burst) as u64;
                let all = count.fetch_add(gone, Ordering::Relaxed) + gone;
                if pace > 0 {
                    let due = Duration::from_secs_f64(all as f64 / f64::from(pace));
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

/// Sends these in one system call; how many went. The socket is not connected, so that answers of the kernel for a closed port are no
/// errors of the next packets.
fn send(socket: &UdpSocket, to: SocketAddr, packets: &[Vec<u8>]) -> usize {
    let to = to.as_any();
    let slices: Vec<_> = packets.iter().map(|one| [IoSlice::new(one)]).collect();
    let mut nothing: Vec<_> = packets
        .iter()
        .map(|_| SendAncillaryBuffer::default())
        .collect();
    let headers = slices.iter().zip(&mut nothing);
    let mut headers: Vec<_> = headers
        .map(|(slice, nothing)| MMsgHdr::new_with_addr(&to, slice, nothing))
        .collect();
    sendmmsg(socket, &mut headers, SendFlags::empty()).unwrap_or_default()
}

/// Makes one packet after another without a system call.
struct Junk {
    kind: Kind,
    alice: UserKeys,
    hint: [u8; 8],
    made: Vec<Vec<u8>>,
    random: [u8; GIANT],
    dice: Random,
    at: usize,
}

impl Junk {
    fn of(from: &Client, family: Family, kind: Kind) -> Self {
        let made = match kind {
            Kind::Replay => {
                let packet = KnockMaker::new("alice").open(from.address(family), SERVICE, 1);
                from.send(family, &packet);
                vec![packet]
            }
            Kind::UnknownKey => (0..512)
                .map(|_| KnockMaker::new("mallory").open(from.address(family), SERVICE, 60))
                .collect(),
            _ => Vec::new(),
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
            random: [0; GIANT],
            dice: Random(1),
            at: 0,
        };
        for at in (0..GIANT - 8).step_by(8) {
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
        let any = usize::try_from(random >> 32).unwrap();
        let len = match self.kind {
            Kind::Length if any % 2 == 0 => 8 + any % (PACKET_MIN - 8),
            Kind::Length => PACKET_MAX + 1 + any % 900,
            Kind::Giant => GIANT,
            _ => PACKET_MIN + any % (PACKET_MAX - PACKET_MIN + 1),
        };
        let first = match self.kind {
            Kind::WrongMac | Kind::Length | Kind::Giant => self.hint,
            _ => random.to_le_bytes(),
        };
        self.random[..8].copy_from_slice(&first);
        self.random[8..16].copy_from_slice(&random.to_be_bytes());
        &self.random[..len]
    }
}
