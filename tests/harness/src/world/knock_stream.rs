//! Load: endless knocks from the first client, each for another address, even while the gate fails.
//!
//! A test can pause it to compare a fixed state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{FAMILIES, Family, GateConfig, KNOCK, KnockMaker, SERVICE, World, socket_for};

/// Whose knocks these are.
const USER: &str = "crowd";

/// How long each lets in, in seconds.
const OPEN_FOR: u32 = 2;

/// After so many knocks the load is steady.
const FLOWING: u64 = 20;

/// A thread that knocks.
pub struct KnockStream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    turn: Mutex<()>,
    is_over: AtomicBool,
    sent: AtomicU64,
}

/// The config with the stream's user.
pub fn with_crowd(plan: GateConfig) -> GateConfig {
    plan.member(USER, "quota = \"1000000/min\"\nmax_grants = 32768")
}

impl KnockStream {
    /// So many knocks a second, over both families in turn; none for 0.
    pub fn start(world: &World, pace: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let sockets = FAMILIES.map(|family| {
            let to = SocketAddr::new(family.address(1), KNOCK);
            (family, to, world.first.space.run(move || socket_for(to)))
        });
        let knocking = Arc::clone(&shared);
        let thread = (pace > 0).then(|| {
            thread::spawn(move || {
                let maker = KnockMaker::new(USER);
                for (family, to, socket) in sockets.iter().cycle() {
                    let turn = knocking.turn.lock().unwrap_or_else(PoisonError::into_inner);
                    if knocking.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let number = knocking.sent.fetch_add(1, Ordering::Relaxed);
                    // While the gate is down the kernel may say that nobody listens.
                    let _ = socket
                        .send_to(&maker.open(address(*family, number), SERVICE, OPEN_FOR), to);
                    drop(turn);
                    thread::sleep(Duration::from_secs(1) / pace);
                }
            })
        });
        Self { shared, thread }
    }

    /// No knock is sent while this is held.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.shared
            .turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the load is steady; returns at once without load.
    pub fn flow(&self) {
        let before = self.sent();
        while self.thread.is_some() && self.sent() < before + FLOWING {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many were sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for KnockStream {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Another address for each knock.
fn address(family: Family, number: u64) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from(Ipv4Addr::from_bits(
            0x0a80_0001 + u32::try_from(number % 0x7f_ffff).unwrap(),
        )),
        Family::V6 => IpAddr::from(Ipv6Addr::from_bits(
            (0xfd88_u128 << 112) + 1 + u128::from(number),
        )),
    }
}
