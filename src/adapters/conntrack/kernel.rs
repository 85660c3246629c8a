//! The kernel's connections over netlink: conntrack entries are made and deleted, TCP sockets of the gate itself are ended.
//!
//! An entry that is deleted is not enough where the gate itself goes on sending: its next segment would make a new one, turned
//! round, and the peer's answers would pass as established. So the socket is ended first; its peer gets one last reset. Of what no
//! socket of the gate is behind, UDP and hosts behind the gate, only the entry goes.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use rustix::io::Errno;
use tracing::{debug, warn};

use super::doors::Doors;
use super::link::{Fault, Link};
use super::wire::{self, Entry, Socket};
use super::{Connection, ConnectionsError, Conntrack};
use crate::model::grant::Grant;
use crate::model::service::Ports;

/// Most connections that are taken over, or ended, at once: the kernel's own table rarely holds more.
const CONNECTIONS_MAX: usize = 262_144;

/// The kernel of one network namespace.
#[derive(Debug)]
pub struct KernelConntrack {
    tracking: Link,
    sockets: Link,
    routes: Link,
    /// It was said once that this kernel ends no sockets.
    told_of_sockets: bool,
}

impl KernelConntrack {
    /// Opens the way to the kernel, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What this kernel lacks.
    pub fn open() -> Result<Self, ConnectionsError> {
        let open = |protocol, name| Link::open(protocol).map_err(|error| no_socket(name, &error));
        Ok(Self {
            tracking: open(NETLINK_NETFILTER, "netfilter")?,
            sockets: open(NETLINK_SOCK_DIAG, "sock_diag")?,
            routes: open(NETLINK_ROUTE, "route")?,
            told_of_sockets: false,
        })
    }

    /// TCP sockets with a peer that pass the test.
    fn sockets_where(
        &mut self,
        test: impl Fn(&Socket) -> bool,
    ) -> Result<Vec<Socket>, ConnectionsError> {
        let mut found = Vec::new();
        for v6 in [false, true] {
            let read = self
                .sockets
                .dump(wire::SOCKETS_BY_FAMILY, &wire::sockets(v6), |body| {
                    found.extend(
                        wire::read_socket(body)
                            .filter(|socket| found.len() < CONNECTIONS_MAX && test(socket)),
                    );
                });
            match read {
                // a host without IPv6
                Err(Fault::Refused(Errno::NOENT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP)) if v6 => {
                }
                read => read.map_err(|fault| trouble("reading the TCP sockets", &fault))?,
            }
        }
        Ok(found)
    }

    /// The entries that rest on what has ended and on nothing that lives.
    fn entries_that_end(
        &mut self,
        ended: &[Grant],
        live: &Doors<'_>,
    ) -> Result<Vec<(Entry, Connection)>, ConnectionsError> {
        let own = self.own_addresses()?;
        let doors = Doors::of(ended);
        let mut found = Vec::new();
        for v6 in [false, true] {
            let mut sources = ended
                .iter()
                .map(|grant| grant.allow)
                .filter(|allow| allow.addr().is_ipv6() == v6);
            let Some(first) = sources.next() else {
                continue;
            };
            let is_lone =
                first.prefix_len() == first.max_prefix_len() && sources.all(|other| other == first);
            let source = match first.addr() {
                IpAddr::V4(address) if is_lone => Some(address),
                _ => None,
            };
            let read =
                self.tracking
                    .dump(wire::CONNTRACK_GET, &wire::entries(v6, source), |body| {
                        let entry =
                            wire::read_entry(body).map(|entry| (connection(&entry, &own), entry));
                        let entry = entry.filter(|(connection, _)| {
                            doors.admit(connection) && !live.admit(connection)
                        });
                        found.extend(
                            entry
                                .filter(|_| found.len() < CONNECTIONS_MAX)
                                .map(|(connection, entry)| (entry, connection)),
                        );
                    });
            read.map_err(|fault| trouble("reading the connection tracking table", &fault))?;
        }
        Ok(found)
    }

    fn own_addresses(&mut self) -> Result<HashSet<IpAddr>, ConnectionsError> {
        let mut own = HashSet::new();
        let read = self
            .routes
            .dump(wire::ADDRESSES_GET, &wire::addresses(), |body| {
                own.extend(wire::read_address(body))
            });
        read.map_err(|fault| trouble("reading the host's addresses", &fault))?;
        Ok(own)
    }

    /// Ends the sockets behind these entries; those that are gone already are done.
    fn end_sockets(&mut self, ending: &[(Entry, Connection)]) -> Result<(), ConnectionsError> {
        let to_gate = ending.iter().filter(|(_, connection)| {
            connection.target.is_none() && connection.protocol == wire::TCP
        });
        let ends: HashSet<(SocketAddr, SocketAddr)> = to_gate
            .map(|(entry, _)| (entry.reply.target, entry.reply.source))
            .collect();
        if ends.is_empty() {
            return Ok(());
        }
        let sockets = self.sockets_where(|socket| ends.contains(&(socket.peer, socket.local)))?;
        let bodies: Vec<Vec<u8>> = sockets.iter().map(wire::destruction).collect();
        let results = self
            .sockets
            .each(wire::SOCKET_DESTROY, 0, &bodies)
            .map_err(|fault| trouble("ending TCP sockets", &fault))?;
        match results
            .into_iter()
            .filter_map(Result::err)
            .find(|errno| !matches!(*errno, Errno::NOENT | Errno::STALE))
        {
            None => Ok(()),
            Some(Errno::OPNOTSUPP) => {
                if !std::mem::replace(&mut self.told_of_sockets, true) {
                    warn!(
                        "this kernel cannot end TCP sockets (CONFIG_INET_DIAG_DESTROY): of a connection whose grant ends only the conntrack \
                         entry is deleted, and it lives on if the gate goes on sending"
                    );
                }
                Ok(())
            }
            Some(errno) => Err(trouble("ending TCP sockets", &Fault::Refused(errno))),
        }
    }

    fn delete(&mut self, ending: &[(Entry, Connection)]) -> Result<(), ConnectionsError> {
        let bodies: Vec<Vec<u8>> = ending
            .iter()
            .map(|(entry, _)| wire::deletion(entry))
            .collect();
        let deleting = "deleting conntrack entries";
        let results = self
            .tracking
            .each(wire::CONNTRACK_DELETE, 0, &bodies)
            .map_err(|fault| trouble(deleting, &fault))?;
        match results
            .into_iter()
            .filter_map(Result::err)
            .find(|errno| *errno != Errno::NOENT)
        {
            None => Ok(()),
            Some(errno) => Err(trouble(deleting, &Fault::Refused(errno))),
        }
    }
}

impl Conntrack for KernelConntrack {
    fn adopt(&mut self, protected: &[Ports]) -> Result<usize, ConnectionsError> {
        if !protected.iter().any(|ports| ports.protocol() == wire::TCP) {
            return Ok(0);
        }
        let is_protected = |socket: &Socket| {
            protected
                .iter()
                .any(|ports| ports.hold(wire::TCP, socket.local.port()))
        };
        let bodies: Vec<Vec<u8>> = self
            .sockets_where(is_protected)?
            .iter()
            .map(wire::adoption)
            .collect();
        let adopting = "making open connections known to connection tracking";
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let results = self
            .tracking
            .each(wire::CONNTRACK_NEW, flags, &bodies)
            .map_err(|fault| trouble(adopting, &fault))?;
        let adopted = results.iter().filter(|result| result.is_ok()).count();
        debug!(
            sockets = results.len(),
            adopted, "connections on protected ports"
        );
        match results
            .into_iter()
            .filter_map(Result::err)
            .find(|errno| *errno != Errno::EXIST)
        {
            None => Ok(adopted),
            Some(errno) => Err(trouble(adopting, &Fault::Refused(errno))),
        }
    }

    fn end(
        &mut self,
        ended: &[Grant],
        live: &mut dyn Iterator<Item = &Grant>,
    ) -> Result<usize, ConnectionsError> {
        if ended.is_empty() {
            return Ok(0);
        }
        let ending = self.entries_that_end(ended, &Doors::of(live))?;
        let sockets = self.end_sockets(&ending);
        self.delete(&ending)?;
        sockets.map(|()| ending.len())
    }
}

/// A connection as the firewall's rules see it: behind any translation of the target, before any of the source.
fn connection(entry: &Entry, own: &HashSet<IpAddr>) -> Connection {
    let reached = entry.reply.source;
    let is_own = own.contains(&reached.ip()) || reached.ip().is_loopback();
    Connection {
        protocol: entry.original.protocol,
        source: entry.original.source.ip(),
        target: (!is_own).then_some(reached.ip()),
        port: reached.port(),
    }
}

fn no_socket(name: &str, error: &io::Error) -> ConnectionsError {
    ConnectionsError(format!(
        "opening a netlink socket to {name}: {error}; does this kernel have it, and the monitor its rights?"
    ))
}

fn trouble(doing: &str, fault: &Fault) -> ConnectionsError {
    let cure = match fault {
        Fault::Refused(Errno::PERM | Errno::ACCESS) => {
            "the monitor needs the capability CAP_NET_ADMIN"
        }
        Fault::Refused(Errno::INVAL | Errno::OPNOTSUPP) => {
            "this kernel may lack it: load the modules nf_conntrack_netlink and tcp_diag"
        }
        Fault::Refused(Errno::NOMEM | Errno::NOSPC) => {
            "the table is full: raise net.netfilter.nf_conntrack_max"
        }
        Fault::Refused(_) | Fault::Lost(_) | Fault::Garbled => {
            "look into the kernel's log, and end them by hand with conntrack -D or ss -K"
        }
    };
    ConnectionsError(format!("{doing}: {fault}; {cure}"))
}
