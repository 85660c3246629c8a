//! What becomes of the table's entries that have no socket of the gate behind them, and how long a look at a full table takes.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use postern::adapters::conntrack::Conntrack;
use postern::adapters::conntrack::kernel::KernelConntrack;
use postern::core::order::{Order, Selection};
use postern::model::grant::{Grant, GrantId};
use postern::model::time::Timestamp;

use crate::space::Space;
use crate::{DRIVERS, V4, World, now, request, settings};

fn end_all(world: &World) {
    world.executor(|executor| {
        executor.serve(
            now(),
            vec![Order::End {
                ticket: 2,
                which: Selection::All,
            }],
        )
    });
}

pub fn flows_of_udp_and_pings_end_with_their_grant_and_those_of_other_ports_and_sources_do_not() {
    for driver in DRIVERS {
        let world = World::with_a_client();
        world.gate.run(|| {
            for port in [5000, 6000] {
                let socket = UdpSocket::bind(("::", port)).unwrap();
                std::thread::spawn(move || {
                    let mut bytes = [0; 16];
                    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                        socket.send_to(&bytes[..length], from).unwrap();
                    }
                });
            }
        });
        world.start(driver, settings("", "end_connections = true"));
        world.open(request("alice", "192.0.2.7/32", &["udp/5000-5999", "icmp"]));
        let flow = |from: &'static str, port: u16| {
            world.client.run(move || {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                socket.connect((V4[0], port)).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(1)))
                    .unwrap();
                socket
            })
        };
        let answers =
            |socket: &UdpSocket| socket.send(b"hello").is_ok() && socket.recv(&mut [0; 16]).is_ok();
        let (granted, beside) = (flow(V4[1], 5000), flow(V4[1], 6000));
        assert!(answers(&granted) && answers(&beside) && world.client.pings(V4[1], V4[0]));
        assert_eq!(
            (
                world.entries("dport=5000 ").len(),
                world.entries("icmp ").len()
            ),
            (1, 1),
            "{driver:?}"
        );
        end_all(&world);
        assert_eq!(
            (
                world.entries("dport=5000 ").len(),
                world.entries("icmp ").len()
            ),
            (0, 0),
            "{driver:?}"
        );
        assert!(!answers(&granted), "{driver:?}");
        assert!(answers(&beside), "{driver:?}");
    }
}

pub fn a_grant_to_a_host_behind_the_gate_takes_the_entries_to_that_host_along_and_one_to_the_gate_none_that_pass_through()
 {
    for driver in DRIVERS {
        let world = World::with_a_client();
        let host = Space::new();
        world.gate.link(
            &host,
            "in",
            &["10.0.0.1/24"],
            &["10.0.0.5/24", "10.0.0.6/24"],
        );
        world.gate.sh("sysctl -qw net.ipv4.ip_forward=1");
        world.client.sh("ip route add default via 192.0.2.1");
        host.sh("ip route add default via 10.0.0.1");
        host.serve(22);
        world.gate.serve(22);
        let mut settings = settings("", "end_connections = true");
        // connections that rest on no grant must come about
        settings.firewall.protect = false;
        world.start(driver, settings);
        let behind = |target: &str| postern::model::request::OpenRequest {
            target: Some(target.parse().unwrap()),
            ..request("alice", "192.0.2.7/32", &["tcp/22"])
        };
        for (grant, passing) in [
            (behind("10.0.0.5"), "192.0.2.7"),
            (request("alice", "192.0.2.8/32", &["tcp/22"]), "192.0.2.8"),
        ] {
            let target = grant.target;
            world.open(grant);
            let open = ["10.0.0.5", "10.0.0.6"].map(|target| world.connect(passing, target, 22));
            end_all(&world);
            let there = |host: &str| {
                world
                    .entries(&format!("ESTABLISHED src={passing} dst={host} "))
                    .len()
            };
            assert_eq!(
                (there("10.0.0.5"), there("10.0.0.6")),
                (usize::from(target.is_none()), 1),
                "{driver:?} {target:?}"
            );
            drop(open);
        }
    }
}

fn grant(id: u64, allow: std::net::IpAddr) -> Grant {
    Grant {
        id: GrantId(id),
        user: "alice".to_owned(),
        allow: allow.into(),
        target: None,
        services: vec!["udp/1-65535".parse().unwrap()],
        forwards: Vec::new(),
        until: Timestamp::default(),
    }
}

#[expect(clippy::print_stderr, reason = "how it went is worth a line")]
pub fn five_thousand_grants_end_with_one_look_at_a_table_of_thousands() {
    let world = World::with_a_client();
    world.start(DRIVERS[1], settings("", ""));
    let sent = world.client.run(|| {
        let socket = UdpSocket::bind("192.0.2.7:0").unwrap();
        (10_000..20_000_u16)
            .filter(|port| socket.send_to(b"x", (V4[0], *port)).is_ok())
            .count()
    });
    let before = world.entries("udp ").len();
    assert!(sent > 5000 && before > 5000, "{sent} {before}");
    let (ended, took) = world.gate.run(|| {
        let mut kernel = KernelConntrack::open().unwrap();
        let others = (0..4999_u32).map(|n| {
            grant(
                u64::from(n),
                std::net::Ipv4Addr::from(0x0a00_0000 + n).into(),
            )
        });
        let ended: Vec<Grant> = others
            .chain([grant(5000, V4[1].parse().unwrap())])
            .collect();
        let live: Vec<Grant> = (0..5000_u32)
            .map(|n| {
                grant(
                    u64::from(n),
                    std::net::Ipv4Addr::from(0x0b00_0000 + n).into(),
                )
            })
            .collect();
        let start = Instant::now();
        (
            kernel.end(&ended, &mut live.iter()).unwrap(),
            start.elapsed(),
        )
    });
    eprintln!("{ended} entries of 5,000 grants deleted in {took:?}");
    assert_eq!((ended, world.entries("udp ").len()), (before, 0));
    assert!(took < Duration::from_secs(10), "{took:?}");
}
