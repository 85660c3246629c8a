//! Connections end with the grant that they rest on where the config asks for it, and live on where it does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use postern::core::order::{Order, Report, Selection};
use postern::model::request::CloseRequest;

use crate::space::{echoes, wait_until};
use crate::{DRIVERS, HOUR, V4, V6, World, now, only, read, request, settings};

const ASK: &str = "end_connections = true";

/// How a grant of alice can end.
#[derive(Debug, Clone, Copy)]
enum End {
    Time,
    User,
    Administrator,
    Reload,
}

impl World {
    fn end(&self, how: End, allow: &str) {
        let allow = allow.parse().unwrap();
        let request = move || CloseRequest {
            user: "alice".to_owned(),
            allow,
            target: None,
            services: Vec::new(),
        };
        let reports = self.executor(move |executor| match how {
            End::Time => executor.serve(now().plus(HOUR), Vec::new()),
            End::User => executor.serve(
                now(),
                vec![Order::Close {
                    ticket: 2,
                    request: request(),
                }],
            ),
            End::Administrator => executor.serve(
                now(),
                vec![Order::End {
                    ticket: 2,
                    which: Selection::User("alice".to_owned()),
                }],
            ),
            End::Reload => {
                let nobody = read(
                    "[gate]\nname = \"g\"\n[[user]]\nname = \"bob\"\nkey = \"".to_owned()
                        + &"A".repeat(43)
                        + "=\"\nservices = [\"tcp/22\"]",
                );
                executor.reload(&nobody, now()).unwrap();
                Vec::new()
            }
        });
        if !reports.is_empty() {
            assert!(
                matches!(reports.as_slice(), [Report::Closed { count: 1, .. }]),
                "{reports:?}"
            );
        }
        assert!(
            self.executor(|executor| executor.grants().all(|grant| grant.user == "bob")),
            "{how:?}"
        );
    }
}

pub fn a_connection_ends_with_its_grant_however_that_ends_where_the_user_asks_for_it_and_else_lives_on()
 {
    for driver in DRIVERS {
        for how in [End::Time, End::User, End::Administrator, End::Reload] {
            for (asks, [gate, client]) in [(true, V4), (true, V6), (false, V4), (false, V6)] {
                let world = World::with_a_client();
                world.gate.serve(22);
                world.start(driver, settings("", if asks { ASK } else { "" }));
                world.open(request("alice", &only(client), &["tcp/22"]));
                let mut connection = world.connect(client, gate, 22);
                assert!(echoes(&mut connection));
                let port = connection.local_addr().unwrap().port();
                let entries = || world.entries(&format!("sport={port} dport=22 "));
                assert_eq!(entries().len(), 1);
                world.end(how, &only(client));
                assert_eq!(
                    entries().len(),
                    usize::from(!asks),
                    "{driver:?} {how:?} {client}: {:?}",
                    entries()
                );
                assert_eq!(
                    echoes(&mut connection),
                    !asks,
                    "{driver:?} {how:?} {client}"
                );
                assert_eq!(
                    entries().len(),
                    usize::from(!asks),
                    "what the client sent made no new entry: {:?}",
                    entries()
                );
                assert!(
                    !world.client.reaches(client, gate, 22),
                    "{driver:?} {how:?}: the door itself is closed"
                );
            }
        }
    }
}

pub fn a_gate_that_goes_on_sending_does_not_revive_what_has_ended() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        world.gate.run(|| {
            let listener = TcpListener::bind("[::]:22").unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                while stream.write_all(b"a line of a log").is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        });
        world.start(driver, settings("", ASK));
        world.open(request("alice", "192.0.2.7/32", &["tcp/22"]));
        let mut connection = world.connect(V4[1], V4[0], 22);
        connection
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        connection.read_exact(&mut [0; 100]).unwrap();
        world.end(End::Administrator, "192.0.2.7/32");
        let start = Instant::now();
        let last = loop {
            match connection.read(&mut [0; 4096]) {
                Ok(1..) if start.elapsed() < Duration::from_secs(5) => {}
                other => break other,
            }
        };
        assert_eq!(
            last.map_err(|error| error.kind()),
            Err(ErrorKind::ConnectionReset),
            "{driver:?}: the client is told"
        );
        std::thread::sleep(Duration::from_millis(300));
        assert!(
            world.entries("port=22 ").is_empty(),
            "{driver:?}: {:?}",
            world.entries("port=22 ")
        );
    }
}

pub fn where_a_service_asks_for_it_only_its_connections_end() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        [22, 80].into_iter().for_each(|port| world.gate.serve(port));
        world.start(driver, settings(ASK, ""));
        world.open(request("alice", "192.0.2.7/32", &["tcp/22", "web"]));
        let [mut shell, mut web] = [22, 80].map(|port| world.connect(V4[1], V4[0], port));
        assert!(echoes(&mut shell) && echoes(&mut web));
        world.end(End::User, "192.0.2.7/32");
        assert!(echoes(&mut shell) && !echoes(&mut web), "{driver:?}");
    }
}

pub fn what_another_live_grant_covers_lives_on() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        world.gate.serve(22);
        world.start(driver, settings("", ASK));
        world.open(request("alice", "192.0.2.7/32", &["tcp/22"]));
        world.open(request("bob", "192.0.2.0/28", &["tcp/22"]));
        world.open(request("bob", "2001:db8::7/128", &["tcp/22"]));
        let mut shared = world.connect(V4[1], V4[0], 22);
        world.end(End::Administrator, "192.0.2.7/32");
        assert!(
            echoes(&mut shared),
            "{driver:?}: bob's grant holds the address too"
        );
        world.open(request("alice", "192.0.2.7/32", &["tcp/22"]));
        world.executor(|executor| {
            executor.serve(
                now(),
                vec![Order::End {
                    ticket: 3,
                    which: Selection::User("bob".to_owned()),
                }],
            )
        });
        assert!(
            echoes(&mut shared),
            "{driver:?}: now alice's does, and bob did not ask"
        );
        world.end(End::Administrator, "192.0.2.7/32");
        assert!(!echoes(&mut shared), "{driver:?}: nobody's");
    }
}

pub fn a_listener_outlives_the_end_of_connections_whose_sockets_are_gone_already() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        world.gate.serve(22);
        world.start(driver, settings("", ASK));
        world.open(request("alice", "192.0.2.7/32", &["tcp/22"]));
        drop(world.connect(V4[1], V4[0], 22));
        let mut closed = world.connect(V4[1], V4[0], 22);
        assert!(echoes(&mut closed));
        // closed by the gate's end: a reset leaves no socket behind, but an entry that is forgotten only seconds later
        closed.set_linger_zero();
        drop(closed);
        assert!(
            wait_until(
                || world.gate.sh("ss -Htn sport = :22").is_empty(),
                Duration::from_secs(5)
            )
            .is_some()
        );
        assert!(
            !world.entries("dport=22 ").is_empty(),
            "the entry is there without its socket"
        );
        world.end(End::Administrator, "192.0.2.7/32");
        assert!(world.entries("dport=22 ").is_empty());
        world.open(request("alice", "192.0.2.7/32", &["tcp/22"]));
        let mut again = world.connect(V4[1], V4[0], 22);
        assert!(echoes(&mut again), "{driver:?}");
    }
}

trait LingerZero {
    fn set_linger_zero(&self);
}

impl LingerZero for TcpStream {
    fn set_linger_zero(&self) {
        socket2::SockRef::from(self)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}
