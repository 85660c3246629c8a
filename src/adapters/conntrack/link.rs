//! A netlink socket: dumps, and messages that are acknowledged one by one.
//!
//! Owns sequence numbers, buffers and deadlines, and reads every answer. What a message says is not known here.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};

/// An answer takes microseconds; this is for a kernel that does not give one.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The kernel fills at most 32 KiB a datagram of a dump.
const BUFFER: usize = 128 * 1024;
/// Messages in one datagram: their answers must have room in the socket.
const AT_ONCE: usize = 64;
const HEADER: usize = 16;

/// Why an exchange has no good end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The kernel refused.
    #[error("{0}")]
    Refused(Errno),
    /// The answer is lost: it may have been done or not.
    #[error("the kernel's answer is lost: {0}")]
    Lost(io::Error),
    /// The answer is not what the kernel's interface says.
    #[error("the kernel's answer is none that a dump has")]
    Garbled,
}

#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    sequence: u32,
    answer: Vec<u8>,
}

impl Link {
    /// A socket in the network namespace of the calling thread.
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self {
            socket,
            sequence: 0,
            answer: Vec::with_capacity(BUFFER),
        })
    }

    /// Hands the body of every message of a dump to `take`.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Fault> {
        let sequence = self.next_sequence();
        self.send(&message(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, body))?;
        loop {
            self.receive()?;
            for (header, payload) in Messages(&self.answer) {
                if header.sequence_number() != sequence {
                    continue;
                }
                match header.message_type() {
                    // a dump that fails on its way ends with the fault's number
                    NLMSG_DONE => {
                        return fault_of(payload)
                            .map_or(Ok(()), |errno| Err(Fault::Refused(errno)));
                    }
                    NLMSG_ERROR => {
                        return Err(fault_of(payload).map_or(Fault::Garbled, Fault::Refused));
                    }
                    _ => take(payload),
                }
            }
        }
    }

    /// Sends each body as a message of its own; how each ended, in order.
    pub(super) fn each(
        &mut self,
        kind: u16,
        flags: u16,
        bodies: &[Vec<u8>],
    ) -> Result<Vec<Result<(), Errno>>, Fault> {
        let mut ended = Vec::with_capacity(bodies.len());
        for part in bodies.chunks(AT_ONCE) {
            let numbered: Vec<(u32, &Vec<u8>)> = part
                .iter()
                .map(|body| (self.next_sequence(), body))
                .collect();
            let datagram: Vec<u8> = numbered
                .iter()
                .flat_map(|(sequence, body)| {
                    message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, *sequence, body)
                })
                .collect();
            self.send(&datagram)?;
            let mut open = numbered.iter().map(|(sequence, _)| *sequence).peekable();
            while open.peek().is_some() {
                self.receive()?;
                for (header, payload) in Messages(&self.answer) {
                    // answers come in the order of the messages; those to an earlier exchange may still be there
                    if header.message_type() == NLMSG_ERROR
                        && open.next_if_eq(&header.sequence_number()).is_some()
                    {
                        ended.push(fault_of(payload).map_or(Ok(()), Err));
                    }
                }
            }
        }
        Ok(ended)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, datagram: &[u8]) -> Result<(), Fault> {
        loop {
            match self.socket.send(datagram, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(
                        Errno::from_io_error(&error).map_or(Fault::Lost(error), Fault::Refused)
                    );
                }
            }
        }
    }

    fn receive(&mut self) -> Result<(), Fault> {
        loop {
            self.answer.clear();
            match self.socket.recv(&mut self.answer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Lost(error)),
            }
        }
    }
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER.saturating_add(body.len());
    let mut bytes = u32::try_from(length)
        .unwrap_or(u32::MAX)
        .to_ne_bytes()
        .to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// The messages of a datagram, with their bodies; those behind one that is no message are not there.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (NetlinkBuffer<&'a [u8]>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let message = NetlinkBuffer::new_checked(self.0).ok()?;
        let length = usize::try_from(message.length()).ok()?;
        let payload = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((message, payload))
    }
}

/// The number that an acknowledgement or the end of a dump begins with; zero is no fault.
fn fault_of(payload: &[u8]) -> Option<Errno> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    (code != 0).then(|| Errno::from_raw_os_error(code.saturating_abs()))
}
