//! A client: a namespace at the other end of a link, from which the real `postern` knocks and connections are tried.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use socket2::{Domain, Socket, Type};

use super::{FAMILIES, Family, KNOCK, SERVICE};
use crate::traffic::HIDDEN_AFTER;
use crate::{LONGEST_WAIT, Namespace, postern, wait_for};

/// The client's end of the link.
pub const CLIENT_INTERFACE: &str = "wire0";

/// Attempts of `time_to_open` that wait for an answer.
const TRIES_MAX: usize = 64;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A client with its own link to the gate.
pub struct Client {
    pub space: Namespace,
    host: u8,
    folder: PathBuf,
}

impl Client {
    pub fn address(&self, family: Family) -> IpAddr {
        family.address(self.host)
    }

    /// The hardware address of the gate's (1) or the client's (2) end of this client's link.
    pub fn mac(&self, end: u8) -> [u8; 6] {
        [2, 0, 0, 0, self.host, end]
    }

    /// The name of the gate's end of the link.
    pub fn gate_end(&self) -> String {
        format!("gate{}", self.host)
    }

    /// Makes the link to the gate.
    pub fn lay_cable(&self, gate: &Namespace) {
        let [gate_mac, own_mac] = [1, 2].map(|end| written(self.mac(end)));
        let (name, there) = (self.gate_end(), self.space.thread_id);
        gate.ip_batch(
            &format!(
                "link add {name} address {gate_mac} type veth peer name {CLIENT_INTERFACE} address {own_mac} netns {there}"
            ),
        );
        self.configure_cable(gate);
    }

    /// Puts both ends up with their addresses. They know each other, so that nothing waits for neighbours and the only frames
    /// on the link are those that a test is about.
    pub fn configure_cable(&self, gate: &Namespace) {
        let [gate_mac, own_mac] = [1, 2].map(|end| written(self.mac(end)));
        let name = self.gate_end();
        for (space, name, own, other, mac) in [
            (gate, name.as_str(), 1, self.host, own_mac),
            (&self.space, CLIENT_INTERFACE, self.host, 1, gate_mac),
        ] {
            // No link-local address, so no multicast reports and no router solicitations.
            let mut lines = format!("link set {name} addrgenmode none\nlink set {name} up\n");
            for family in FAMILIES {
                let (own, other) = (family.address(own), family.address(other));
                let nodad = if family == Family::V6 { "nodad" } else { "" };
                lines += &format!("addr replace {own} peer {other} dev {name} {nodad}\n");
                lines += &format!("neigh replace {other} lladdr {mac} dev {name} nud permanent\n");
            }
            space.ip_batch(&lines);
        }
        gate.wait_for_carrier(&name);
        self.space.wait_for_carrier(CLIENT_INTERFACE);
        // The kernel adds the route to the other end of an IPv6 link a moment after it has taken the address.
        for (space, name, other) in [
            (gate, name.as_str(), self.host),
            (&self.space, CLIENT_INTERFACE, 1),
        ] {
            let other = Family::V6.address(other).to_string();
            wait_for("the route over a new link", || {
                space
                    .ip(&format!("-6 route show dev {name}"))
                    .contains(&other)
                    .then_some(())
            });
        }
    }

    /// Runs `postern` with the profiles of this user.
    pub fn postern(&self, user: &str, arguments: &[&str]) -> Ran {
        let config = self.folder.join(format!("{user}.toml"));
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let output = self.space.run(move || {
            let mut command = Command::new(postern());
            command
                .args(arguments)
                .env_clear()
                .env("POSTERN_CONFIG", config)
                .stdin(Stdio::null());
            command.output().unwrap()
        });
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: output.status.code(),
            out: said(&output.stdout),
            err: said(&output.stderr),
        }
    }

    /// Knocks over one family; must succeed in sending. Returns what it said.
    pub fn knock(&self, user: &str, family: Family, more: &[&str]) -> String {
        let ran = self.postern(user, &[&["knock", family.name()], more].concat());
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
        ran.out
    }

    /// Knocks over one family and waits until the service lets this client in.
    pub fn open(&self, user: &str, family: Family, more: &[&str]) {
        self.knock(user, family, more);
        self.expect_let_in(family);
    }

    /// Closes this user's grants over one family.
    pub fn close(&self, user: &str, family: Family) {
        let ran = self.postern(user, &["close", family.name()]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    }

    /// The packet that a knock would send.
    pub fn packet(&self, user: &str, family: Family, more: &[&str]) -> Vec<u8> {
        let said = self.knock(user, family, &[&["--print"], more].concat());
        STANDARD.decode(said.trim()).unwrap()
    }

    /// Sends bytes to the knock port from an ordinary socket.
    pub fn send(&self, family: Family, payload: &[u8]) {
        self.send_to(SocketAddr::new(family.address(1), KNOCK), payload);
    }

    pub fn send_to(&self, to: SocketAddr, payload: &[u8]) {
        let payload = payload.to_vec();
        self.space
            .run(move || socket_for(to).send_to(&payload, to).unwrap());
    }

    /// One attempt to reach a port of the gate.
    pub fn connect(&self, family: Family, port: u16) -> Result<TcpStream, ErrorKind> {
        let to = SocketAddr::new(family.address(1), port);
        self.space.run(move || {
            TcpStream::connect_timeout(&to, HIDDEN_AFTER).map_err(|error| error.kind())
        })
    }

    /// Sends bytes to the knock port. The time until the service lets this client in, which is tried each 200 µs.
    pub fn time_to_open(&self, payload: &[u8]) -> Duration {
        let [knock, service] =
            [KNOCK, SERVICE].map(|port| SocketAddr::from(([10, 77, 0, 1], port)));
        let payload = payload.to_vec();
        self.space.run(move || {
            let began = Instant::now();
            socket_for(knock).send_to(&payload, knock).unwrap();
            let mut tries = VecDeque::new();
            while began.elapsed() < LONGEST_WAIT {
                let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
                let _ = socket.connect(&service.into());
                tries.push_back(socket);
                if tries.len() > TRIES_MAX {
                    tries.pop_front();
                }
                std::thread::sleep(Duration::from_micros(200));
                if tries.iter().any(|socket| socket.peer_addr().is_ok()) {
                    return began.elapsed();
                }
            }
            panic!("{service} stayed shut");
        })
    }

    /// Waits until the service lets this client in.
    pub fn expect_let_in(&self, family: Family) -> TcpStream {
        wait_for(&format!("{} to be let in", self.address(family)), || {
            self.connect(family, SERVICE).ok()
        })
    }

    /// Fails unless the service is hidden from this client: silence, not a refusal.
    pub fn expect_shut_out(&self, family: Family) {
        let attempt = self.connect(family, SERVICE).map(|_| "it was let in");
        assert_eq!(
            attempt,
            Err(ErrorKind::TimedOut),
            "{} and a hidden service",
            self.address(family)
        );
    }

    pub fn expect_both_let_in(&self) {
        FAMILIES
            .into_iter()
            .for_each(|family| drop(self.expect_let_in(family)));
    }

    pub fn expect_both_shut_out(&self) {
        FAMILIES
            .into_iter()
            .for_each(|family| self.expect_shut_out(family));
    }
}

fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A UDP socket of the calling thread's namespace.
pub fn socket_for(to: SocketAddr) -> UdpSocket {
    UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap()
}

/// A new client with its link to the gate.
pub(super) fn join(gate: &Namespace, host: u8, folder: &Path) -> Client {
    let client = Client {
        space: Namespace::new(),
        host,
        folder: folder.to_owned(),
    };
    client.lay_cable(gate);
    client
}
