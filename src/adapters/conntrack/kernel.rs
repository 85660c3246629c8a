//! The kernel's connections over netlink: conntrack entries are added and deleted, and the gate's own sockets ended.
//!
//! To delete an entry is not enough if the gate itself keeps sending: its next segment makes a new entry in the other
//! direction, and the peer's answers pass as established. So the socket is ended first, with a reset to the peer. UDP
//! and hosts behind the gate have no TCP socket here; for them only the entry is deleted.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use rustix::io::Errno;
use tracing::{debug, warn};

use super::grant_index::{Connection, GrantIndex};
use super::messages::{self, Entry, TcpSocket};
use super::{Conntrack, ConntrackError};
use crate::adapters::netlink::{Message, Netlink, NetlinkError};
use crate::model::grant::Grant;
use crate::model::service::Ports;

/// Limit of connections that are adopted or ended at once. The kernel's own table is rarely larger.
const CONNECTIONS_MAX: usize = 262_144;

/// The connections of one network namespace.
#[derive(Debug)]
pub struct KernelConntrack {
    tracking: Netlink,
    sockets: Netlink,
    routes: Netlink,
    has_warned: bool,
}

impl KernelConntrack {
    /// Opens the netlink sockets in the network namespace of the calling thread.
    pub fn open() -> Result<Self, ConntrackError> {
        let open = |protocol, name| {
            Netlink::open(protocol).map_err(|error| ConntrackError::NoSocket(name, error))
        };
        Ok(Self {
            tracking: open(NETLINK_NETFILTER, "netfilter")?,
            sockets: open(NETLINK_SOCK_DIAG, "sock_diag")?,
            routes: open(NETLINK_ROUTE, "route")?,
            has_warned: false,
        })
    }

    fn sockets_where(
        &mut self,
        test: impl Fn(&TcpSocket) -> bool,
    ) -> Result<Vec<TcpSocket>, ConntrackError> {
        let mut found = Vec::new();
        for ipv6 in [false, true] {
            let question = messages::list_sockets(ipv6);
            let listed = self.sockets.dump(&question, |all: &mut Vec<_>, body| {
                let socket = messages::read_socket(body).filter(&test);
                all.extend(socket.filter(|_| all.len() < CONNECTIONS_MAX));
                Ok(())
            });
            match listed {
                Err(error) if ipv6 && lacks_ipv6(&error) => {}
                listed => found.extend(listed.map_err(failed("reading the TCP sockets"))?),
            }
        }
        Ok(found)
    }

    /// The entries that depend on an ended grant and on no live one.
    fn entries_to_end(
        &mut self,
        ended: &[Grant],
        live: &GrantIndex<'_>,
    ) -> Result<Vec<(Entry, Connection)>, ConntrackError> {
        let own = self.own_addresses()?;
        let index = GrantIndex::new(ended);
        let mut found = Vec::new();
        for ipv6 in [false, true] {
            let allowed = ended.iter().map(|grant| grant.allow);
            let sources: HashSet<_> = allowed
                .filter(|allow| allow.addr().is_ipv6() == ipv6)
                .collect();
            if sources.is_empty() {
                continue;
            }
            let only_source = match Vec::from_iter(sources)[..] {
                [source] if source.prefix_len() == source.max_prefix_len() => Some(source.addr()),
                _ => None,
            };
            let question = messages::list_entries(ipv6, only_source);
            let listed = self.tracking.dump(&question, |all: &mut Vec<_>, body| {
                let entry = messages::read_entry(body)
                    .map(|entry| (connection(&entry, &own), entry))
                    .filter(|(connection, _)| index.covers(connection) && !live.covers(connection));
                if let Some((connection, entry)) = entry.filter(|_| all.len() < CONNECTIONS_MAX) {
                    all.push((entry, connection));
                }
                Ok(())
            });
            found.extend(listed.map_err(failed("reading the connection tracking table"))?);
        }
        Ok(found)
    }

    fn own_addresses(&mut self) -> Result<HashSet<IpAddr>, ConntrackError> {
        let question = messages::list_addresses();
        let listed = self.routes.dump(&question, |all: &mut HashSet<_>, body| {
            all.extend(messages::read_address(body));
            Ok(())
        });
        listed.map_err(failed("reading the host's addresses"))
    }

    /// Ends the sockets of these entries. Sockets that are gone already are no error.
    fn end_sockets(&mut self, ending: &[(Entry, Connection)]) -> Result<(), ConntrackError> {
        let to_gate = ending.iter().filter(|(_, connection)| {
            connection.target.is_none() && connection.protocol == messages::TCP
        });
        let ends: HashSet<(SocketAddr, SocketAddr)> = to_gate
            .map(|(entry, _)| (entry.reply.target, entry.reply.source))
            .collect();
        if ends.is_empty() {
            return Ok(());
        }
        let sockets = self.sockets_where(|socket| ends.contains(&(socket.peer, socket.local)))?;
        let messages: Vec<_> = sockets.iter().map(messages::end_socket).collect();
        let gone = [Errno::NOENT, Errno::STALE];
        let ended = send_each(&mut self.sockets, &messages, &gone);
        if matches!(&ended, Err(error) if error.is_all(Errno::OPNOTSUPP)) {
            if !std::mem::replace(&mut self.has_warned, true) {
                warn!(
                    "this kernel cannot end TCP sockets (CONFIG_INET_DIAG_DESTROY); when a grant ends, only the \
                     conntrack entry is deleted, and the connection lives on if the gate keeps sending"
                );
            }
            return Ok(());
        }
        ended.map(|_| ()).map_err(failed("ending TCP sockets"))
    }
}

impl Conntrack for KernelConntrack {
    fn adopt(&mut self, protected: &[Ports]) -> Result<usize, ConntrackError> {
        let has_tcp = |ports: &Ports| ports.protocol() == messages::TCP;
        if !protected.iter().any(has_tcp) {
            return Ok(0);
        }
        let is_protected = |socket: &TcpSocket| {
            let port = socket.local.port();
            let mut all = protected.iter();
            // the entry of a closed connection would let its peer open another one from the same port
            socket.is_open && all.any(|ports| ports.hold(messages::TCP, port))
        };
        let sockets = self.sockets_where(is_protected)?;
        let messages: Vec<_> = sockets.iter().map(messages::add_entry).collect();
        let adopted = send_each(&mut self.tracking, &messages, &[Errno::EXIST]);
        let doing = "making open connections known to connection tracking";
        let adopted = adopted.map_err(failed(doing))?;
        let sockets = sockets.len();
        debug!(sockets, adopted, "connections on protected ports");
        Ok(adopted)
    }

    fn end(
        &mut self,
        ended: &[Grant],
        live: &mut dyn Iterator<Item = &Grant>,
    ) -> Result<usize, ConntrackError> {
        if ended.is_empty() {
            return Ok(0);
        }
        let ending = self.entries_to_end(ended, &GrantIndex::new(live))?;
        let sockets = self.end_sockets(&ending);
        let entries = ending.iter().map(|(entry, _)| entry);
        let messages: Vec<_> = entries.map(messages::delete_entry).collect();
        send_each(&mut self.tracking, &messages, &[Errno::NOENT])
            .map_err(failed("deleting conntrack entries"))?;
        sockets.map(|()| ending.len())
    }
}

/// Sends independent messages and counts those that the kernel carried out. A refusal for one of the
/// accepted reasons is no error.
fn send_each(
    netlink: &mut Netlink,
    messages: &[Message],
    accepted: &[Errno],
) -> Result<usize, NetlinkError> {
    let mut done = 0_usize;
    let mut refused = None;
    for result in netlink.send_each(messages)? {
        match result {
            Ok(()) => done = done.saturating_add(1),
            Err(errno) if accepted.contains(&errno) => {}
            Err(errno) => refused = refused.or(Some(errno)),
        }
    }
    refused.map_or(Ok(done), |errno| Err(errno.into()))
}

fn lacks_ipv6(error: &NetlinkError) -> bool {
    [Errno::NOENT, Errno::AFNOSUPPORT, Errno::OPNOTSUPP]
        .into_iter()
        .any(|errno| error.is_all(errno))
}

/// A connection as firewall rules see it: after translation of the target, before translation of the source.
fn connection(entry: &Entry, own: &HashSet<IpAddr>) -> Connection {
    let reached = entry.reply.source;
    let is_own = own.contains(&reached.ip()) || reached.ip().is_loopback();
    Connection {
        protocol: entry.original.protocol,
        source: entry.original.source.ip(),
        target: (!is_own).then_some(reached.ip()),
        port: reached.port(),
        outer: entry.original.target.port(),
    }
}

fn failed(doing: &'static str) -> impl FnOnce(NetlinkError) -> ConntrackError {
    move |error| ConntrackError::Kernel(doing, error)
}
