//! A client behind address translation that asks a real STUN server, coturn, which address it has outside.
//!
//! ```text
//!   home: 192.168.7.2, fd07::2 ══ home0 first client of main.rs, translates ══ gate: STUN at UDP 3478 and 3490
//! ```

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern::client::stun;

use postern_harness::Namespace;
use postern_harness::{
    FAMILIES, Family, GateConfig, Ran, SERVICE, World, find, postern, run, wait_for,
    world::CLIENT_INTERFACE,
};

/// Not neighbours: each takes the port behind its own as well (RFC 5780).
const SERVERS: [u16; 2] = [3478, 3490];

struct Translated {
    _servers: [Server; 2],
    home: Namespace,
    world: World,
}

fn own(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([192, 168, 7, host]),
        Family::V6 => IpAddr::from([0xfd07, 0, 0, 0, 0, 0, 0, u16::from(host)]),
    }
}

fn start(backend: &str) -> Translated {
    let user =
        |grant_to: &str| format!("services = [\"tcp/{SERVICE}\"]\ngrant_to = \"{grant_to}\"");
    let plan = GateConfig::empty(backend)
        .user("alice", &user("claimed"))
        .user("bob", &user("observed"));
    let world = World::start(&plan);
    let home = Namespace::new();
    world.first.space.ip_batch(&format!(
        "link add home0 type veth peer name home0 netns {}",
        home.thread_id
    ));
    for (space, host) in [(&world.first.space, 1), (&home, 2)] {
        let (v4, v6) = (own(Family::V4, host), own(Family::V6, host));
        space.ip_batch(&format!(
            "addr add {v4}/24 dev home0\naddr add {v6}/64 dev home0 nodad\nlink set home0 up"
        ));
    }
    world.first.space.wait_for_carrier("home0");
    home.ip_batch(&format!(
        "route add 0.0.0.0/0 via {}\nroute add ::/0 via {}",
        own(Family::V4, 1),
        own(Family::V6, 1)
    ));
    let must = |program, words: &[&str]| {
        let output = run(&world.first.space, program, words);
        assert!(
            output.status.success(),
            "{program} {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    must(
        "sysctl",
        &[
            "-qw",
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
        ],
    );
    for program in ["iptables", "ip6tables"] {
        must(
            program,
            &[
                "-t",
                "nat",
                "-A",
                "POSTROUTING",
                "-o",
                CLIENT_INTERFACE,
                "-j",
                "MASQUERADE",
            ],
        );
    }
    let servers = SERVERS.map(|port| Server::start(&world, port));
    Translated {
        _servers: servers,
        home,
        world,
    }
}

/// coturn, at the gate's own addresses.
struct Server(Child);

impl Server {
    fn start(world: &World, port: u16) -> Self {
        let [database, log, pid] = ["db", "log", "pid"].map(|name| {
            world
                .folder()
                .join(format!("turn-{port}.{name}"))
                .display()
                .to_string()
        });
        let addresses = FAMILIES.map(|family| family.address(1));
        let child = world.gate.run(move || {
            let mut command = Command::new(find("turnserver").unwrap());
            command.args([
                "-n",
                "--stun-only",
                "--no-cli",
                "--no-tcp",
                "--no-tls",
                "--no-dtls",
                "--listening-port",
                &port.to_string(),
            ]);
            command.args([
                "--userdb",
                &database,
                "--log-file",
                &log,
                "--simple-log",
                "--pidfile",
                &pid,
            ]);
            for address in addresses {
                command.args(["--listening-ip", &address.to_string()]);
            }
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        });
        for address in addresses {
            wait_for("coturn to answer", || {
                world
                    .gate
                    .run(move || answers(SocketAddr::new(address, port)))
            });
        }
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answers(server: SocketAddr) -> Option<()> {
    let socket = UdpSocket::bind((server.ip(), 0)).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    socket.send_to(&stun::request(&[7; 12]), server).ok()?;
    let mut answer = [0; stun::ANSWER_MAX];
    let length = socket.recv(&mut answer).ok()?;
    (stun::seen_address(&answer[..length], &[7; 12]) == Ok(server.ip())).then_some(())
}

impl Translated {
    /// Runs `postern` at home.
    fn postern(&self, user: &str, words: &[&str]) -> Ran {
        let config = self.world.folder().join(format!("{user}.toml"));
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let output = self.home.run(move || {
            Command::new(postern())
                .args(words)
                .env_clear()
                .env("POSTERN_CONFIG", config)
                .stdin(Stdio::null())
                .output()
                .unwrap()
        });
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: output.status.code(),
            out: said(&output.stdout),
            err: said(&output.stderr),
        }
    }

    fn expect_home_let_in(&self, family: Family) {
        let to = SocketAddr::new(family.address(1), SERVICE);
        wait_for("home to be let in", || {
            self.home
                .run(move || TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok())
        });
    }
}

fn server(family: Family, port: u16) -> String {
    format!("stun:{}", SocketAddr::new(family.address(1), port))
}

pub(crate) fn knock_opens_for_the_outer_address(backend: &'static str) {
    let translated = start(backend);
    let world = &translated.world;
    for (count, family) in [(0, Family::V4), (2, Family::V6)] {
        let outer = world.first.address(family);
        // The source of the packet is what the translation makes of it, and what is claimed is the same address.
        let both = format!(
            "{},{}",
            server(family, SERVERS[0]),
            server(family, SERVERS[1])
        );
        for (place, user, allow) in [(1, "alice", both.as_str()), (2, "bob", "source")] {
            let ran = translated.postern(user, &["knock", family.name(), "--allow", allow]);
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
            let grants = world.wait_for_grants(count + place);
            let grant = grants.last().unwrap();
            assert_eq!((grant.user.as_str(), grant.allow), (user, outer.into()));
            assert_eq!(
                ran.out.contains(&format!("letting in {outer} for")),
                user == "alice",
                "{}",
                ran.out
            );
        }
        translated.expect_home_let_in(family);
        world.second.expect_shut_out(family);
    }
    // Without a server the address that is claimed is one that the gate never sees.
    translated.postern("alice", &["knock", "v4"]);
    assert_eq!(
        world.wait_for_grants(5).last().unwrap().allow,
        own(Family::V4, 2).into()
    );
}
