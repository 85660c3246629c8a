//! A client behind address translation that asks a real STUN server, coturn, which address it has outside.
//!
//! ```text
//!   home: 192.168.7.2, fd07::2 ══ home0 first client of the harness, translates ══ gate: STUN at UDP 3478 and 3490
//! ```

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern::client::stun;

use postern_harness::world::CLIENT_INTERFACE;
use postern_harness::{
    FAMILIES, Family, GateConfig, Namespace, SERVICE, World, find, postern, text, wait_for,
};

/// Not neighbours: each takes the port behind its own as well (RFC 5780).
const SERVERS: [u16; 2] = [3478, 3490];

/// A namespace whose only route is through the first client, which translates addresses.
fn home(world: &World) -> Namespace {
    let (router, home) = (&world.first.space, Namespace::new());
    let [outer, inner] = [
        ["192.168.7.1/24", "fd07::1/64"],
        ["192.168.7.2/24", "fd07::2/64"],
    ];
    router.link(&home, "home0", &outer, &inner);
    home.ip_batch("route add 0.0.0.0/0 via 192.168.7.1\nroute add ::/0 via fd07::1");
    router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    for program in ["iptables", "ip6tables"] {
        router.sh(&format!(
            "{program} -t nat -A POSTROUTING -o {CLIENT_INTERFACE} -j MASQUERADE"
        ));
    }
    home
}

/// coturn, at the gate's own addresses.
struct Server(Child);

impl Server {
    fn start(world: &World, port: u16) -> Self {
        let [v4, v6] = FAMILIES.map(|family| family.address(1));
        let at = world.folder().join(format!("turn-{port}"));
        let at = at.display();
        let options = format!(
            "-n --stun-only --no-cli --no-tcp --no-tls --no-dtls --listening-port {port} --simple-log \
             --userdb {at}.db --log-file {at}.log --pidfile {at}.pid --listening-ip {v4} --listening-ip {v6}"
        );
        let child = world.gate.run(move || {
            let mut command = Command::new(find("turnserver").unwrap());
            command.args(options.split_whitespace());
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::null()).spawn().unwrap()
        });
        for address in [v4, v6] {
            let server = SocketAddr::new(address, port);
            wait_for("coturn to answer", || {
                world.gate.run(move || answers(server))
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
    let timeout = Some(Duration::from_millis(200));
    socket.set_read_timeout(timeout).unwrap();
    socket.send_to(&stun::request(&[7; 12]), server).ok()?;
    let mut answer = [0; stun::ANSWER_MAX];
    let length = socket.recv(&mut answer).ok()?;
    (stun::seen_address(&answer[..length], &[7; 12]) == Ok(server.ip())).then_some(())
}

/// Knocks from home; what `postern` said.
fn knock(world: &World, home: &Namespace, user: &str, words: &[&str]) -> String {
    let config = world.folder().join(format!("{user}.toml"));
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let ran = home.run(move || {
        let mut command = Command::new(postern());
        command.arg("knock").args(words).env_clear();
        let command = command.env("POSTERN_CONFIG", config);
        command.stdin(Stdio::null()).output().unwrap()
    });
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    text(&ran)
}

pub(crate) fn knock_opens_for_the_outer_address(backend: &'static str) {
    let plan = GateConfig::empty(backend)
        .member("alice", "grant_to = \"claimed\"")
        .member("bob", "grant_to = \"observed\"");
    let world = World::start(&plan);
    let home = home(&world);
    let _servers = SERVERS.map(|port| Server::start(&world, port));
    for (count, family) in [(0, Family::V4), (2, Family::V6)] {
        let (outer, gate) = (world.first.address(family), family.address(1));
        // The source of the packet is what the translation makes of it, and what is claimed is the same address.
        let both = SERVERS.map(|port| format!("stun:{}", SocketAddr::new(gate, port)));
        for (place, user, allow) in [(1, "alice", both.join(",").as_str()), (2, "bob", "source")] {
            let said = knock(&world, &home, user, &[family.name(), "--allow", allow]);
            let grants = world.wait_for_grants(count + place);
            let grant = grants.last().unwrap();
            assert_eq!((grant.user.as_str(), grant.allow), (user, outer.into()));
            let is_told = said.contains(&format!("letting in {outer} for"));
            assert_eq!(is_told, user == "alice", "{said}");
        }
        let to = SocketAddr::new(gate, SERVICE);
        wait_for("home to be let in", || {
            home.run(move || TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok())
        });
        world.second.expect_shut_out(family);
    }
    // Without a server, somebody who may claim only is refused: the client cannot know the outer address.
    knock(&world, &home, "alice", &["v4"]);
    world.daemon.wait_for_count("refuse grant_to", 1);
}
