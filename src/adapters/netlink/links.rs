//! Network interfaces by name. A name may be an alternative one (altname), which has up to 127 characters.

use std::io;
use std::os::fd::AsFd;

use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;
use rustix::net::netdevice::{index_to_name, name_to_index};

use super::attributes::Attributes;
use super::socket::{Message, Netlink, NetlinkError};

// RTM_GETLINK in linux/rtnetlink.h, and IFLA_ALT_IFNAME in linux/if_link.h
const LINK_GET: u16 = 18;
const ALTERNATIVE_NAME: u16 = 53;
// struct ifinfomsg, whose second word is the index
const HEADER_LEN: usize = 16;
/// A name of this length or longer does not fit into the kernel's older calls (IFNAMSIZ).
const LONG_NAME: usize = 16;

/// What a name of the config leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Link {
    #[default]
    Missing,
    /// The interface with this index has the name.
    Named(u32),
    /// No interface has the name now. The one with this index had it and has another name.
    Renamed(u32),
}

impl Link {
    /// 0 if there is none.
    pub(crate) fn index(self) -> u32 {
        match self {
            Self::Missing => 0,
            Self::Named(index) | Self::Renamed(index) => index,
        }
    }
}

/// Looks up the interfaces of a network namespace. Needs no privilege.
#[derive(Debug)]
pub(crate) struct Links(Netlink);

impl Links {
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::open(NETLINK_ROUTE).map(Self)
    }

    /// The index of the interface with this name.
    pub(crate) fn index(&mut self, name: &str) -> Result<Option<u32>, NetlinkError> {
        let found = if name.len() < LONG_NAME {
            // This call also knows alternative names, and it never waits for a change of others.
            name_to_index(self.0.as_fd(), name).map_err(NetlinkError::from)
        } else {
            self.index_of_long(name)
        };
        match found {
            Ok(index) => Ok(Some(index)),
            // A kernel before 5.5 has no alternative names: it takes the question as one without a name.
            Err(error) if error.is_all(Errno::NODEV) || error.is_all(Errno::INVAL) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name that the kernel uses in rules and messages.
    pub(crate) fn name(&self, index: u32) -> Option<String> {
        index_to_name(self.0.as_fd(), index).ok()
    }

    /// What the name leads to, where it led to `before`. If the kernel cannot tell, nothing changes.
    pub(crate) fn follow(&mut self, name: &str, before: Link) -> Link {
        match self.index(name) {
            Ok(Some(index)) => Link::Named(index),
            Ok(None) => match before.index() {
                0 => Link::Missing,
                index if self.name(index).is_some() => Link::Renamed(index),
                _ => Link::Missing,
            },
            Err(_) => before,
        }
    }

    fn index_of_long(&mut self, name: &str) -> Result<u32, NetlinkError> {
        let attributes = Attributes::new().text(ALTERNATIVE_NAME, name);
        let question = Message::new(LINK_GET, 0, &[0; HEADER_LEN], &attributes);
        let answer = self.0.ask(&question)?;
        let index = answer.get(4..8).and_then(|index| index.try_into().ok());
        index
            .map(u32::from_ne_bytes)
            .ok_or_else(|| NetlinkError::Unreadable("it has no index".to_owned()))
    }
}
