//! Traffic between namespaces: links, echo servers, and the packets that a stranger may send.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::Namespace;
use crate::wait::wait_until;

/// How long a test waits for an answer that may not come.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// How long a connection may take before the port counts as hidden. An answer comes within a millisecond, and a lost SYN is
/// sent again only after a second.
pub(crate) const HIDDEN_AFTER: Duration = Duration::from_millis(600);

/// The length of what a server of sessions says first.
const GREETING: usize = 96;

static NEXT_PING: AtomicU16 = AtomicU16::new(1);

impl Namespace {
    /// The output of a shell command, which must succeed.
    pub fn sh(&self, line: &str) -> String {
        self.try_sh(line)
            .unwrap_or_else(|text| panic!("{line}: {text}"))
    }

    /// The output of a shell command, as an error if it fails.
    pub fn try_sh(&self, line: &str) -> Result<String, String> {
        let line = line.to_owned();
        let output = self.run(move || Command::new("sh").args(["-c", &line]).output().unwrap());
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(text)
        }
    }

    /// A link to another namespace, with this name and these addresses at each end.
    pub fn link(&self, other: &Self, name: &str, here: &[&str], there: &[&str]) {
        self.link_as(other, [name, name], here, there);
    }

    /// The same with two names.
    pub fn link_as(&self, other: &Self, names: [&str; 2], here: &[&str], there: &[&str]) {
        let ([own, far], thread) = (names, other.thread_id);
        self.ip(&format!(
            "link add {own} type veth peer name {far} netns {thread}"
        ));
        for (end, name, addresses) in [(self, own, here), (other, far, there)] {
            let mut lines = String::new();
            for address in addresses {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                lines += &format!("address add {address} dev {name} {nodad}\n");
            }
            end.ip_batch(&format!("{lines}link set {name} up\n"));
        }
        self.wait_for_carrier(own);
        other.wait_for_carrier(far);
    }

    /// Serves a TCP port of all addresses: what comes in is sent back.
    pub fn serve_echo(&self, port: u16) {
        let listener = self.run(move || TcpListener::bind(("::", port)).unwrap());
        serve_echo(listener);
    }

    /// Serves a TCP port of all addresses: says which client it sees and where it was reached, then sends back what comes in.
    pub fn serve_sessions(&self, port: u16) {
        let listener = self.run(move || TcpListener::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let (seen, reached) = (stream.peer_addr()?, stream.local_addr()?);
                    let [seen, own] = [seen, reached].map(|end| end.ip().to_canonical());
                    let said = format!("{seen} {}", SocketAddr::new(own, reached.port()));
                    stream.write_all(format!("{said:<GREETING$}").as_bytes())?;
                    std::io::copy(&mut &stream, &mut &stream)
                });
            }
        });
    }

    /// A session with such a server.
    pub fn session(&self, to: SocketAddr) -> Result<Session, ErrorKind> {
        let mut stream = self.run(move || {
            TcpStream::connect_timeout(&to, HIDDEN_AFTER).map_err(|error| error.kind())
        })?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut greeting = [0; GREETING];
        stream.read_exact(&mut greeting).unwrap();
        let mut words = std::str::from_utf8(&greeting).unwrap().split_whitespace();
        let mut word = || words.next().unwrap();
        let (seen, reached) = (word().parse().unwrap(), word().parse().unwrap());
        Ok(Session {
            stream,
            seen,
            reached,
        })
    }

    /// A connection from one of the namespace's addresses, if it succeeds.
    pub fn connect(&self, from: &str, to: &str, port: u16) -> Option<TcpStream> {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        self.run(move || {
            let to = SocketAddr::new(to, port);
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
            socket.connect_timeout(&to.into(), ANSWER_WITHIN).ok()?;
            Some(socket.into())
        })
    }

    /// Whether a connection succeeds.
    pub fn reaches(&self, from: &str, to: &str, port: u16) -> bool {
        self.connect(from, to, port).is_some()
    }

    /// Whether an echo request is answered.
    pub fn pings(&self, from: &str, to: &str) -> bool {
        let to: IpAddr = to.parse().unwrap();
        let (protocol, request, reply, header) = match to {
            IpAddr::V4(_) => (Protocol::ICMPV4, 8, 0, 20),
            IpAddr::V6(_) => (Protocol::ICMPV6, 128, 129, 0),
        };
        // an identifier of its own, because the kernel tracks each one as a flow
        let identifier = NEXT_PING.fetch_add(1, Ordering::Relaxed);
        let [id, id_low] = identifier.to_be_bytes();
        // type, code, checksum (the kernel's own in IPv6), identifier, sequence
        let [high, low] = (!((u16::from(request) << 8) + identifier)).to_be_bytes();
        let packet = [request, 0, high, low, id, id_low, 0, 0];
        self.gets_answer(
            protocol,
            from,
            SocketAddr::new(to, 0),
            &packet,
            move |answer| {
                answer.len() >= header + 8
                    && answer[header] == reply
                    && answer[header + 4..header + 6] == [id, id_low]
            },
        )
    }

    /// Whether an IPv4 host answers a lone TCP segment with ACK, as scanners send it, with a reset.
    pub fn draws_reset(&self, from: [u8; 4], to: [u8; 4], port: u16) -> bool {
        let mut segment = [
            0x9c, 0x40, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0,
        ];
        segment[2..4].copy_from_slice(&port.to_be_bytes());
        let covered = [&from[..], &to, &[0, 6, 0, 20], &segment].concat();
        let words = covered
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        segment[16..18].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        let from = IpAddr::from(from).to_string();
        let to = SocketAddr::from((to, port));
        self.gets_answer(Protocol::TCP, &from, to, &segment, move |answer| {
            answer.len() >= 40 && answer[20..22] == port.to_be_bytes() && answer[33] & 4 != 0
        })
    }

    /// Sends a packet from a raw socket and waits for an answer that passes the test.
    fn gets_answer(
        &self,
        protocol: Protocol,
        from: &str,
        to: SocketAddr,
        packet: &[u8],
        test: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> bool {
        let (from, packet): (IpAddr, _) = (from.parse().unwrap(), packet.to_vec());
        self.run(move || {
            let mut socket =
                Socket::new(Domain::for_address(to), Type::RAW, Some(protocol)).unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
            let to_any_port = SocketAddr::new(to.ip(), 0);
            socket.send_to(&packet, &to_any_port.into()).unwrap();
            socket.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
            let (end, mut bytes) = (Instant::now() + ANSWER_WITHIN, [0; 128]);
            while Instant::now() < end {
                let Ok(length) = socket.read(&mut bytes) else {
                    return false;
                };
                if test(&bytes[..length]) {
                    return true;
                }
            }
            false
        })
    }
}

/// A session with a server of [`Namespace::serve_sessions`].
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    /// The address that the server sees.
    pub seen: IpAddr,
    /// Where it was reached.
    pub reached: SocketAddr,
}

impl Session {
    pub fn lives(&mut self) -> bool {
        echoes(&mut self.stream)
    }
}

/// Sends back what comes in on each connection.
pub fn serve_echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
}

/// Whether what is sent comes back.
pub fn echoes(stream: &mut TcpStream) -> bool {
    let timeout = Some(Duration::from_secs(2));
    stream.set_read_timeout(timeout).unwrap();
    let mut bytes = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut bytes).is_ok() && bytes == *b"ping"
}

/// A gate and a client on one link that carries: 192.0.2.1 and 2001:db8::1 here, .7 and .8 there.
pub fn gate_and_client() -> (Namespace, Namespace) {
    let (gate, client) = (Namespace::new(), Namespace::new());
    let there = [
        "192.0.2.7/24",
        "192.0.2.8/24",
        "2001:db8::7/64",
        "2001:db8::8/64",
    ];
    gate.link(
        &client,
        "link0",
        &["192.0.2.1/24", "2001:db8::1/64"],
        &there,
    );
    wait_until("answer to a ping", || {
        client.pings("192.0.2.7", "192.0.2.1") && client.pings("2001:db8::7", "2001:db8::1")
    });
    (gate, client)
}
