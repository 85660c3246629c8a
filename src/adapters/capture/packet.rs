//! Passive capture on a packet socket that the monitor opened and filtered.
//!
//! pnet waits for a packet; further packets are then taken in one call. Opening needs privilege. `PacketCapture` binds
//! and reads without it. Its system calls are poll, recvfrom, recvmmsg, bind, getsockopt, fcntl, close and nanosleep. It
//! must not spin: every path without a packet waits or pauses.

use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use pnet::datalink::{Channel, ChannelType, Config, DataLinkReceiver, NetworkInterface};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, socket_error};
use socket2::{Domain, SockRef, Socket, Type};

use super::burst::Burst;
use super::drops::Drops;
use super::{Capture, Caught, filter, frame, hit_filter, hit_frame};
use crate::model::sequence_ports::SequencePorts;

/// The kernel's buffer: about forty thousand knocks, a tenth of a second of a flood.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Longest wait for a packet, and the pause between attempts to bind a missing interface.
const WAIT: Duration = Duration::from_secs(1);
/// Packets since the last wait that count as a flood. Then a pause saves time, because waking a thread costs more than a
/// packet.
const FLOOD: usize = 4;
/// The pause in a flood, about fifty packets. The system makes it about twice as long.
const FLOOD_PAUSE: Duration = Duration::from_micros(100);
/// Errors in a row after which a capture on every interface stops.
const FAILURES_MAX: u32 = 10;
const READ_BUFFER: usize = 65_536;
// linux/if_ether.h, and IEEE 802's number for local experiments
const ETH_P_ALL: u16 = 0x0003;
const NO_TRAFFIC: u16 = 0x88b5;

/// Opens a cooked packet socket with the classic filter. It receives nothing before a [`PacketCapture`] binds it, so no
/// packet passes unfiltered. Needs CAP_NET_RAW; with CAP_NET_ADMIN the buffer may exceed the system's limit.
pub fn open(ports: &[u16]) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    attach_classic_filter(&socket, ports)?;
    if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    Ok(socket.into())
}

/// Attaches the classic filter, in place of any other. Needs no privilege.
pub fn attach_classic_filter(socket: &impl AsFd, ports: &[u16]) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&filter::program(ports)?)
}

/// Opens a cooked packet socket that receives hits of sequences, as [`open`] does for knocks.
pub fn open_for_hits(sequences: &SequencePorts) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    SockRef::from(&socket).attach_filter(&hit_filter::program(sequences)?)?;
    if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    Ok(socket.into())
}

/// What a packet socket captures.
#[derive(Debug)]
enum Wanted {
    /// Datagrams to these knock ports.
    Knocks(Vec<u16>),
    /// Hits of sequences.
    Hits,
}

/// The interface of a capture. Its owner keeps the index up to date, because an engine cannot look it up.
#[derive(Debug, Clone)]
pub struct CapturedInterface {
    /// As the config names it.
    pub name: String,
    /// 0 while there is no such interface.
    pub index: Arc<AtomicU32>,
}

impl CapturedInterface {
    /// An interface that has this index now.
    pub fn new(name: String, index: u32) -> Self {
        let index = Arc::new(AtomicU32::new(index));
        Self { name, index }
    }

    pub(super) fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }
}

/// Reads datagrams from one interface, which may come and go, or from all of them.
pub struct PacketCapture {
    /// To bind again and to read errors. pnet gets duplicates, because it closes its descriptor.
    socket: OwnedFd,
    /// `None` for every interface, also a later one.
    interface: Option<CapturedInterface>,
    wanted: Wanted,
    state: State,
    burst: Burst<{ filter::SNAP as usize }>,
    since_wait: usize,
    failures: u32,
}

enum State {
    Listening(BoundSocket),
    /// With the reason until it is reported.
    Lost(Option<io::Error>),
}

struct BoundSocket {
    receiver: Box<dyn DataLinkReceiver>,
    index: u32,
}

impl PacketCapture {
    /// Binds a socket from [`open`], for the same ports. A missing interface is no error: `next` reports it.
    pub fn new(
        socket: OwnedFd,
        interface: Option<CapturedInterface>,
        ports: Vec<u16>,
    ) -> io::Result<Self> {
        Self::of(socket, interface, Wanted::Knocks(ports))
    }

    /// Binds a socket from [`open_for_hits`].
    pub fn of_hits(socket: OwnedFd, interface: Option<CapturedInterface>) -> io::Result<Self> {
        Self::of(socket, interface, Wanted::Hits)
    }

    fn of(
        socket: OwnedFd,
        interface: Option<CapturedInterface>,
        wanted: Wanted,
    ) -> io::Result<Self> {
        let state = match bind(&socket, interface.as_ref()) {
            Ok(bound) => State::Listening(bound),
            Err(error) if interface.is_some() && is_missing(&error) => State::Lost(Some(error)),
            Err(error) => return Err(error),
        };
        Ok(Self {
            socket,
            interface,
            wanted,
            state,
            burst: Burst::new(),
            since_wait: 0,
            failures: 0,
        })
    }

    /// Releases the bound interface if another one is to be captured, or none.
    fn released(&mut self) -> Option<Caught> {
        let (Some(interface), State::Listening(bound)) = (&self.interface, &self.state) else {
            return None;
        };
        if interface.index() == bound.index {
            return None;
        }
        // the old interface may exist under another name, and its packets would wait in the socket
        let _ = receiver(&self.socket, bound.index, NO_TRAFFIC);
        Some(self.lost(Errno::NODEV.into()))
    }

    /// Handles an error of the socket. It must be read in any case: until then the socket fails again at once.
    fn failed(&mut self, error: io::Error) -> io::Result<Caught> {
        let error = pending_error(&self.socket).err().unwrap_or(error);
        if self.interface.is_some() {
            return Ok(self.lost(error));
        }
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            return Err(error);
        }
        sleep(WAIT);
        Ok(Caught::Nothing)
    }

    fn lost(&mut self, why: io::Error) -> Caught {
        self.state = State::Lost(None);
        Caught::Lost {
            interface: self.interface_name(),
            why: why.to_string(),
        }
    }

    fn interface_name(&self) -> String {
        let interface = self.interface.as_ref();
        interface.map_or(String::new(), |one| one.name.clone())
    }

    fn bind_again(&mut self) -> Caught {
        sleep(WAIT);
        match bind(&self.socket, self.interface.as_ref()) {
            Ok(bound) => {
                self.state = State::Listening(bound);
                Caught::Back {
                    interface: self.interface_name(),
                }
            }
            Err(_) => Caught::Nothing,
        }
    }
}

impl Capture for PacketCapture {
    fn next(&mut self) -> io::Result<Caught> {
        if self.burst.is_over() && (self.burst.was_full() || self.since_wait >= FLOOD) {
            if !self.burst.was_full() {
                self.since_wait = 0;
                sleep(FLOOD_PAUSE);
            }
            self.since_wait += self.burst.fill(self.socket.as_fd()).unwrap_or_default();
            if self.burst.is_over() {
                // the next call waits, so the caller may first handle what came
                return Ok(Caught::Nothing);
            }
        }
        if let Some(packet) = self.burst.next() {
            return Ok(caught(packet, &self.wanted));
        }
        if let Some(lost) = self.released() {
            return Ok(lost);
        }
        let error = match &mut self.state {
            State::Lost(unreported) => match unreported.take() {
                Some(why) => return Ok(self.lost(why)),
                None => return Ok(self.bind_again()),
            },
            State::Listening(bound) => match bound.receiver.next() {
                Ok(packet) => {
                    self.failures = 0;
                    // An error counts as none: the next wait reports it.
                    let filled = self.burst.fill(self.socket.as_fd());
                    self.since_wait = filled.unwrap_or_default();
                    return Ok(caught(packet, &self.wanted));
                }
                Err(error) => error,
            },
        };
        match error.kind() {
            io::ErrorKind::TimedOut => {
                self.failures = 0;
                Ok(Caught::Nothing)
            }
            io::ErrorKind::Interrupted => Ok(Caught::Nothing),
            _ => self.failed(error),
        }
    }

    fn waits(&self) -> bool {
        self.burst.is_over() && !self.burst.was_full()
    }

    fn drops(&self) -> Option<Drops> {
        Drops::of(self.socket.as_fd()).ok()
    }
}

fn caught(packet: &[u8], wanted: &Wanted) -> Caught {
    match wanted {
        Wanted::Knocks(ports) => {
            frame::parse(packet, ports).map_or(Caught::Nothing, Caught::Datagram)
        }
        Wanted::Hits => hit_frame::parse(packet).map_or(Caught::Nothing, Caught::Hit),
    }
}

fn bind(socket: &OwnedFd, interface: Option<&CapturedInterface>) -> io::Result<BoundSocket> {
    let Some(interface) = interface else {
        return Ok(BoundSocket {
            receiver: receiver(socket, 0, ETH_P_ALL)?,
            index: 0,
        });
    };
    let index = interface.index();
    if index == 0 {
        return Err(Errno::NODEV.into());
    }
    // an earlier error must not count
    let _ = pending_error(socket);
    // to bind again for the same device and protocol does nothing; after another protocol, the kernel checks the device
    // and leaves ENETDOWN on the socket if it is down
    drop(receiver(socket, index, NO_TRAFFIC)?);
    let _ = pending_error(socket);
    let receiver = receiver(socket, index, ETH_P_ALL)?;
    pending_error(socket)?;
    Ok(BoundSocket { receiver, index })
}

/// A pnet receiver on a duplicate of the socket. pnet closes the duplicate when dropped, and if it fails to bind.
fn receiver(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<Box<dyn DataLinkReceiver>> {
    let duplicate = socket.try_clone()?.into_raw_fd();
    // pnet uses only the index; 0 is every interface
    let interface = NetworkInterface {
        name: String::new(),
        description: String::new(),
        index,
        mac: None,
        ips: Vec::new(),
        flags: 0,
    };
    let config = Config {
        socket_fd: Some(duplicate),
        promiscuous: false,
        channel_type: ChannelType::Layer3(protocol),
        read_buffer_size: READ_BUFFER,
        write_buffer_size: 0,
        read_timeout: Some(WAIT),
        ..Config::default()
    };
    match pnet::datalink::channel(&interface, config)? {
        // the sender is dropped: nothing is ever sent (invariant 9)
        Channel::Ethernet(_sender, receiver) => Ok(receiver),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn pending_error(socket: &OwnedFd) -> io::Result<()> {
    Ok(socket_error(socket)??)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NODEV | Errno::NETDOWN)
    )
}
