//! Groups of NFLOG: binding one, and the packets in what the kernel sends.
//!
//! A group has one owner in a network namespace. The kernel asks for `CAP_NET_ADMIN` at each command. The descriptor can
//! then go to a process without rights, which can only receive.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::attributes::{Attributes, find};
use super::{Message, Messages, Netlink};

// linux/netfilter/nfnetlink.h and nfnetlink_log.h
const NETLINK_NETFILTER: isize = 12;
pub(crate) const PACKET: u16 = 4 << 8;
const CONFIG: u16 = 4 << 8 | 1;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_MODE: u16 = 2;
const CONFIG_BUFFER: u16 = 3;
const CONFIG_THRESHOLD: u16 = 5;
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
pub(crate) const IN_INTERFACE: u16 = 4;
pub(crate) const PAYLOAD: u16 = 9;
const NFGENMSG_LEN: usize = 4;

/// What the kernel adds to a packet at most: headers, and attributes such as interfaces, link addresses and a prefix.
pub(crate) const ENVELOPE: usize = 400;

/// Binds a group, for at most this many bytes of each packet. Each packet is delivered at once, in a datagram of its own.
///
/// # Errors
/// If the group has an owner, the kind is `AddrInUse`.
pub(crate) fn bind(group: u16, copied: u32, receive_buffer: usize) -> io::Result<OwnedFd> {
    let mut netlink = Netlink::open(NETLINK_NETFILTER)?;
    let _ = set_socket_recv_buffer_size_force(&netlink, receive_buffer);
    let mode = [&copied.to_be_bytes()[..], &[COPY_PACKET, 0]].concat();
    let attributes = Attributes::new()
        .bytes(CONFIG_COMMAND, &[BIND])
        .bytes(CONFIG_MODE, &mode)
        // The kernel makes each datagram as large as its packet needs. So more of them fit into the buffer.
        .number(CONFIG_BUFFER, 1)
        // Without it a packet waits for 99 others, or a second.
        .number(CONFIG_THRESHOLD, 1);
    let [high, low] = group.to_be_bytes();
    let config = Message::new(CONFIG, 0, &[0, 0, high, low], &attributes);
    let done = netlink.send_each(&[config]).map_err(io::Error::other)?;
    match done.first() {
        Some(Ok(())) => netlink.as_fd().try_clone_to_owned(),
        // The kernel says "not permitted" if another socket has the group.
        Some(Err(Errno::PERM | Errno::BUSY)) => {
            let taken = format!("the group is taken: another program reads group {group}");
            Err(io::Error::new(io::ErrorKind::AddrInUse, taken))
        }
        Some(Err(Errno::INVAL)) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel has no NFLOG (module nfnetlink_log)",
        )),
        Some(Err(errno)) => Err((*errno).into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A packet that a rule sent.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    /// From its IP header on.
    pub(crate) bytes: &'a [u8],
    /// The index of the interface that it came in by; 0 if the kernel does not say.
    pub(crate) interface: u32,
}

/// The packets in a datagram of the kernel. What is not readable is left out.
pub(crate) fn packets(datagram: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let messages = Messages::of(datagram).flatten();
    let messages = messages.filter(|message| message.message_type() == PACKET);
    messages.filter_map(|message| {
        let attributes = message.payload().get(NFGENMSG_LEN..)?;
        let interface = find(attributes, IN_INTERFACE).and_then(|index| index.first_chunk());
        Some(Packet {
            bytes: find(attributes, PAYLOAD)?,
            interface: interface.map_or(0, |index| u32::from_be_bytes(*index)),
        })
    })
}
