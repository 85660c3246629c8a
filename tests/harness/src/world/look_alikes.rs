//! Packets that look like fwknop's and that no user made, at a steady rate.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{CLIENT_INTERFACE, Client, KNOCK};
use crate::Random;
use crate::packets::{RawLink, udp4};

/// Where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// A million forged addresses.
    Million,
    One(Ipv4Addr),
}

/// Packets between two looks at the clock.
const BURST: u64 = 32;
/// Ethernet and IPv4: where the source address is.
const SOURCE_AT: usize = 26;

/// A running flood, until it is ended.
pub struct LookAlikes {
    over: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Duration)>,
}

impl LookAlikes {
    /// Sends this payload, and a new end of it each time if `vary`. 0 a second is as many as can be sent.
    pub fn start(
        from: &Client,
        payload: &[u8],
        sources: Sources,
        vary: bool,
        per_second: u32,
    ) -> Self {
        let mut link = RawLink::open(&from.space, CLIENT_INTERFACE);
        let macs = [from.mac(1), from.mac(2)].concat();
        let mut frame = [&macs[..], &[8, 0], &udp4(KNOCK, payload)].concat();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let (began, mut sent, mut random) = (Instant::now(), 0_u64, Random(7));
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    let source = match sources {
                        Sources::Million => 0x6400_0000 + random.below(1_000_000) as u32,
                        Sources::One(source) => source.to_bits(),
                    };
                    frame[SOURCE_AT..SOURCE_AT + 4].copy_from_slice(&source.to_be_bytes());
                    let end = frame.len();
                    for byte in frame[end - 8..].iter_mut().filter(|_| vary) {
                        *byte = b'A' + random.below(26) as u8;
                    }
                    link.send(&frame);
                }
                sent += BURST;
                if per_second > 0 {
                    let due = Duration::from_secs_f64(sent as f64 / f64::from(per_second));
                    std::thread::sleep(due.saturating_sub(began.elapsed()));
                }
            }
            (sent, began.elapsed())
        });
        Self { over, thread }
    }

    /// Ends it; how many packets went, and how many a second.
    pub fn end(self) -> (u64, f64) {
        self.over.store(true, Ordering::Relaxed);
        let (sent, took) = self.thread.join().unwrap();
        (sent, sent as f64 / took.as_secs_f64())
    }
}
