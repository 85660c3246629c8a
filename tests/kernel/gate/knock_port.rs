//! The knock port is also that of a local UDP socket, or of a service; or it needs rights to be bound.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use postern_harness::world::socket_for;
use postern_harness::{FAMILIES, Family, GateConfig, KNOCK, Namespace, World, wait_for};

/// Long enough for an answer over a link between namespaces.
const PATIENCE: Duration = Duration::from_millis(500);

/// Binds the port in a namespace and answers every datagram with itself until a datagram is `end`.
fn echo(space: &Namespace, port: u16) {
    let socket = space.run(move || UdpSocket::bind(("::", port)).unwrap());
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
            if &datagram[..length] == b"end" {
                return;
            }
        }
    });
}

/// What comes back for a datagram.
fn answer(space: &Namespace, to: SocketAddr, datagram: &'static [u8]) -> std::io::Result<usize> {
    space.run(move || {
        let socket = socket_for(to);
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(datagram).unwrap();
        socket.recv(&mut [0; 2048])
    })
}

fn knock_port(family: Family) -> SocketAddr {
    SocketAddr::new(family.address(1), KNOCK)
}

/// The socket comes and goes while posternd runs, as that of a resolver or of WireGuard.
pub(crate) fn local_service_and_knocks_share_a_port(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    echo(&world.gate, KNOCK);
    for family in FAMILIES {
        let heard = || answer(&world.second.space, knock_port(family), b"question").ok();
        assert_eq!(wait_for("an answer", heard), 8, "{family:?}");
    }
    world.open_both("10m");
    world.second.expect_both_shut_out();
    assert_eq!(
        answer(&world.second.space, knock_port(Family::V4), b"end").unwrap(),
        3
    );
    // No "port unreachable" tells that the port is closed now.
    let closed = || {
        let error = answer(&world.second.space, knock_port(Family::V4), b"end").err()?;
        (error.kind() == ErrorKind::WouldBlock).then_some(())
    };
    wait_for("the port to be silent", closed);
}

/// A resolver asks from a port that is the knock port by chance. With nftables, also on a host that does not track.
pub(crate) fn answers_to_the_gate_pass(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    echo(&world.first.space, 53);
    let server = SocketAddr::new(world.first.address(Family::V4), 53);
    for rules in [
        "",
        "nft 'table inet raw { chain p { type filter hook prerouting priority raw; notrack; }; chain o { type filter hook output priority raw; notrack; }; }'",
    ] {
        if backend == "iptables" && !rules.is_empty() {
            return;
        }
        world.gate.sh(rules);
        let heard = world.gate.run(move || {
            let resolver = UdpSocket::bind(("0.0.0.0", KNOCK)).unwrap();
            resolver.set_read_timeout(Some(PATIENCE)).unwrap();
            resolver.send_to(b"name?", server).unwrap();
            resolver.recv(&mut [0; 16])
        });
        assert_eq!(heard.unwrap(), 5, "{rules}");
    }
}

pub(crate) fn hidden_service_stays_hidden_on_the_knock_port(backend: &'static str) {
    let services = format!("services = [\"udp/{KNOCK}\"]");
    let world = World::start(&GateConfig::empty(backend).user("alice", &services));
    echo(&world.gate, KNOCK);
    let hears = |space: &Namespace| answer(space, knock_port(Family::V4), b"question").is_ok();
    assert!(!hears(&world.first.space));
    let service = format!("udp/{KNOCK}");
    world
        .first
        .knock("alice", Family::V4, &["-s", &service, "--for", "10m"]);
    wait_for("the grant", || hears(&world.first.space).then_some(()));
    assert!(!hears(&world.second.space));
}

/// With the sandbox, and with the capabilities that the unit leaves to the monitor.
pub(crate) fn low_knock_port_is_bound_and_rebound(backend: &'static str) {
    let plan = |ports: &str| {
        let line = format!("capture = \"udp\"\nport = [{KNOCK}, {ports}]");
        GateConfig::new(backend).gate(&line)
    };
    let mut world = World::prepare(&plan("123"));
    let unit = include_str!("../../../dist/systemd/posternd.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let kept = line
        .unwrap()
        .replace("CAP_", "+")
        .replace(' ', ",")
        .to_lowercase();
    world.daemon.through = Some(format!("exec setpriv --bounding-set=-all,{kept} \"$@\""));
    world.start_again();
    let knock_at = |world: &World, port: u16, family: Family| {
        let packet = world.first.packet("alice", family, &["--for", "10m"]);
        let gate: IpAddr = family.address(1);
        world.first.send_to(SocketAddr::new(gate, port), &packet);
        drop(world.first.expect_let_in(family));
    };
    knock_at(&world, 123, Family::V4);
    // The monitor binds the port of a new config too, in its sandbox.
    world.rewrite(&plan("124"));
    world.at_gate(&["reload"]);
    knock_at(&world, 124, Family::V6);
    world.second.expect_both_shut_out();
}
