//! Sees every frame that the gate puts on a client's link, except those by which hosts find their neighbours: the kernel
//! sends them by itself, not an answer to a packet of the test.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use postern_harness::Client;

// linux/if_ether.h, linux/filter.h, linux/if_packet.h
const ETH_P_ALL: u16 = 0x0003;
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const OUTGOING: u32 = 4;

/// A packet socket in the client's namespace and the thread that reads it.
pub(crate) struct Observer {
    frames: Arc<Mutex<Vec<Vec<u8>>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    pub(crate) fn start(client: &Client) -> Self {
        let socket = client.space.run(|| {
            let socket = Socket::new(
                Domain::PACKET,
                Type::RAW,
                Some(Protocol::from(i32::from(ETH_P_ALL.to_be()))),
            )
            .unwrap();
            // What the client sends is not kept, so that it leaves space for the gate's frames.
            let load_type = SockFilter::new(0x20, 0, 0, PACKET_TYPE);
            let if_outgoing = SockFilter::new(0x15, 0, 1, OUTGOING);
            let [nothing, all] =
                [0, u32::from(u16::MAX)].map(|bytes| SockFilter::new(0x06, 0, 0, bytes));
            socket
                .attach_filter(&[load_type, if_outgoing, nothing, all])
                .unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            socket
        });
        let (frames, over) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (kept, told, gate) = (Arc::clone(&frames), Arc::clone(&over), client.mac(1));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !told.load(Ordering::Relaxed) {
                let Ok(len) = (&socket).read(&mut buffer) else {
                    continue;
                };
                let frame = &buffer[..len];
                if frame.get(6..12) == Some(&gate[..]) && !finds_neighbours(frame) {
                    kept.lock().unwrap().push(frame.to_vec());
                }
            }
        });
        Self {
            frames,
            over,
            thread: Some(thread),
        }
    }

    /// All frames so far.
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        self.frames.lock().unwrap().clone()
    }
}

/// ARP, neighbour discovery (RFC 4861: ICMPv6 types 133 to 137), or the report that a neighbour may be asked for in a multicast
/// group (RFC 3810: to ff02::16).
fn finds_neighbours(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) if frame.starts_with(&[0x33, 0x33, 0, 0, 0, 0x16]) => true,
        Some([0x86, 0xdd]) => {
            frame.get(20) == Some(&58)
                && frame.get(54).is_some_and(|kind| (133..=137).contains(kind))
        }
        _ => false,
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
