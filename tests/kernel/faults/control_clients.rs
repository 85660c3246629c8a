//! Hostile clients of the control socket, which are faulty programs of root. They delay no knock and no other question, and cost
//! bounded descriptors and memory.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

use postern_harness::process::{descriptors, memory};
use postern_harness::{FAMILIES, GateConfig, World, wait_until};

const MANY: usize = 300;

fn says(number: usize) -> Vec<u8> {
    match number % 6 {
        0 => Vec::new(),
        1 => b"\"gra".to_vec(),
        2 => b"\"grants\"\n".repeat(100),
        3 => vec![b'['; 1 << 20],
        4 => (0..4000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect(),
        _ => b"{\"close\":{\"id\":18446744073709551616}}\n\0\xff\"status\"\n".to_vec(),
    }
}

fn hostile(socket: &Path, number: usize) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_nonblocking(true).unwrap();
    // Fills the socket, then waits.
    let _ = stream.write(&says(number));
    stream
}

pub(crate) fn hostile_clients_delay_no_knock(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    let socket = world.folder().join("control.sock");
    world.daemon.status();
    let engine = world.daemon.engine();
    let (open_before, memory_before) = (descriptors(engine), memory(engine));
    let mut clients = Vec::new();
    for round in 0..4 {
        clients.extend((0..MANY).map(|number| hostile(&socket, number)));
        let family = FAMILIES[round % 2];
        world.first.expect_shut_out(family);
        world.first.open("alice", family, &["--for", "10m"]);
        assert_eq!(world.daemon.grants().len(), 1);
        world.daemon.asked(&["close", "--all"]);
        let open = descriptors(engine);
        assert!(
            open <= open_before + 70,
            "{open} descriptors, {open_before} before"
        );
    }
    let memory = memory(engine);
    assert!(
        memory < memory_before + (16 << 10),
        "{memory} kB, {memory_before} before"
    );
    drop(clients);
    wait_until("the engine to be rid of them", || {
        descriptors(engine) <= open_before
    });
    assert_eq!(world.daemon.engine(), engine, "the engine was replaced");
}
