//! Connections that are older than connection tracking survive the first installation.

use std::net::{TcpListener, TcpStream};

use postern::adapters::conntrack::Conntrack;
use postern::adapters::conntrack::kernel::KernelConntrack;
use postern::daemon::monitor::executor::Executor;
use postern_harness::world::checks::native;
use postern_harness::{echoes, now, traffic};

use super::{CLIENT_V4, ENDS, HOUR, V4, V6, World, only_bob, request, settings};

/// Connections before anything tracks them: each family to a socket of its own, and IPv4 to a socket of IPv6.
fn old_connections(world: &World) -> Vec<TcpStream> {
    world.gate.serve_echo(22);
    for address in ["192.0.2.1:80", "[2001:db8::1]:80"] {
        traffic::serve_echo(world.gate.run(move || TcpListener::bind(address).unwrap()));
    }
    let ends = [(V4, 22), (V6, 22), (V4, 80), (V6, 80)];
    let mut connections = ends.map(|(ends, port)| world.connect(ends, port));
    assert!(connections.iter_mut().all(echoes));
    assert!(world.entries("").is_empty(), "nothing is tracked yet");
    connections.into()
}

pub(crate) fn old_connections_survive_only_with_adoption(driver: &'static str) {
    let cut = World::new();
    let mut old = old_connections(&cut);
    let unadopted = settings("", "");
    let run = move || Executor::open(&unadopted, native(driver), None, now());
    let _executor = cut.gate.run(move || run().unwrap());
    assert!(!echoes(&mut old[0]), "without adoption");

    let world = World::new();
    let mut old = old_connections(&world);
    world.start(driver, settings("", ENDS));
    assert_eq!(world.entries("ESTABLISHED").len(), 4);
    assert!(old.iter_mut().all(echoes));
    for [gate, client] in [V4, V6] {
        for port in [22, 80] {
            assert!(!world.client.reaches(client, gate, port));
        }
    }
    world.open(request("alice", CLIENT_V4, &["tcp/22"]));
    world.executor(|executor| executor.serve(now().plus(HOUR), Vec::new()));
    let live: Vec<bool> = old.iter_mut().map(echoes).collect();
    let expected = [false, true, true, true];
    assert_eq!(live, expected, "it ends with a grant");
}

pub(crate) fn adoption_takes_each_connection_once() {
    let world = World::new();
    let _old = old_connections(&world);
    for (services, expected) in [
        (&["udp/22", "icmp", "tcp/23-79"][..], 0),
        (&["tcp/22"], 2),
        (&["tcp/20-22", "tcp/80"], 2),
        (&["tcp/22", "tcp/80"], 0),
    ] {
        let ports: Vec<_> = services.iter().map(|text| text.parse().unwrap()).collect();
        let adopted = world
            .gate
            .run(move || KernelConntrack::open().unwrap().adopt(&ports).unwrap());
        assert_eq!(adopted, expected, "{services:?}");
    }
    assert_eq!(world.entries("ASSURED").len(), 4);
}

pub(crate) fn stray_segment_draws_no_reset_from_a_bound_listener(driver: &'static str) {
    let world = World::new();
    let _listeners = world.gate.run(|| {
        ["192.0.2.1:22", "192.0.2.1:81"].map(|address| TcpListener::bind(address).unwrap())
    });
    let draws_reset = |port| (world.client).draws_reset([192, 0, 2, 7], [192, 0, 2, 1], port);
    assert!(draws_reset(22), "without protection");
    world.start(driver, settings("", ""));
    assert!(!draws_reset(22));
    assert!(draws_reset(81), "an unprotected port");
}

pub(crate) fn reload_adopts_connections_of_new_ports() {
    let world = World::new();
    world.gate.serve_echo(443);
    let mut old = world.connect(V4, 443);
    assert!(echoes(&mut old));
    world.start("nftables", settings("", ""));
    world.executor(|executor| executor.reload(&only_bob("tcp/443"), now()).unwrap());
    assert!(!world.client.reaches(V4[1], V4[0], 443));
    assert!(echoes(&mut old));
}
