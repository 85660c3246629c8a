//! Hosts behind the gate, through a whole posternd: by the gate's own port, and by their own address.
//!
//! ```text
//!   clients of main.rs ══ gate: 10.88.0.1, fd88::1 in0 ══ cable ══ in0 host: 10.88.0.5, fd88::5, TCP 22 and 23
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use postern_harness::Namespace;
use postern_harness::{Client, FAMILIES, Family, GateConfig, World, run, text, wait_for};

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

/// Alice may use both services, and port 22 of the host itself; bob has only the gate's port.
fn start(backend: &str) -> Behind {
    start_with(backend, "")
}

/// The same with a line more in each service.
fn start_with(backend: &str, line: &str) -> Behind {
    let mut plan = GateConfig::empty(backend);
    for family in FAMILIES {
        let host = SocketAddr::new(address(family, 5), 22);
        plan = plan
            .section(&format!("[service.{}]\nports = [\"tcp/{PORT}\"]\nforward = \"{host}\"\nmasquerade = true\n{line}", service(family)));
    }
    let plan = plan
        .user("alice", "services = [\"inner4\", \"inner6\", \"tcp/22\"]\ntargets = [\"10.88.0.0/24\", \"fd88::/64\"]\nquota = \"100/s\"")
        .user("bob", &format!("services = [\"tcp/{PORT}\"]"));
    let mut world = World::prepare(&plan);
    let host = Namespace::new();
    world.gate.ip_batch(&format!(
        "link add in0 type veth peer name in0 netns {}",
        host.thread_id
    ));
    for (space, own) in [(&world.gate, 1), (&host, 5)] {
        let (v4, v6) = (address(Family::V4, own), address(Family::V6, own));
        space.ip_batch(&format!(
            "addr add {v4}/24 dev in0\naddr add {v6}/64 dev in0 nodad\nlink set in0 up"
        ));
    }
    for (space, own) in [
        (&host, address as fn(Family, u8) -> IpAddr),
        (&world.first.space, Family::address),
        (&world.second.space, Family::address),
    ] {
        for family in FAMILIES {
            let all = if family == Family::V4 {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            space.ip_batch(&format!("route add {all} via {}", own(family, 1)));
        }
    }
    world.gate.wait_for_carrier("in0");
    for port in [22, 23] {
        serve(&host, port);
    }
    route(&world, "0");
    let said = text(&world.daemon.at_gate(&world.gate, &["check"]));
    for name in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        assert!(
            said.lines().any(|line| line.starts_with("warning: ")
                && line.contains(name)
                && line.contains("not-routing")),
            "{said}"
        );
    }
    route(&world, "1");
    assert!(!text(&world.daemon.at_gate(&world.gate, &["check"])).contains("not-routing"));
    world.start_again();
    assert_eq!(world.daemon.logged(&["does not forward"]).len(), 0);
    Behind { world, _host: host }
}

fn route(world: &World, value: &str) {
    let switches = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]
        .map(|name| format!("{name}={value}"));
    assert!(
        run(&world.gate, "sysctl", &["-qw", &switches[0], &switches[1]])
            .status
            .success()
    );
}

/// Says whom it sees, then sends back what comes.
fn serve(space: &Namespace, port: u16) {
    let listener = space.run(move || TcpListener::bind(("::", port)).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let seen = stream.peer_addr().unwrap().ip().to_canonical();
                stream.write_all(format!("{seen:<64}").as_bytes())?;
                let mut bytes = [0; 64];
                while let length @ 1.. = stream.read(&mut bytes)? {
                    stream.write_all(&bytes[..length])?;
                }
                Ok::<(), std::io::Error>(())
            });
        }
    });
}

fn connect(client: &Client, to: SocketAddr) -> Result<TcpStream, ErrorKind> {
    client.space.run(move || {
        TcpStream::connect_timeout(&to, Duration::from_millis(600)).map_err(|error| error.kind())
    })
}

fn expect_shut_out(client: &Client, to: SocketAddr) {
    assert_eq!(
        connect(client, to).map(|_| "it was let in"),
        Err(ErrorKind::TimedOut),
        "{to}"
    );
}

/// A session, and whom the host sees.
fn expect_let_in(client: &Client, to: SocketAddr) -> (TcpStream, IpAddr) {
    let mut stream = wait_for(&format!("{to} to let in"), || connect(client, to).ok());
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut greeting = [0; 64];
    stream.read_exact(&mut greeting).unwrap();
    let seen = std::str::from_utf8(&greeting)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    (stream, seen)
}

fn expect_alive(stream: &mut TcpStream) {
    let mut back = [0; 4];
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, *b"ping");
}

pub(crate) fn named_service_forwards_to_inner_host(backend: &'static str) {
    let mut behind = start(backend);
    for family in FAMILIES {
        let world = &mut behind.world;
        let port = SocketAddr::new(family.address(1), PORT);
        expect_shut_out(&world.first, port);
        world
            .first
            .knock("alice", family, &["-s", service(family), "--for", "600s"]);
        let (mut session, seen) = expect_let_in(&world.first, port);
        assert_eq!(seen, address(family, 1), "the host sees the gate");
        expect_shut_out(&world.second, port);
        expect_shut_out(&world.first, SocketAddr::new(address(family, 5), 22));
        let [grant] = world.wait_for_grants(1).try_into().unwrap();
        assert_eq!(
            (grant.services.len(), grant.forwards.len()),
            (0, 1),
            "{grant}"
        );

        assert!(world.daemon.stop().success());
        world.start_again();
        assert_eq!(
            world.daemon.grants(),
            [grant],
            "read back from the firewall, with its forward"
        );
        let (mut later, _) = expect_let_in(&world.first, port);
        assert_eq!(
            world.first.postern("alice", &["close", family.name()]).code,
            Some(0)
        );
        world.wait_until_closed();
        expect_shut_out(&world.first, port);
        expect_alive(&mut session);
        expect_alive(&mut later);
    }
    refusals(&behind.world);
    // Everything goes with a flush.
    let world = &mut behind.world;
    world.first.knock(
        "alice",
        Family::V4,
        &["-s", service(Family::V4), "--for", "600s"],
    );
    world.wait_for_grants(1);
    assert!(world.firewall().contains("10.88.0.5"));
    assert!(world.daemon.stop().success());
    assert!(
        world
            .daemon
            .at_gate(&world.gate, &["flush"])
            .status
            .success()
    );
    assert!(
        !world.firewall().to_lowercase().contains("postern")
            && !world.firewall().contains("10.88.0.5"),
        "{}",
        world.firewall()
    );
}

fn refusals(world: &World) {
    let (port, host) = (format!("tcp/{PORT}"), address(Family::V4, 5).to_string());
    for (user, family, options, reason) in [
        ("bob", Family::V4, &["-s", "inner4"][..], "refuse services"),
        ("alice", Family::V4, &["-s", &port], "refuse services"),
        ("alice", Family::V6, &["-s", "inner4"], "refuse family"),
        (
            "alice",
            Family::V4,
            &["-s", "inner4", "--target", &host],
            "refuse targets",
        ),
    ] {
        let before = world.daemon.status().count(reason);
        world.first.knock(user, family, options);
        world.daemon.wait_for_count(reason, before + 1);
    }
    world.expect_nothing_open();
}

/// The one session that is meant, though nothing at the gate itself is behind it.
pub(crate) fn forward_ends_its_connections(backend: &'static str) {
    let Behind { world, _host } = start_with(backend, "end_connections = true");
    for family in FAMILIES {
        let port = SocketAddr::new(family.address(1), PORT);
        world
            .first
            .knock("alice", family, &["-s", service(family), "--for", "600s"]);
        let (mut session, _) = expect_let_in(&world.first, port);
        expect_alive(&mut session);
        assert_eq!(
            world.first.postern("alice", &["close", family.name()]).code,
            Some(0)
        );
        world.wait_until_closed();
        wait_for("the word that it was ended", || {
            Some(
                world
                    .daemon
                    .logged(&["connections were ended with their grants"]),
            )
            .filter(|lines| !lines.is_empty())
        });
        session
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let _ = session.write_all(b"ping");
        assert!(
            !matches!(session.read(&mut [0; 4]), Ok(1..)),
            "{family:?}: the session lives on"
        );
    }
}

pub(crate) fn target_opens_one_inner_host(backend: &'static str) {
    let Behind { world, _host } = start(backend);
    for family in FAMILIES {
        let [ssh, other] = [22, 23].map(|port| SocketAddr::new(address(family, 5), port));
        expect_shut_out(&world.first, ssh);
        world.first.knock(
            "alice",
            family,
            &[
                "-s",
                "tcp/22",
                "--target",
                &ssh.ip().to_string(),
                "--for",
                "600s",
            ],
        );
        let (mut session, seen) = expect_let_in(&world.first, ssh);
        assert_eq!(
            seen,
            world.first.address(family),
            "the host sees the client"
        );
        expect_shut_out(&world.second, ssh);
        assert!(
            connect(&world.first, other).is_ok(),
            "what nobody may open is left to the host's own rules"
        );
        expect_shut_out(&world.first, SocketAddr::new(family.address(1), PORT));
        assert_eq!(
            world.first.postern("alice", &["close", family.name()]).code,
            Some(0)
        );
        world.wait_until_closed();
        expect_shut_out(&world.first, ssh);
        expect_alive(&mut session);
    }
}

/// `--wait` probes the host behind the gate. `connect` relays to it by its own address or by the gate's port.
pub(crate) fn client_connects_to_inner_host(backend: &'static str) {
    let Behind { world, _host } = start(backend);
    for family in FAMILIES {
        let host = SocketAddr::new(address(family, 5), 22);
        let [to, gate] = [host.ip(), family.address(1)].map(|address| address.to_string());
        let said = world.first.knock(
            "alice",
            family,
            &["-s", "tcp/22", "--target", &to, "--wait=20s"],
        );
        assert!(
            said.lines()
                .nth(1)
                .is_some_and(|line| line.starts_with(&format!("{host} is open after "))),
            "{said}"
        );
        close(&world, family);

        for (words, seen) in [
            (
                ["connect", family.name(), to.as_str(), "22", "--target"].to_vec(),
                world.first.address(family),
            ),
            (
                [
                    "connect",
                    family.name(),
                    &gate,
                    "2200",
                    "-s",
                    service(family),
                ]
                .to_vec(),
                address(family, 1),
            ),
        ] {
            // Standard input ends at once; the host says whom it sees, hears that nothing follows, and ends, too.
            let ran = world.first.postern("alice", &words);
            assert_eq!(
                (ran.code, ran.out.trim()),
                (Some(0), seen.to_string().as_str()),
                "{}",
                ran.err
            );
            assert!(
                ran.err.contains("postern: knocked ") && ran.err.contains(" is open after "),
                "{}",
                ran.err
            );
            close(&world, family);
        }
    }
}

fn close(world: &World, family: Family) {
    assert_eq!(
        world.first.postern("alice", &["close", family.name()]).code,
        Some(0)
    );
    world.wait_until_closed();
}
