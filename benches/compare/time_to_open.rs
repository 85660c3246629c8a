//! The time from a knock to the answer of the service.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use postern_harness::{Client, KNOCK, SERVICE, socket_for};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

/// From one connection attempt to the next.
const APART: Duration = Duration::from_micros(200);
/// Attempts that may still be answered: an older one was dropped by the firewall, and is sent again only after a second.
const OPEN_TRIES: usize = 3;
/// After this time the knock counts as lost.
const LOST: Duration = Duration::from_secs(2);

/// Sends the knock, and SYNs from this address each 200 µs until one is answered. `phase` says when the first one goes, in
/// thousandths of that time.
pub(crate) fn time_to_open(
    client: &Client,
    knock: Vec<u8>,
    from: Ipv4Addr,
    phase: u32,
) -> Option<Duration> {
    client.space.run(move || {
        let gate = IpAddr::from([10, 77, 0, 1]);
        let [port, service] = [KNOCK, SERVICE].map(|port| SocketAddr::new(gate, port));
        let sender = socket_for(port);
        sender.connect(port).unwrap();
        // the kernel wakes a thread up to 50 µs late otherwise
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).unwrap();
        let mut tries: VecDeque<Socket> = VecDeque::new();
        let began = Instant::now();
        sender.send(&knock).unwrap();
        let mut next = began + APART * phase / 1000;
        loop {
            if wait_for_answer(&tries, next) {
                return Some(began.elapsed());
            }
            if began.elapsed() > LOST {
                return None;
            }
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
            socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
            let _ = socket.connect(&service.into());
            tries.push_back(socket);
            tries.drain(..tries.len().saturating_sub(OPEN_TRIES));
            next += APART;
        }
    })
}

/// Waits until an attempt succeeds, or until the next one is due.
fn wait_for_answer(tries: &VecDeque<Socket>, until: Instant) -> bool {
    let mut waiting: Vec<PollFd<'_>> = tries
        .iter()
        .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT))
        .collect();
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).unwrap();
    poll(&mut waiting, Some(&left)).unwrap_or(0) > 0
        && tries.iter().any(|socket| socket.peer_addr().is_ok())
}
