//! Hosts behind the gate, through a whole posternd: by the gate's own port, and by their own address.
//!
//! ```text
//!   clients of the harness ══ gate: 10.88.0.1, fd88::1 in0 ══ link ══ in0 host: 10.88.0.5, fd88::5, TCP 22
//! ```

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use rustix::process::Signal;

use postern_harness::traffic::Session;
use postern_harness::{Client, FAMILIES, Family, GateConfig, Namespace, World, text, wait_for};

/// The gate's port that leads to port 22 of the host, by a service of each family.
const PORT: u16 = 2200;

struct Behind {
    world: World,
    _host: Namespace,
}

fn address(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 88, 0, host]),
        Family::V6 => IpAddr::from([0xfd88, 0, 0, 0, 0, 0, 0, u16::from(host)]),
    }
}

fn service(family: Family) -> &'static str {
    match family {
        Family::V4 => "inner4",
        Family::V6 => "inner6",
    }
}

/// Alice may use both services, and port 22 of the host itself; bob has only the gate's port. `line` is in each service.
fn start(backend: &str, line: &str) -> Behind {
    let mut plan = GateConfig::empty(backend);
    for family in FAMILIES {
        let (name, host) = (service(family), SocketAddr::new(address(family, 5), 22));
        plan = plan.section(&format!("[service.{name}]\nports = [\"tcp/{PORT}\"]\nforward = \"{host}\"\nmasquerade = true\n{line}"));
    }
    let plan = plan
        .user("alice", "services = [\"inner4\", \"inner6\", \"tcp/22\"]\ntargets = [\"10.88.0.0/24\", \"fd88::/64\"]\nquota = \"100/s\"")
        .user("bob", &format!("services = [\"tcp/{PORT}\"]"));
    let mut world = World::prepare(&plan);
    let host = Namespace::new();
    let [ours, theirs] = [1, 5].map(|end| [format!("10.88.0.{end}/24"), format!("fd88::{end}/64")]);
    let [ours, theirs] = [&ours, &theirs].map(|both| both.each_ref().map(String::as_str));
    world.gate.link(&host, "in0", &ours, &theirs);
    host.ip_batch("route add 0.0.0.0/0 via 10.88.0.1\nroute add ::/0 via fd88::1");
    for client in [&world.first, &world.second] {
        client
            .space
            .ip_batch("route add 0.0.0.0/0 via 10.77.0.1\nroute add ::/0 via fd77::1");
    }
    host.serve_sessions(22);
    route(&world, "0");
    let said = text(&world.daemon.at_gate(&world.gate, &["check"]));
    for name in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        let mut warnings = said.split("warning: ").skip(1);
        let is_warned =
            warnings.any(|told| told.contains("[not-routing]\n") && told.contains(name));
        assert!(is_warned, "{said}");
    }
    route(&world, "1");
    assert!(!text(&world.daemon.at_gate(&world.gate, &["check"])).contains("not-routing"));
    world.start_again();
    world.daemon.expect_logged(0, &["does not forward"]);
    Behind { world, _host: host }
}

fn route(world: &World, value: &str) {
    world.gate.sh(&format!(
        "sysctl -qw net.ipv4.ip_forward={value} net.ipv6.conf.all.forwarding={value}"
    ));
}

fn expect_shut_out(client: &Client, to: SocketAddr) {
    let attempt = client.space.session(to).map(|_| "it was let in");
    assert_eq!(attempt, Err(ErrorKind::TimedOut), "{to}");
}

fn expect_let_in(client: &Client, to: SocketAddr) -> Session {
    wait_for(&format!("{to} to let in"), || client.space.session(to).ok())
}

fn knock(world: &World, family: Family) {
    let options = ["-s", service(family), "--for", "600s"];
    world.first.knock("alice", family, &options);
}

/// As `wg-quick`, Docker and Tailscale put it there.
pub(crate) fn accept_of_others_opens_no_inner_host(backend: &'static str) {
    let Behind { world, _host } = start(backend, "");
    let check = || text(&world.daemon.at_gate(&world.gate, &["check"]));
    let inner = FAMILIES.map(|family| SocketAddr::new(address(family, 5), 22));
    world.daemon.signal(Signal::STOP);
    world
        .gate
        .sh("for v in iptables ip6tables; do $v -I FORWARD -i gate3 -j ACCEPT; done");
    if backend == "iptables" {
        expect_let_in(&world.second, inner[0]);
        let said = check();
        let open = "tcp/22 at 10.88.0.0/24, tcp/22 at 10.88.0.5/32 can be reached without a knock";
        assert!(said.contains(open), "{said}");
    }
    world.daemon.signal(Signal::CONT);
    for (family, to) in FAMILIES.into_iter().zip(inner) {
        wait_for("the host to be hidden", || {
            world.second.space.session(to).err()
        });
        let host = address(family, 5).to_string();
        world
            .first
            .knock("alice", family, &["-s", "tcp/22", "--target", &host]);
        expect_let_in(&world.first, to);
        expect_shut_out(&world.second, to);
    }
    assert!(!check().contains("without a knock"));
}

/// The host forwards only what it knows, in chains before and behind those of Postern.
pub(crate) fn early_and_late_drops_of_the_host_are_opened(backend: &'static str) {
    let Behind { mut world, _host } = start(backend, "");
    world.daemon.stop();
    let basics = "ct state established accept; meta l4proto ipv6-icmp accept;";
    world.gate.sh(&format!(
        "nft 'table inet early {{ chain f {{ type filter hook forward priority -200; policy drop; {basics} }}; }}; \
              table inet late {{ chain f {{ type filter hook forward priority 4000; {basics} counter drop; }}; }}'"
    ));
    world.start_again();
    for family in FAMILIES {
        let (port, inner) = (SocketAddr::new(family.address(1), PORT), address(family, 5));
        let to_inner = SocketAddr::new(inner, 22);
        knock(&world, family);
        expect_let_in(&world.first, port);
        expect_shut_out(&world.first, to_inner);
        world.first.knock(
            "alice",
            family,
            &["-s", "tcp/22", "--target", &inner.to_string()],
        );
        expect_let_in(&world.first, to_inner);
        expect_shut_out(&world.second, to_inner);
        expect_shut_out(&world.second, port);
    }
}

pub(crate) fn named_service_forwards_to_inner_host(backend: &'static str) {
    let Behind { mut world, _host } = start(backend, "");
    for family in FAMILIES {
        let port = SocketAddr::new(family.address(1), PORT);
        expect_shut_out(&world.first, port);
        knock(&world, family);
        let mut session = expect_let_in(&world.first, port);
        assert_eq!(session.seen, address(family, 1), "the host sees the gate");
        expect_shut_out(&world.second, port);
        expect_shut_out(&world.first, SocketAddr::new(address(family, 5), 22));
        let [grant] = world.wait_for_grants(1).try_into().unwrap();
        let counts = (grant.services.len(), grant.forwards.len());
        assert_eq!(counts, (0, 1), "{grant}");

        world.restart();
        let read_back = world.daemon.grants();
        assert_eq!(read_back, [grant], "with its forward");
        let mut later = expect_let_in(&world.first, port);
        world.first.close("alice", family);
        world.wait_until_closed();
        expect_shut_out(&world.first, port);
        assert!(session.lives() && later.lives());
    }
    refusals(&world);
    // A flush removes everything.
    knock(&world, Family::V4);
    world.wait_for_grants(1);
    assert!(world.firewall().contains("10.88.0.5"));
    assert!(world.daemon.stop().success());
    world.at_gate(&["flush"]);
    let left = world.firewall().to_lowercase();
    assert!(!left.contains("postern") && !left.contains("10.88.0.5"));
}

fn refusals(world: &World) {
    let (port, host) = (format!("tcp/{PORT}"), address(Family::V4, 5).to_string());
    let target = ["-s", "inner4", "--target", &host];
    for (user, family, options, reason) in [
        ("bob", Family::V4, &["-s", "inner4"][..], "refuse services"),
        ("alice", Family::V4, &["-s", &port], "refuse services"),
        ("alice", Family::V6, &["-s", "inner4"], "refuse family"),
        ("alice", Family::V4, &target, "refuse targets"),
    ] {
        let before = world.daemon.status().count(reason);
        world.first.knock(user, family, options);
        world.daemon.wait_for_count(reason, before + 1);
    }
    world.expect_nothing_open();
}

/// A session to the host, although the gate itself has no such service.
pub(crate) fn forward_ends_its_connections(backend: &'static str) {
    let Behind { world, _host } = start(backend, "end_connections = true");
    for (count, family) in (1..).zip(FAMILIES) {
        let port = SocketAddr::new(family.address(1), PORT);
        knock(&world, family);
        let mut session = expect_let_in(&world.first, port);
        assert!(session.lives());
        world.first.close("alice", family);
        world.wait_until_closed();
        let ended = ["connections were ended with their grants"];
        world.daemon.wait_for_lines(count, &ended);
        assert!(!session.lives(), "{family:?}: the session lives on");
    }
}

/// `--wait` probes the host behind the gate. `connect` relays to it by its own address or by the gate's port.
pub(crate) fn client_connects_to_inner_host(backend: &'static str) {
    let Behind { world, _host } = start(backend, "");
    for family in FAMILIES {
        let host = SocketAddr::new(address(family, 5), 22);
        let [to, gate] = [host.ip(), family.address(1)].map(|address| address.to_string());
        expect_shut_out(&world.first, host);
        let options = ["-s", "tcp/22", "--target", &to, "--wait=20s"];
        let said = world.first.knock("alice", family, &options);
        let open = format!("\n{host} is open after ");
        assert!(said.contains(&open), "{said}");
        expect_shut_out(&world.second, host);
        expect_shut_out(&world.first, SocketAddr::new(family.address(1), PORT));
        close(&world, family);
        expect_shut_out(&world.first, host);

        let own = world.first.address(family);
        for (words, seen) in [
            (&[&to, "22", "--target"][..], own),
            (&[&gate, "2200", "-s", service(family)], address(family, 1)),
        ] {
            // Standard input ends at once; the host says whom it sees, hears that nothing follows, and ends, too.
            let words = [&["connect", family.name()], words].concat();
            let ran = world.first.postern("alice", &words);
            assert_eq!(ran.code, Some(0), "{}", ran.err);
            assert!(ran.out.starts_with(&format!("{seen} ")), "{}", ran.out);
            for part in ["postern: knocked ", " is open after "] {
                assert!(ran.err.contains(part), "{}", ran.err);
            }
            close(&world, family);
        }
    }
}

fn close(world: &World, family: Family) {
    world.first.close("alice", family);
    world.wait_until_closed();
}
