//! Any bytes as a recording, whole or through a slow pipe: it ends, in bounded steps, and makes no packet up.

use std::io::{Cursor, Read};

use postern::adapters::capture::recording::{Found, Recorded, Recording};

const PORTS: [u16; 2] = [62201, 53];

pub fn run(data: &[u8]) {
    let whole = read(Cursor::new(data.to_vec()));
    let slow = read(Slow(Cursor::new(data.to_vec())));
    assert_eq!(
        whole.iter().map(said).collect::<Vec<_>>(),
        slow.iter().map(said).collect::<Vec<_>>(),
        "however it comes"
    );
    // The shortest block of a packet has 16 bytes.
    assert!(
        whole.len() <= data.len() / 16,
        "{} packets in {} bytes",
        whole.len(),
        data.len()
    );
    for packet in &whole {
        match &packet.found {
            Found::Datagram(datagram) => {
                let payload = datagram.payload();
                assert!(PORTS.contains(&datagram.port()));
                assert!(
                    payload.is_empty() || data.windows(payload.len()).any(|bytes| bytes == payload),
                    "{datagram:?} is not in the file"
                );
            }
            Found::Other(other) => assert!(!other.to_string().contains('\n'), "{other:?}"),
        }
    }
}

/// Every packet up to the end or the first fault.
pub fn read(file: impl Read + 'static) -> Vec<Recorded> {
    let Ok(mut recording) = Recording::open(file, &PORTS) else {
        return Vec::new();
    };
    let mut packets = Vec::new();
    while let Ok(Some(packet)) = recording.read() {
        packets.push(packet);
    }
    packets
}

fn said(packet: &Recorded) -> String {
    let found = match &packet.found {
        Found::Datagram(datagram) => format!("{datagram:?} {:?}", datagram.payload()),
        Found::Other(other) => format!("{other:?}"),
    };
    format!("{} {:?} {found}", packet.number, packet.at)
}

/// Gives a few bytes at a time.
struct Slow(Cursor<Vec<u8>>);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let end = buffer.len().min(7);
        self.0.read(&mut buffer[..end])
    }
}
