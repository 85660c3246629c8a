//! Links two network namespaces by netlink, so that the demo needs no program.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::model::exit::{ExitError, FAILED};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn make(near: &str, far: &str, pid: u32) -> Result<(), ExitError> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(far.to_owned()),
        LinkAttribute::NetNsPid(pid),
    ];
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName(near.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    let (message, doing) = (
        RouteNetlinkMessage::NewLink(link),
        format!("linking {near} to {far}"),
    );
    ask(message, NLM_F_CREATE | NLM_F_EXCL, &doing)
}

pub(super) fn configure(interface: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<(), ExitError> {
    let (v4, v6) = (IpAddr::V4(v4), IpAddr::V6(v6));
    add_address(interface, v4, v4, 24)?;
    add_address(interface, v6, v6, 64)?;
    start("lo")?;
    start(interface)
}

/// Gives the link an address that other links may have too, because this one leads to its peer alone.
pub(super) fn configure_to(
    interface: &str,
    own: Ipv4Addr,
    peer: Ipv4Addr,
) -> Result<(), ExitError> {
    add_address(interface, own.into(), peer.into(), 32)?;
    start("lo")?;
    start(interface)
}

fn add_address(
    interface: &str,
    own: IpAddr,
    peer: IpAddr,
    prefix_len: u8,
) -> Result<(), ExitError> {
    let mut message = AddressMessage::default();
    message.header.family = match own {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = prefix_len;
    message.header.index = index(interface)?;
    // The link has two ends only, so duplicate address detection is not needed.
    message.attributes = vec![
        AddressAttribute::Local(own),
        AddressAttribute::Address(peer),
        AddressAttribute::Flags(AddressFlags::Nodad),
    ];
    let message = RouteNetlinkMessage::NewAddress(message);
    let doing = format!("adding {own} to {interface}");
    ask(message, NLM_F_CREATE | NLM_F_EXCL, &doing)
}

fn start(interface: &str) -> Result<(), ExitError> {
    let mut message = LinkMessage::default();
    message.header.index = index(interface)?;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    let message = RouteNetlinkMessage::SetLink(message);
    ask(message, 0, &format!("starting {interface}"))
}

fn index(interface: &str) -> Result<u32, ExitError> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .map_err(ExitError::system("opening a socket"))?;
    rustix::net::netdevice::name_to_index(&socket, interface)
        .map_err(ExitError::system(format!("looking up {interface}")))
}

fn ask(message: RouteNetlinkMessage, flags: u16, doing: &str) -> Result<(), ExitError> {
    let failed = |error: &dyn Display| ExitError::new(FAILED, format!("{doing}: {error}"));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    let (answer, _) = exchange(&bytes).map_err(|error| failed(&error))?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|error| failed(&error))?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(failed(&error.to_io())),
        NetlinkPayload::Error(_) => Ok(()),
        _ => Err(failed(&"unexpected answer from the kernel")),
    }
}

fn exchange(question: &[u8]) -> std::io::Result<(Vec<u8>, SocketAddr)> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(ANSWER_DEADLINE))?;
    socket.send_to(question, &SocketAddr::new(0, 0), 0)?;
    socket.recv_from_full()
}
