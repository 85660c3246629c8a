//! The addresses of this machine, over rtnetlink. Needs no rights.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::attributes;
use super::netlink::{Message, Netlink, NetlinkError};

// linux/rtnetlink.h
const GET_ADDRESS: u16 = 22;
// linux/if_addr.h
const PEER_OR_OWN: u16 = 1;
const OWN: u16 = 2;

/// A socket for questions to the kernel.
#[derive(Debug)]
pub(crate) struct Routes(Netlink);

/// An address of an interface.
#[derive(Debug)]
struct Own {
    interface: u32,
    address: IpAddr,
    network: IpNet,
}

impl Routes {
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::open(NETLINK_ROUTE).map(Self)
    }

    /// Whether `other` is in a network of the interface that has the address `own`.
    pub(crate) fn shares_network(
        &mut self,
        own: IpAddr,
        other: IpAddr,
    ) -> Result<bool, NetlinkError> {
        let question = Message {
            kind: GET_ADDRESS,
            flags: 0,
            body: vec![0; 8],
        };
        let all: Vec<Own> = self.0.dump(&question, |all: &mut Vec<Own>, answer| {
            all.extend(own_address(answer));
            Ok(())
        })?;
        let mut has_own = all.iter().filter(|one| one.address == own);
        Ok(has_own.any(|here| {
            let mut beside = all.iter().filter(|one| one.interface == here.interface);
            beside.any(|one| one.address == other || one.network.contains(&other))
        }))
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
