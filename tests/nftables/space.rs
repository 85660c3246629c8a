//! Network namespaces for the tests: each lives on a thread of its own and goes with it.
//!
//! Owns threads, links and the questions that a stranger may ask a gate. Changes nothing outside the namespaces it makes.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace.
pub struct Space {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Space {
    pub fn new() -> Self {
        let (jobs, queue) = channel::<Job>();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("a network namespace takes root");
            tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            queue.into_iter().for_each(|job| job());
        });
        let space = Self {
            jobs: Some(jobs),
            thread: Some(thread),
            tid: told.recv().unwrap(),
        };
        space.sh("ip link set lo up");
        space
    }

    /// Runs something inside; sockets and programs of it belong to the namespace.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (tell, told) = channel();
        let job: Job = Box::new(move || drop(tell.send(job())));
        self.jobs.as_ref().unwrap().send(job).unwrap();
        told.recv().expect("the job has failed, see above")
    }

    /// The output of a command line, which must succeed.
    pub fn sh(&self, line: &str) -> String {
        let (succeeded, text) = self.try_sh(line);
        assert!(succeeded, "{line}: {text}");
        text
    }

    pub fn try_sh(&self, line: &str) -> (bool, String) {
        let line = line.to_owned();
        self.run(move || {
            let output = Command::new("sh").args(["-c", &line]).output().unwrap();
            (
                output.status.success(),
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
            )
        })
    }

    /// A link to another namespace: `name` here with these addresses, and the same name there.
    pub fn link(&self, other: &Self, name: &str, here: &[&str], there: &[&str]) {
        self.sh(&format!("ip link add {name} type veth peer name {name}p && ip link set {name}p netns {} name {name}", other.tid));
        for (space, addresses) in [(self, here), (other, there)] {
            for address in addresses {
                space.sh(&format!(
                    "ip address add {address} dev {name} {}",
                    if address.contains(':') { "nodad" } else { "" }
                ));
            }
            space.sh(&format!("ip link set {name} up"));
        }
        // the kernel starts to send on a link some time after it is up
        for space in [self, other] {
            let carries = || {
                space
                    .sh(&format!("ip -o link show {name}"))
                    .contains(" state UP ")
            };
            assert!(
                wait_until(carries, Duration::from_secs(5)).is_some(),
                "{name} did not come up"
            );
        }
    }

    /// Serves the port on all addresses of both families, as long as the namespace lives: what comes in goes back.
    pub fn serve(&self, port: u16) {
        self.run(move || {
            let listener = TcpListener::bind(("::", port)).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    std::thread::spawn(move || {
                        let mut stream = stream.unwrap();
                        let mut bytes = [0; 64];
                        while let Ok(length @ 1..) = stream.read(&mut bytes) {
                            stream.write_all(&bytes[..length]).unwrap();
                        }
                    });
                }
            });
        });
    }

    /// A connection from one of the own addresses.
    pub fn connect(&self, from: &str, to: &str, port: u16) -> Option<TcpStream> {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        self.run(move || {
            let socket = Socket::new(
                Domain::for_address(SocketAddr::new(to, port)),
                Type::STREAM,
                None,
            )
            .unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
            let answer = socket.connect_timeout(
                &SocketAddr::new(to, port).into(),
                Duration::from_millis(250),
            );
            answer.ok().map(|()| socket.into())
        })
    }

    /// Whether a connection comes about.
    pub fn reaches(&self, from: &str, to: &str, port: u16) -> bool {
        self.connect(from, to, port).is_some()
    }

    /// Whether an echo request is answered.
    pub fn pings(&self, from: &str, to: &str) -> bool {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        self.run(move || {
            let (domain, protocol, request, reply, header) = match to {
                IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0, 20),
                IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129, 0),
            };
            let mut socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
            // type, code, checksum (the kernel's own in IPv6), identifier, sequence
            let sum = !(u16::from(request) << 8).wrapping_add(0x1234);
            let [high, low] = sum.to_be_bytes();
            socket
                .send_to(
                    &[request, 0, high, low, 0x12, 0x34, 0, 0],
                    &SocketAddr::new(to, 0).into(),
                )
                .unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(250)))
                .unwrap();
            let mut bytes = [0; 128];
            let until = Instant::now() + Duration::from_millis(250);
            while Instant::now() < until {
                let Ok(length) = socket.read(&mut bytes) else {
                    return false;
                };
                if length >= header + 8
                    && bytes[header] == reply
                    && bytes[header + 4..header + 6] == [0x12, 0x34]
                {
                    return true;
                }
            }
            false
        })
    }

    /// Whether 192.0.2.1 answers a lone TCP segment with ACK, as scanners send it, by a RST.
    pub fn gets_reset(&self, port: u16) -> bool {
        self.run(move || {
            let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
            socket
                .bind(&SocketAddr::from(([192, 0, 2, 7], 0)).into())
                .unwrap();
            let mut segment = vec![
                0x9c, 0x40, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0,
            ];
            segment[2..4].copy_from_slice(&port.to_be_bytes());
            let pseudo = [192, 0, 2, 7, 192, 0, 2, 1, 0, 6, 0, 20];
            let words = |bytes: &[u8]| {
                bytes
                    .chunks(2)
                    .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
                    .sum::<u32>()
            };
            let sum = words(&pseudo) + words(&segment);
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            segment[16..18].copy_from_slice(&sum.to_be_bytes());
            socket
                .send_to(&segment, &SocketAddr::from(([192, 0, 2, 1], port)).into())
                .unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            let mut bytes = [0; 128];
            while let Ok(length) = socket.read(&mut bytes) {
                if length >= 40 && bytes[20..22] == port.to_be_bytes() && bytes[33] & 4 != 0 {
                    return true;
                }
            }
            false
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// Whether what was sent comes back, before long.
pub fn echoes(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut bytes = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut bytes).is_ok() && bytes == *b"ping"
}

/// Waits until it is so; how long that took.
pub fn wait_until(mut so: impl FnMut() -> bool, at_most: Duration) -> Option<Duration> {
    let start = Instant::now();
    while start.elapsed() < at_most {
        if so() {
            return Some(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}
