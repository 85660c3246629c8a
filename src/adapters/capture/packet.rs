//! Passive capture on a packet socket that the monitor opened and filtered.
//!
//! pnet binds the socket; packets are taken many in one call. Opening needs privilege. `PacketCapture` binds and reads without it.
//! Its system calls are recvmmsg, bind, getsockopt, fcntl and close. Its owner must not spin: without a packet the socket is not
//! readable, or there is nothing to poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pnet::datalink::{Channel, ChannelType, Config, NetworkInterface};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, socket_error};
use socket2::{Domain, SockRef, Socket, Type};

use super::burst::Burst;
use super::drops::Drops;
use super::pause::Pause;
use super::{Capture, Caught, WAIT, filter, frame, hit_filter, hit_frame};
use crate::model::datagram::Datagram;
use crate::model::sequence_ports::SequencePorts;

/// The kernel's buffer: about forty thousand knocks, a tenth of a second of a flood.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Errors in a row after which a capture on every interface stops.
const FAILURES_MAX: u32 = 10;
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
    pause: Pause,
    failures: u32,
}

enum State {
    /// On the interface with this index.
    Listening(u32),
    /// With the reason until it is reported.
    Lost(Option<io::Error>),
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
            Ok(index) => State::Listening(index),
            Err(error) if interface.is_some() && is_missing(&error) => State::Lost(Some(error)),
            Err(error) => return Err(error),
        };
        Ok(Self {
            socket,
            interface,
            wanted,
            state,
            burst: Burst::new(),
            pause: Pause::default(),
            failures: 0,
        })
    }

    /// Releases the bound interface if another one is to be captured, or none.
    fn released(&mut self) -> Option<Caught> {
        let (Some(interface), State::Listening(index)) = (&self.interface, &self.state) else {
            return None;
        };
        if interface.index() == *index {
            return None;
        }
        // the old interface may exist under another name, and its packets would wait in the socket
        let _ = bind_to(&self.socket, *index, NO_TRAFFIC);
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
        self.pause.begin(WAIT);
        Ok(Caught::Nothing)
    }

    fn lost(&mut self, why: io::Error) -> Caught {
        self.state = State::Lost(None);
        self.pause.begin(WAIT);
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
        match bind(&self.socket, self.interface.as_ref()) {
            Ok(index) => {
                self.state = State::Listening(index);
                Caught::Back {
                    interface: self.interface_name(),
                }
            }
            Err(_) => {
                self.pause.begin(WAIT);
                Caught::Nothing
            }
        }
    }
}

impl Capture for PacketCapture {
    fn take(&mut self, datagram: &mut Datagram) -> io::Result<Caught> {
        if let Some(packet) = self.burst.next() {
            return Ok(caught(packet, &self.wanted, datagram));
        }
        if let Some(lost) = self.released() {
            return Ok(lost);
        }
        if let State::Lost(unreported) = &mut self.state
            && let Some(why) = unreported.take()
        {
            return Ok(self.lost(why));
        }
        if !self.pause.is_over() {
            return Ok(Caught::Nothing);
        }
        if let State::Lost(_) = self.state {
            return Ok(self.bind_again());
        }
        match self.burst.fill(self.socket.as_fd()) {
            Ok(_) => {
                self.failures = 0;
                let packet = self.burst.next();
                Ok(packet.map_or(Caught::Nothing, |packet| {
                    caught(packet, &self.wanted, datagram)
                }))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.failures = 0;
                    Ok(Caught::Nothing)
                }
                io::ErrorKind::Interrupted => Ok(Caught::Nothing),
                _ => self.failed(error),
            },
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        let listens = matches!(self.state, State::Listening(_)) && self.pause.is_over();
        listens.then(|| self.socket.as_fd())
    }

    fn holds(&self) -> bool {
        !self.burst.is_over()
    }

    fn drops(&self) -> Option<Drops> {
        Drops::of(self.socket.as_fd()).ok()
    }
}

fn caught(packet: &[u8], wanted: &Wanted, datagram: &mut Datagram) -> Caught {
    match wanted {
        Wanted::Knocks(ports) => frame::parse_into(packet, ports, datagram)
            .map_or(Caught::Nothing, |()| Caught::Datagram),
        Wanted::Hits => hit_frame::parse(packet).map_or(Caught::Nothing, Caught::Hit),
    }
}

/// Returns the index of the bound interface; 0 is every interface.
fn bind(socket: &OwnedFd, interface: Option<&CapturedInterface>) -> io::Result<u32> {
    let Some(interface) = interface else {
        bind_to(socket, 0, ETH_P_ALL)?;
        return Ok(0);
    };
    let index = interface.index();
    if index == 0 {
        return Err(Errno::NODEV.into());
    }
    // an earlier error must not count
    let _ = pending_error(socket);
    // to bind again for the same device and protocol does nothing; after another protocol, the kernel checks the device
    // and leaves ENETDOWN on the socket if it is down
    bind_to(socket, index, NO_TRAFFIC)?;
    let _ = pending_error(socket);
    bind_to(socket, index, ETH_P_ALL)?;
    pending_error(socket)?;
    Ok(index)
}

/// pnet binds a duplicate, and closes it.
fn bind_to(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<()> {
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
        read_buffer_size: 0,
        write_buffer_size: 0,
        ..Config::default()
    };
    match pnet::datalink::channel(&interface, config)? {
        // both ends are dropped: nothing is ever sent (invariant 9)
        Channel::Ethernet(_sender, _receiver) => Ok(()),
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
