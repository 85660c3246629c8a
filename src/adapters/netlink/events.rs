//! Tells when somebody changes the rules of nf_tables.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::attributes::{find, text};
use super::socket::Messages;

// linux/netfilter/nfnetlink.h
const NFNLGRP_NFTABLES: u32 = 7;
const NFGENMSG_LEN: usize = 4;
// linux/netfilter/nf_tables.h: the end of a transaction, in the subsystem of nf_tables
const NEW_GENERATION: u16 = 10 << 8 | 15;
const TABLE: u16 = 1;
const INET: u8 = 1;
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

    /// Takes all waiting events; whether there was any. A lost event counts.
    pub(crate) fn take(&mut self) -> bool {
        self.take_those(|_| true)
    }

    /// Takes all waiting events; whether one is about another table than this one of family `inet`. A lost event counts.
    pub(crate) fn take_foreign(&mut self, own_table: &str) -> bool {
        self.take_those(|datagram| has_foreign_event(datagram, own_table))
    }

    fn take_those(&mut self, counts: impl Fn(&[u8]) -> bool) -> bool {
        let mut any = false;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => any |= counts(&self.buffer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return any,
                // ENOBUFS: the kernel dropped events; the next call reads on
                Err(error) => {
                    if error.raw_os_error() != Some(rustix::io::Errno::NOBUFS.raw_os_error()) {
                        return true;
                    }
                    any = true;
                }
            }
        }
    }
}

fn has_foreign_event(datagram: &[u8], own_table: &str) -> bool {
    Messages(datagram).any(|message| {
        let Ok(message) = message else { return true };
        let Some((header, attributes)) = message.payload().split_at_checked(NFGENMSG_LEN) else {
            return true;
        };
        // all other messages begin with the name of the table
        let is_own = header.first() == Some(&INET)
            && find(attributes, TABLE).is_some_and(|name| text(name) == own_table);
        message.message_type() != NEW_GENERATION && !is_own
    })
}

impl AsFd for RulesetEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::netlink::attributes::Attributes;

    fn event(kind: u16, family: u8, table: &str) -> Vec<u8> {
        let attributes = Attributes::new().text(TABLE, table);
        let length = u32::try_from(20 + attributes.as_bytes().len()).unwrap();
        [
            &length.to_ne_bytes()[..],
            &(10_u16 << 8 | kind).to_ne_bytes(),
            &[0; 10],
            &[family, 0, 0, 0],
            attributes.as_bytes(),
        ]
        .concat()
    }

    #[test]
    fn events_of_the_own_table_do_not_count() {
        let own = event(12, INET, "postern");
        let end = event(15, 0, "");
        assert!(!has_foreign_event(&[own.clone(), end].concat(), "postern"));
        for other in [
            event(6, 2, "postern"),
            event(6, INET, "filter"),
            vec![7; 30],
        ] {
            assert!(has_foreign_event(&[own.clone(), other].concat(), "postern"));
        }
    }
}
