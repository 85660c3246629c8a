//! Tells when somebody changes the rules of nf_tables.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE, NetlinkBuffer};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::attributes::{find, text};
use super::socket::Messages;

// linux/netfilter/nfnetlink.h
const NFNLGRP_NFTABLES: u32 = 7;
const NFGENMSG_LEN: usize = 4;
const TABLE: u16 = 1;
// NFT_MSG_NEWGEN and NFTA_GEN_PROC_PID in linux/netfilter/nf_tables.h
const NEW_GENERATION: u8 = 15;
const PROCESS: u16 = 2;
const BUFFER: usize = 64 * 1024;

/// A socket that becomes readable with each change of nf_tables in the network namespace of the calling thread.
#[derive(Debug)]
pub(crate) struct RulesetEvents {
    socket: Socket,
    buffer: Vec<u8>,
}

impl RulesetEvents {
    pub(crate) fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(NFNLGRP_NFTABLES)?;
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Takes all waiting events; whether there was one of another process. A lost event counts.
    pub(crate) fn take_foreign(&mut self) -> bool {
        // The kernel knows the process by its number outside of all containers. In one, every event counts.
        let own = rustix::process::getpid()
            .as_raw_nonzero()
            .get()
            .cast_unsigned();
        let mut any = false;
        self.each(|event| any |= event.is_end_of_transaction() && event.process() != Some(own))
            || any
    }

    /// Takes all waiting events. Returns whether the kernel dropped some, or one is not readable.
    pub(crate) fn each(&mut self, mut take: impl FnMut(Event<'_>)) -> bool {
        let mut are_lost = false;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {
                    for message in Messages(&self.buffer) {
                        match message.as_ref().ok().and_then(event) {
                            Some(event) => take(event),
                            None => are_lost = true,
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return are_lost,
                // ENOBUFS: the kernel dropped events; the next call reads on
                Err(error) => {
                    are_lost = true;
                    if error.raw_os_error() != Some(rustix::io::Errno::NOBUFS.raw_os_error()) {
                        return are_lost;
                    }
                }
            }
        }
    }
}

/// What somebody did in nf_tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    /// The type of the message within nf_tables, such as a new rule.
    pub(crate) kind: u8,
    pub(crate) family: u8,
    /// What was added is the last of its kind. Linux before 5.14 does not say so.
    pub(crate) is_appended: bool,
    pub(crate) is_replacing: bool,
    pub(crate) attributes: &'a [u8],
    /// The address of the socket that asked for it.
    pub(crate) port: u32,
}

impl Event<'_> {
    /// Whether it is about this table or a part of it.
    pub(crate) fn is_of(&self, family: u8, table: &str) -> bool {
        self.family == family && self.table().as_deref() == Some(table)
    }

    /// Each transaction ends with the new number of the ruleset.
    fn is_end_of_transaction(&self) -> bool {
        self.kind == NEW_GENERATION
    }

    /// The process that asked for a transaction, as its end tells.
    fn process(&self) -> Option<u32> {
        let number = find(self.attributes, PROCESS)?.try_into().ok()?;
        Some(u32::from_be_bytes(number))
    }

    /// All events but the end of a transaction begin with the name of a table.
    pub(crate) fn table(&self) -> Option<String> {
        find(self.attributes, TABLE).map(text)
    }
}

fn event<'a>(message: &NetlinkBuffer<&'a [u8]>) -> Option<Event<'a>> {
    let (header, attributes) = message.payload().split_at_checked(NFGENMSG_LEN)?;
    let [_, kind] = message.message_type().to_be_bytes();
    Some(Event {
        kind,
        family: *header.first()?,
        is_appended: message.flags() & NLM_F_APPEND != 0,
        is_replacing: message.flags() & NLM_F_REPLACE != 0,
        attributes,
        port: message.port_number(),
    })
}

impl AsFd for RulesetEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
