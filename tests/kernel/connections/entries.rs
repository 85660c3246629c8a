//! Entries of the table without a socket of the gate, and the time that a large table takes.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use postern::adapters::conntrack::Conntrack;
use postern::adapters::conntrack::kernel::KernelConntrack;
use postern::model::grant::Grant;
use postern::model::request::OpenRequest;
use postern::model::time::Timestamp;
use postern_harness::Namespace;

use crate::inputs;

use super::{CLIENT_V4, ENDS, V4, World, end, request, settings};

pub(crate) fn udp_flows_and_pings_end_with_their_grant(driver: &'static str) {
    let world = World::new();
    for port in [5000, 6000] {
        let socket = world
            .gate
            .run(move || UdpSocket::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            let mut bytes = [0; 16];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                socket.send_to(&bytes[..length], from).unwrap();
            }
        });
    }
    world.start(driver, settings("", ENDS));
    world.open(request("alice", CLIENT_V4, &["udp/5000-5999", "icmp"]));
    let flow = |port: u16| {
        let socket = world.client.run(|| UdpSocket::bind((V4[1], 0)).unwrap());
        socket.connect((V4[0], port)).unwrap();
        socket
    };
    let is_answered = |socket: &UdpSocket, seconds: u64| {
        let timeout = Some(Duration::from_secs(seconds));
        socket.set_read_timeout(timeout).unwrap();
        socket.send(b"hello").is_ok() && socket.recv(&mut [0; 16]).is_ok()
    };
    let count = || ["dport=5000 ", "icmp "].map(|text| world.entries(text).len());
    let (granted, other) = (flow(5000), flow(6000));
    assert!(is_answered(&granted, 10) && is_answered(&other, 10));
    assert!(world.client.pings(V4[1], V4[0]));
    assert_eq!(count(), [1, 1]);
    world.serve(vec![end(None)]);
    assert_eq!(count(), [0, 0]);
    assert!(!is_answered(&granted, 1) && is_answered(&other, 10));
}

pub(crate) fn entries_through_the_gate_end_with_their_own_grant(driver: &'static str) {
    let world = World::new();
    let host = Namespace::new();
    let there = ["10.0.0.5/24", "10.0.0.6/24"];
    world.gate.link(&host, "inside", &["10.0.0.1/24"], &there);
    world.gate.sh("sysctl -qw net.ipv4.ip_forward=1");
    world.client.ip("route add default via 192.0.2.1");
    host.ip("route add default via 10.0.0.1");
    host.serve_echo(22);
    world.gate.serve_echo(22);
    let mut settings = settings("", ENDS);
    // connections without a grant must succeed
    settings.firewall.protect = false;
    world.start(driver, settings);
    let behind = OpenRequest {
        target: Some("10.0.0.5".parse().unwrap()),
        ..request("alice", CLIENT_V4, &["tcp/22"])
    };
    let to_gate = request("alice", "192.0.2.8/32", &["tcp/22"]);
    for (request, client, expected) in [
        (behind, "192.0.2.7", [0, 1]),
        (to_gate, "192.0.2.8", [1, 1]),
    ] {
        world.open(request);
        let hosts = ["10.0.0.5", "10.0.0.6"];
        let open = hosts.map(|host| world.connect([host, client], 22));
        world.serve(vec![end(None)]);
        let left = hosts.map(|host| {
            let text = format!("ESTABLISHED src={client} dst={host} ");
            world.entries(&text).len()
        });
        assert_eq!(left, expected, "{client}");
        drop(open);
    }
}

pub(crate) fn thousands_of_grants_end_with_one_dump() {
    let world = World::started("nftables", settings("", ""), &[]);
    let grant = |allow: &str| inputs::grant(1, allow, &["udp/1-65535"], Timestamp::default());
    let grants = move |first: u32| -> Vec<Grant> {
        let addresses = (first..first + 5000).map(Ipv4Addr::from);
        addresses
            .map(|address| grant(&address.to_string()))
            .collect()
    };
    world.client.run(|| {
        let socket = UdpSocket::bind("192.0.2.7:0").unwrap();
        for port in 10_000..20_000_u16 {
            let _ = socket.send_to(b"x", (V4[0], port));
        }
    });
    let before = world.entries("udp ").len();
    assert!(before > 5000, "{before} entries");
    let (ended, took) = world.gate.run(move || {
        let mut kernel = KernelConntrack::open().unwrap();
        let mut ended = grants(0x0a00_0000);
        ended.push(grant(V4[1]));
        let live = grants(0x0b00_0000);
        let start = Instant::now();
        let count = kernel.end(&ended, &mut live.iter()).unwrap();
        (count, start.elapsed())
    });
    assert_eq!((ended, world.entries("udp ").len()), (before, 0));
    assert!(took < Duration::from_secs(10), "{took:?}");
}
