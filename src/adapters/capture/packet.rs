//! Passive capture through pnet on a packet socket that the monitor opened and filtered. pnet waits for a packet; those that came
//! with it are taken in one call.
//!
//! `open` is the privileged half; `PacketCapture` binds and reads and needs no privilege: of system calls only poll, recvfrom,
//! recvmmsg, bind, getsockopt, fcntl, close, nanosleep, and an ioctl for an interface's index. Must not parse (that is `frame`), and
//! must not spin: every path that is not a packet waits or pauses.

use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use pnet::datalink::{Channel, ChannelType, Config, DataLinkReceiver, NetworkInterface};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, socket_error};
use socket2::{Domain, SockRef, Socket, Type};

use super::burst::Burst;
use super::drops::Drops;
use super::{Capture, Caught, filter, frame};

/// What the kernel may hold for us while the engine is busy: some forty thousand knocks, a tenth of a second of a flood.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Longest wait for a packet, and the pause between two tries at an interface that is not there.
const WAIT: Duration = Duration::from_secs(1);
/// This many packets that came with one that was waited for are a flood. Then it pays to let more come: the system spends more on
/// waking a thread than on a packet.
const DENSE: usize = 4;
/// How long more may come, some fifty packets of a flood. The system adds as much again.
const NAP: Duration = Duration::from_micros(100);
/// How often in a row a socket on every interface may fail before it counts as dead.
const FAILURES_MAX: u32 = 10;
const READ_BUFFER: usize = 65_536;
// linux/if_ether.h, and IEEE 802's number for local experiments
const ETH_P_ALL: u16 = 0x0003;
const NO_TRAFFIC: u16 = 0x88b5;

/// Opens the socket: cooked, filtered, on no interface yet. It hears nothing before a [`PacketCapture`] binds it, so that no
/// packet passes before the filter stands. Needs CAP_NET_RAW; with CAP_NET_ADMIN the receive buffer may exceed the system's limit.
///
/// # Errors
/// `InvalidInput` for no port or too many; else what the kernel says, `PermissionDenied` without CAP_NET_RAW.
pub fn open(ports: &[u16]) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    filter_classically(&socket, ports)?;
    if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    Ok(socket.into())
}

/// Puts the classic filter in the place of any other. Needs no privilege.
///
/// # Errors
/// `InvalidInput` for no port or too many; else what the kernel says.
pub fn filter_classically(socket: &impl AsFd, ports: &[u16]) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&filter::program(ports)?)
}

/// Reads datagrams from one interface, which may come and go, or from all of them.
pub struct PacketCapture {
    /// pnet closes what it is given, so it gets duplicates; this one stays to bind again and to ask for errors.
    socket: OwnedFd,
    /// `None`: every interface, also those that come later.
    interface: Option<String>,
    ports: Vec<u16>,
    state: State,
    /// What came with the last packet that was waited for.
    burst: Burst,
    /// Packets since the last wait.
    since_wait: usize,
    failures: u32,
}

enum State {
    Listening(Tap),
    /// With the reason, until it has been told.
    Lost(Option<io::Error>),
}

/// The bound socket.
struct Tap {
    receiver: Box<dyn DataLinkReceiver>,
    index: u32,
}

impl PacketCapture {
    /// Starts to listen on a socket from [`open`], for the same ports. An interface that is absent or down is no error: `next` tells.
    ///
    /// # Errors
    /// When the socket cannot be bound for any other reason.
    pub fn new(socket: OwnedFd, interface: Option<String>, ports: Vec<u16>) -> io::Result<Self> {
        let state = match bind(&socket, interface.as_deref()) {
            Ok(tap) => State::Listening(tap),
            Err(error) if interface.is_some() && is_absence(&error) => State::Lost(Some(error)),
            Err(error) => return Err(error),
        };
        Ok(Self {
            socket,
            interface,
            ports,
            state,
            burst: Burst::new(),
            since_wait: 0,
            failures: 0,
        })
    }

    /// Nothing came for a while: is the interface of that name still the one that is bound?
    fn idle(&mut self) -> Caught {
        self.failures = 0;
        let (Some(name), State::Listening(tap)) = (&self.interface, &self.state) else {
            return Caught::Nothing;
        };
        let why = match name_to_index(&self.socket, name) {
            Ok(index) if index == tap.index => return Caught::Nothing,
            Ok(_) => Errno::NODEV,
            Err(error) => error,
        };
        // It may be there under another name, and what still comes from it would wait in the socket to be heard later.
        let _deaf = receiver(&self.socket, tap.index, NO_TRAFFIC);
        self.lost(why.into())
    }

    /// The socket failed. Its error must be read in any case: until then it fails again at once, millions of times a second.
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
            interface: self.interface.clone().unwrap_or_default(),
            why: why.to_string(),
        }
    }

    fn try_again(&mut self) -> Caught {
        sleep(WAIT);
        match bind(&self.socket, self.interface.as_deref()) {
            Ok(tap) => {
                self.state = State::Listening(tap);
                Caught::Back {
                    interface: self.interface.clone().unwrap_or_default(),
                }
            }
            Err(_) => Caught::Nothing,
        }
    }
}

impl Capture for PacketCapture {
    fn next(&mut self) -> io::Result<Caught> {
        if self.burst.is_over() && (self.burst.was_full() || self.since_wait >= DENSE) {
            if !self.burst.was_full() {
                self.since_wait = 0;
                sleep(NAP);
            }
            self.since_wait += self.burst.fill(self.socket.as_fd());
            if self.burst.is_over() {
                // Nothing more, so the next call waits: first whoever asks may deal with what came.
                return Ok(Caught::Nothing);
            }
        }
        if let Some(packet) = self.burst.next() {
            return Ok(caught(packet, &self.ports));
        }
        let error = match &mut self.state {
            State::Lost(untold) => match untold.take() {
                Some(why) => return Ok(self.lost(why)),
                None => return Ok(self.try_again()),
            },
            State::Listening(tap) => match tap.receiver.next() {
                Ok(packet) => {
                    self.failures = 0;
                    self.since_wait = self.burst.fill(self.socket.as_fd());
                    return Ok(caught(packet, &self.ports));
                }
                Err(error) => error,
            },
        };
        match error.kind() {
            io::ErrorKind::TimedOut => Ok(self.idle()),
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

fn caught(packet: &[u8], ports: &[u16]) -> Caught {
    frame::parse(packet, ports).map_or(Caught::Nothing, Caught::Datagram)
}

fn bind(socket: &OwnedFd, interface: Option<&str>) -> io::Result<Tap> {
    let Some(name) = interface else {
        return Ok(Tap {
            receiver: receiver(socket, 0, ETH_P_ALL)?,
            index: 0,
        });
    };
    let index = name_to_index(socket, name)?;
    // An error of before must not count against this try.
    let _before = pending_error(socket);
    // To bind to the same device for the same protocol is a no-op that tells nothing; after a detour over another protocol the
    // kernel looks at the device anew and leaves ENETDOWN on the socket if it is down.
    drop(receiver(socket, index, NO_TRAFFIC)?);
    let _detour = pending_error(socket);
    let receiver = receiver(socket, index, ETH_P_ALL)?;
    pending_error(socket)?;
    Ok(Tap { receiver, index })
}

/// A pnet receiver on a duplicate of the socket: pnet closes the duplicate, when dropped and also when it fails to bind.
fn receiver(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<Box<dyn DataLinkReceiver>> {
    let duplicate = socket.try_clone()?.into_raw_fd();
    // pnet looks at the index alone; 0 is every interface.
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
        // The sender is dropped: nothing is ever sent (invariant 9).
        Channel::Ethernet(_sender, receiver) => Ok(receiver),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Reads and clears SO_ERROR.
fn pending_error(socket: &OwnedFd) -> io::Result<()> {
    Ok(socket_error(socket)??)
}

fn is_absence(error: &io::Error) -> bool {
    [Errno::NODEV, Errno::NETDOWN]
        .iter()
        .any(|absence| error.raw_os_error() == Some(absence.raw_os_error()))
}
