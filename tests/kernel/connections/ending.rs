//! Connections end with their grant if the config asks for it, and stay open otherwise.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use postern::core::order::Order;
use postern::model::request::CloseRequest;
use postern_harness::{echoes, now, wait_until};

use super::{CLIENT_V4, CLIENT_V6, ENDS, HOUR, V4, V6, World, end, only_bob, request, settings};

/// How the grants of alice end.
#[derive(Debug, Clone, Copy)]
enum Cause {
    Time,
    User,
    Administrator,
    Reload,
}

fn end_grants(world: &World, cause: Cause) {
    let close = |allow: &str| Order::Close {
        ticket: 2,
        request: CloseRequest {
            user: "alice".to_owned(),
            allow: allow.parse().unwrap(),
            target: None,
            services: Vec::new(),
        },
    };
    match cause {
        Cause::Time => {
            world.executor(|executor| executor.serve(now().plus(HOUR), Vec::new()));
        }
        Cause::User => {
            world.serve([CLIENT_V4, CLIENT_V6].map(close).to_vec());
        }
        Cause::Administrator => {
            world.serve(vec![end(Some("alice"))]);
        }
        Cause::Reload => {
            world.executor(|executor| executor.reload(&only_bob("tcp/22"), now()).unwrap());
        }
    }
    let is_done = world.executor(|executor| executor.grants().all(|grant| grant.user == "bob"));
    assert!(is_done, "{cause:?}");
}

pub(crate) fn connections_end_with_their_grant_on_request(driver: &'static str) {
    let causes = [
        Cause::Time,
        Cause::User,
        Cause::Administrator,
        Cause::Reload,
    ];
    for (cause, asks) in causes
        .into_iter()
        .flat_map(|cause| [(cause, true), (cause, false)])
    {
        let world = World::started(driver, settings("", if asks { ENDS } else { "" }), &[22]);
        world.open(request("alice", CLIENT_V4, &["tcp/22"]));
        world.open(request("alice", CLIENT_V6, &["tcp/22"]));
        let mut connections = [V4, V6].map(|ends| world.connect(ends, 22));
        assert!(connections.iter_mut().all(echoes));
        let ports = connections
            .each_ref()
            .map(|connection| connection.local_addr().unwrap().port());
        let count = || {
            let entries = |port| world.entries(&format!("sport={port} dport=22 ")).len();
            ports.map(entries)
        };
        assert_eq!(count(), [1, 1]);
        end_grants(&world, cause);
        let left = [usize::from(!asks); 2];
        assert_eq!(count(), left, "{cause:?} {asks}");
        for connection in &mut connections {
            assert_eq!(echoes(connection), !asks, "{cause:?}");
        }
        // the client's attempt made no new entry
        assert_eq!(count(), left, "{cause:?} {asks}");
        for [gate, client] in [V4, V6] {
            assert!(!world.client.reaches(client, gate, 22), "{cause:?}");
        }
    }
}

pub(crate) fn sending_gate_does_not_revive_a_connection(driver: &'static str) {
    let world = World::new();
    let listener = world.gate.run(|| TcpListener::bind("[::]:22").unwrap());
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"a line of a log").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    world.start(driver, settings("", ENDS));
    world.open(request("alice", CLIENT_V4, &["tcp/22"]));
    let mut connection = world.connect(V4, 22);
    let timeout = Some(Duration::from_secs(5));
    connection.set_read_timeout(timeout).unwrap();
    connection.read_exact(&mut [0; 100]).unwrap();
    end_grants(&world, Cause::Administrator);
    let last = loop {
        match connection.read(&mut [0; 4096]) {
            Ok(1..) => {}
            other => break other.map_err(|error| error.kind()),
        }
    };
    assert_eq!(last, Err(ErrorKind::ConnectionReset));
    sender.join().unwrap();
    let entries = world.entries("port=22 ");
    assert!(entries.is_empty(), "{entries:?}");
}

pub(crate) fn service_option_ends_its_connections_only(driver: &'static str) {
    let world = World::started(driver, settings(ENDS, ""), &[22, 80]);
    world.open(request("alice", CLIENT_V4, &["tcp/22", "web"]));
    let [mut shell, mut web] = [22, 80].map(|port| world.connect(V4, port));
    assert!(echoes(&mut shell) && echoes(&mut web));
    end_grants(&world, Cause::User);
    assert!(echoes(&mut shell) && !echoes(&mut web));
}

pub(crate) fn connection_of_another_live_grant_stays(driver: &'static str) {
    let world = World::started(driver, settings("", ENDS), &[22]);
    world.open(request("alice", CLIENT_V4, &["tcp/22"]));
    world.open(request("bob", "192.0.2.0/28", &["tcp/22"]));
    world.open(request("bob", CLIENT_V6, &["tcp/22"]));
    let mut shared = world.connect(V4, 22);
    end_grants(&world, Cause::Administrator);
    assert!(echoes(&mut shared), "bob's grant covers it");
    world.open(request("alice", CLIENT_V4, &["tcp/22"]));
    world.serve(vec![end(Some("bob"))]);
    assert!(echoes(&mut shared), "alice's grant covers it");
    end_grants(&world, Cause::Administrator);
    assert!(!echoes(&mut shared), "no grant covers it");
}

pub(crate) fn listener_survives_the_end_of_closed_connections(driver: &'static str) {
    let world = World::started(driver, settings("", ENDS), &[22]);
    world.open(request("alice", CLIENT_V4, &["tcp/22"]));
    drop(world.connect(V4, 22));
    let mut closed = world.connect(V4, 22);
    assert!(echoes(&mut closed));
    // a reset leaves no socket, but an entry that the kernel forgets only seconds later
    let socket = socket2::SockRef::from(&closed);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(closed);
    wait_until("end of the sockets", || {
        world.gate.sh("ss -Htn sport = :22").is_empty()
    });
    assert!(!world.entries("dport=22 ").is_empty());
    end_grants(&world, Cause::Administrator);
    assert!(world.entries("dport=22 ").is_empty());
    world.open(request("alice", CLIENT_V4, &["tcp/22"]));
    assert!(echoes(&mut world.connect(V4, 22)));
}
