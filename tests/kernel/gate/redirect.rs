//! A port of the gate that leads to another port of the gate.

use std::io::ErrorKind;
use std::net::TcpListener;

use postern_harness::traffic::serve_echo;
use postern_harness::{Client, FAMILIES, Family, GateConfig, World, echoes, text, wait_for};

/// The port that clients connect to, and the one where the gate serves.
const OUTER: u16 = 2200;
const INNER: u16 = 2300;

/// Alice may use the redirect, also for a network; bob may open the outer port itself.
fn plan(backend: &str, line: &str) -> GateConfig {
    let jump = format!("[service.jump]\nports = [\"tcp/{OUTER}\"]\nredirect = \"tcp/{INNER}\"\n");
    let networks = "max_prefix = { v4 = 24, v6 = 64 }";
    GateConfig::empty(backend)
        .section(&(jump + line))
        .user("alice", &format!("services = [\"jump\"]\n{networks}"))
        .user("bob", &format!("services = [\"tcp/{OUTER}\"]"))
}

fn start(plan: &GateConfig) -> World {
    let world = World::start(plan);
    serve_echo(world.gate.run(|| TcpListener::bind(("::", INNER)).unwrap()));
    world
}

fn knock(world: &World, family: Family, more: &[&str]) {
    let options = [&["-s", "jump", "--for", "600s"], more].concat();
    world.first.knock("alice", family, &options);
}

fn expect_shut_out(client: &Client, family: Family) {
    for port in [OUTER, INNER] {
        let attempt = client.connect(family, port).map(|_| "it was let in");
        assert_eq!(attempt, Err(ErrorKind::TimedOut), "{family:?} port {port}");
    }
}

fn expect_only_outer(client: &Client, family: Family) -> std::net::TcpStream {
    let mut session = wait_for("the outer port to let in", || {
        client.connect(family, OUTER).ok()
    });
    assert!(echoes(&mut session));
    let inner = client.connect(family, INNER).map(|_| "it was let in");
    assert_eq!(inner, Err(ErrorKind::TimedOut), "{family:?} inner port");
    session
}

pub(crate) fn redirect_opens_only_its_own_port(backend: &'static str) {
    let mut world = start(&plan(backend, ""));
    for family in FAMILIES {
        expect_shut_out(&world.first, family);
        knock(&world, family, &[]);
        let mut session = expect_only_outer(&world.first, family);
        expect_shut_out(&world.second, family);
        let [grant] = world.wait_for_grants(1).try_into().unwrap();
        let forwards: Vec<String> = grant.forwards.iter().map(ToString::to_string).collect();
        assert_eq!(forwards, [format!("tcp/{OUTER} redirected to tcp/{INNER}")]);
        assert!(grant.services.is_empty());

        world.restart();
        assert_eq!(world.daemon.grants(), [grant], "with its redirect");
        expect_only_outer(&world.first, family);
        world.first.close("alice", family);
        world.wait_until_closed();
        expect_shut_out(&world.first, family);
        assert!(echoes(&mut session), "a session outlives its grant");

        let network = match family {
            Family::V4 => "10.77.0.0/24",
            Family::V6 => "fd77::/64",
        };
        knock(&world, family, &["--allow", network]);
        for client in [&world.first, &world.second] {
            expect_only_outer(client, family);
        }
        world
            .first
            .postern("alice", &["close", family.name(), "--allow", network]);
        world.wait_until_closed();
        expect_shut_out(&world.second, family);
    }
    let outer = format!("tcp/{OUTER}");
    for (user, service) in [("bob", "jump"), ("alice", &*outer), ("alice", "tcp/2300")] {
        let before = world.daemon.status().count("refuse services");
        world.first.knock(user, Family::V4, &["-s", service]);
        world.daemon.wait_for_count("refuse services", before + 1);
    }
    // The outer port itself leads nowhere.
    world.first.knock("bob", Family::V4, &["-s", &outer]);
    let refused = wait_for("the plain port to open", || {
        let attempt = world.first.connect(Family::V4, OUTER).err();
        attempt.filter(|error| *error == ErrorKind::ConnectionRefused)
    });
    assert_eq!(refused, ErrorKind::ConnectionRefused);
}

/// The host drops what no rule accepts.
pub(crate) fn redirect_opens_through_the_hosts_rules(backend: &'static str) {
    let mut world = start(&plan(backend, "end_connections = true"));
    world.daemon.stop();
    world.gate.sh(
        "for v in iptables ip6tables; do $v -P INPUT DROP; $v -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; done; \
         ip6tables -A INPUT -p ipv6-icmp -j ACCEPT",
    );
    world.start_again();
    let said = text(&world.daemon.at_gate(&world.gate, &["check"]));
    assert!(!said.contains("warning"), "{said}");
    for (count, family) in (1..).zip(FAMILIES) {
        expect_shut_out(&world.first, family);
        knock(&world, family, &[]);
        let mut session = expect_only_outer(&world.first, family);
        expect_shut_out(&world.second, family);
        world.first.close("alice", family);
        world.wait_until_closed();
        let ended = ["connections were ended with their grants"];
        world.daemon.wait_for_lines(count, &ended);
        assert!(!echoes(&mut session), "{family:?}: the session lives on");
        expect_shut_out(&world.first, family);
    }
    assert!(world.daemon.stop().success());
    world.at_gate(&["flush"]);
    let left = world.firewall().to_lowercase();
    assert!(
        !left.contains("postern") && !left.contains("redirect"),
        "{left}"
    );
}

/// Such a forward opens nothing, and `redirect` is the cure.
pub(crate) fn forward_to_the_gate_itself_is_refused(backend: &'static str) {
    let service = |line: &str| {
        GateConfig::empty(backend)
            .section(&format!(
                "[service.jump]\nports = [\"tcp/{OUTER}\"]\n{line}"
            ))
            .user("alice", "services = [\"jump\"]")
    };
    let mut world = World::prepare(&service("forward = \"[fd77::1]:2300\""));
    let told = "forward of [service.jump] leads to fd77::1, which is this host, so it opens nothing; \
                remove it and write redirect = \"tcp/2300\"";
    let refused = |words: &[&str]| {
        let said = world.daemon.at_gate(&world.gate, words);
        assert_eq!(said.status.code(), Some(78), "{words:?}: {said:?}");
        let said = [said.stdout, said.stderr].concat();
        assert!(String::from_utf8_lossy(&said).contains(told), "{words:?}");
    };
    refused(&["check"]);
    refused(&["run"]);
    world.rewrite(&service("redirect = \"tcp/2300\""));
    assert!(!text(&world.daemon.at_gate(&world.gate, &["check"])).contains("error"));
    world.start_again();
    world.rewrite(&service("forward = \"10.77.0.1:2300\""));
    let reload = world.daemon.at_gate(&world.gate, &["reload"]);
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(
        !reload.status.success() && said.contains("which is this host"),
        "{said}"
    );
}
