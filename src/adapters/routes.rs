//! The addresses and routes of this machine, over rtnetlink, and a wait for changes of them. Needs no rights.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::netlink::attributes::{self, Attributes};
use super::netlink::{Message, Netlink, NetlinkError};
use crate::model::address;

// linux/rtnetlink.h
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;
const DESTINATION: u16 = 1;
const OUT_INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const PREFERRED_SOURCE: u16 = 7;
const VIA: u16 = 18;
const ADDRESS_GROUPS: [u32; 2] = [5, 9];
const ROUTE_GROUPS: [u32; 2] = [7, 11];
// linux/if_addr.h
const PEER_OR_OWN: u16 = 1;
const OWN: u16 = 2;
// linux/socket.h
#[cfg(feature = "daemon")]
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Events are not read, only counted as one; a longer queue is no use.
const BUFFER: usize = 16 * 1024;

/// A question to the kernel about its routes.
#[derive(Debug)]
pub(crate) struct Routes(Netlink);

/// How packets leave for an address: interface, gateway and source. Only a comparison means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextHop(Vec<(u16, Vec<u8>)>);

/// An address of an interface.
#[derive(Debug)]
struct Own {
    interface: u32,
    address: IpAddr,
    network: IpNet,
}

impl Routes {
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::for_questions(NETLINK_ROUTE).map(Self)
    }

    /// The addresses of all interfaces.
    #[cfg(feature = "daemon")]
    pub(crate) fn own_addresses(&mut self) -> Result<Vec<IpAddr>, NetlinkError> {
        let all = self.read_all(AF_UNSPEC)?.into_iter();
        Ok(all.map(|one| one.address).collect())
    }

    /// Whether `other` is in a network of the interface that has the address `own`.
    pub(crate) fn shares_network(
        &mut self,
        own: IpAddr,
        other: IpAddr,
    ) -> Result<bool, NetlinkError> {
        let all = self.read_all(family(own))?;
        let mut has_own = all.iter().filter(|one| one.address == own);
        Ok(has_own.any(|here| {
            let mut beside = all.iter().filter(|one| one.interface == here.interface);
            beside.any(|one| one.address == other || one.network.contains(&other))
        }))
    }

    pub(crate) fn next_hop(&mut self, to: IpAddr) -> Result<NextHop, NetlinkError> {
        let bits = address::host(to).prefix_len();
        let header = [family(to), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let destination = Attributes::new().bytes(DESTINATION, &attributes::octets(to));
        let question = Message::new(GET_ROUTE, 0, &header, &destination);
        let answer = self.0.ask(&question)?;
        let kept = [OUT_INTERFACE, GATEWAY, PREFERRED_SOURCE, VIA];
        let all = attributes::each(answer.get(header.len()..).unwrap_or_default());
        let kept = all.flatten().filter(|(kind, _)| kept.contains(kind));
        Ok(NextHop(
            kept.map(|(kind, value)| (kind, value.to_vec())).collect(),
        ))
    }

    fn read_all(&mut self, family: u8) -> Result<Vec<Own>, NetlinkError> {
        let question = Message {
            kind: GET_ADDRESS,
            flags: 0,
            body: vec![family, 0, 0, 0, 0, 0, 0, 0],
        };
        self.0.dump(&question, |all: &mut Vec<Own>, answer| {
            all.extend(own_address(answer));
            Ok(())
        })
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// A point-to-point link has an own address, and the network of its other end.
fn own_address(answer: &[u8]) -> Option<Own> {
    let (header, all) = answer.split_first_chunk::<8>()?;
    let [_, prefix, _, _, interface @ ..] = *header;
    let read = |kind| attributes::find(all, kind).and_then(attributes::address);
    let network = read(PEER_OR_OWN)?;
    Some(Own {
        interface: u32::from_ne_bytes(interface),
        address: read(OWN).unwrap_or(network),
        network: IpNet::new(network, prefix).ok()?,
    })
}

/// A socket that becomes readable when an address or a route changes, in the network namespace of the calling thread.
#[derive(Debug)]
pub(crate) struct RouteEvents {
    socket: Socket,
    buffer: Vec<u8>,
}

impl RouteEvents {
    pub(crate) fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        for group in ADDRESS_GROUPS.into_iter().chain(ROUTE_GROUPS) {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Takes all waiting events. A lost one is an event as well.
    pub(crate) fn take(&mut self) {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS: the kernel dropped events; the next call reads on
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for RouteEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
