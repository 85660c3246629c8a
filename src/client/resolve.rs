//! Host names to addresses, with the system's resolver.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::client::profile::Host;
use crate::model::exit::{ExitError, NO_HOST};

/// EAI_AGAIN in the words of glibc and musl. The standard library gives no code.
const TRY_AGAIN: [&str; 2] = ["Temporary failure in name resolution", "Try again"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    Both,
    V4,
    V6,
}

impl Families {
    pub(crate) fn contain(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Why a host has no address.
#[derive(Debug, Clone)]
pub(super) struct Unresolved {
    pub(super) error: ExitError,
    /// Whether the resolver may know more later.
    pub(super) may_pass: bool,
}

impl From<Unresolved> for ExitError {
    fn from(unresolved: Unresolved) -> Self {
        unresolved.error
    }
}

/// Every address of a host, with this port. An IPv4-mapped address counts as IPv4.
pub(super) fn look_up(host: &Host, port: u16) -> Result<Vec<SocketAddr>, Unresolved> {
    let found = (host.as_str(), port).to_socket_addrs().map_err(|error| {
        let why = error.to_string();
        let why = why
            .strip_prefix("failed to lookup address information: ")
            .unwrap_or(&why);
        let cure = "check the name and this machine's DNS, or use the gate's address";
        Unresolved {
            error: ExitError::new(NO_HOST, format!("{host} has no address: {why}; {cure}")),
            may_pass: TRY_AGAIN.contains(&why),
        }
    })?;
    let canonical = |address: SocketAddr| match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    };
    Ok(found.map(canonical).collect())
}

pub(super) fn no_answer(host: &Host) -> ExitError {
    let cure = "check this machine's DNS, or use the gate's address";
    let what = format!("{host} has no address yet: the resolver does not answer; {cure}");
    ExitError::new(NO_HOST, what)
}

pub(super) fn no_address(hosts: &str, families: Families) -> ExitError {
    let address = match families {
        Families::Both => "address",
        Families::V4 => "IPv4 address",
        Families::V6 => "IPv6 address",
    };
    let cure = "name another address, or leave out -4 and -6";
    ExitError::new(NO_HOST, format!("{hosts} has no {address}; {cure}"))
}

/// In the order of RFC 8305, section 4: the families take turns, beginning with that of the first address.
pub(super) fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == is_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ordered = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
            let ordered = in_turns(addresses).into_iter();
            ordered
                .map(|address| address.to_string())
                .collect::<Vec<_>>()
        };
        let (a, b, c) = ("[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1");
        let (x, y) = ("192.0.2.1:1", "192.0.2.2:1");
        assert_eq!(ordered(&[a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(ordered(&[x, y, x, a]), [x, a, y]);
        assert_eq!(ordered(&[]), [""; 0]);
    }

    #[test]
    fn mapped_address_counts_as_ipv4() {
        let found = look_up(&"::ffff:192.0.2.1".parse().unwrap(), 1).unwrap();
        assert_eq!(found, ["192.0.2.1:1".parse().unwrap()]);
    }
}
