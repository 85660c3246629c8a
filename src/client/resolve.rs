//! From hosts as people write them to addresses.
//!
//! Owns the choice of one address for each family. The system's resolver does the rest, so /etc/hosts and the like apply.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::{Exit, Failure};
use crate::client::profile::{Endpoint, Host};

/// Over which families to knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 and IPv6, each where the gate has an address of it.
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Families {
    /// Whether an address is of one of these.
    pub fn take(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// One address of each family: the first that the system names, the endpoints asked in their order.
///
/// # Errors
/// When no endpoint has an address of these families.
pub(super) fn destinations(
    endpoints: &[Endpoint],
    families: Families,
) -> Result<Vec<SocketAddr>, Failure> {
    let mut chosen: Vec<SocketAddr> = Vec::new();
    let mut first_failure = None;
    for endpoint in endpoints {
        let found = match look_up(&endpoint.host, endpoint.port) {
            Ok(found) => found,
            Err(failure) => {
                first_failure.get_or_insert(failure);
                continue;
            }
        };
        for address in found
            .into_iter()
            .filter(|address| families.take(address.ip()))
        {
            if !chosen
                .iter()
                .any(|other| other.is_ipv4() == address.is_ipv4())
            {
                chosen.push(address);
            }
        }
    }
    match (chosen.is_empty(), first_failure) {
        (false, _) => Ok(chosen),
        (true, Some(failure)) => Err(failure),
        (true, None) => Err(no_address(endpoints, families)),
    }
}

/// Every address of a host.
///
/// # Errors
/// When it has none.
pub(super) fn addresses(host: &Host) -> Result<Vec<IpAddr>, Failure> {
    Ok(look_up(host, 0)?.iter().map(SocketAddr::ip).collect())
}

/// Every address of a host at which to try a TCP port, of these families.
///
/// # Errors
/// When it has none.
pub fn doors_of(host: &Host, port: u16, families: Families) -> Result<Vec<SocketAddr>, Failure> {
    let mut doors = look_up(host, port)?;
    doors.retain(|door| families.take(door.ip()));
    match doors.is_empty() {
        true => Err(no_address(
            &[Endpoint {
                host: host.clone(),
                port,
            }],
            families,
        )),
        false => Ok(doors),
    }
}

/// Every address of a host, with this port.
///
/// # Errors
/// When it has none.
pub(super) fn look_up(host: &Host, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = (host.as_str(), port)
        .to_socket_addrs()
        .map_err(|error| unknown(host, &error))?;
    Ok(found.map(canonical).collect())
}

/// An IPv4-mapped address goes over IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    }
}

fn unknown(host: &Host, error: &io::Error) -> Failure {
    let said = error.to_string();
    let said = said
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&said);
    Failure::new(
        Exit::NoHost,
        format!("{host} has no address: {said}"),
        "check the name and this machine's DNS, or use the gate's address",
    )
}

fn no_address(endpoints: &[Endpoint], families: Families) -> Failure {
    let hosts = endpoints
        .iter()
        .map(|endpoint| endpoint.host.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let what = match families {
        Families::Both => format!("{hosts} has no address"),
        Families::V4 => format!("{hosts} has no IPv4 address"),
        Families::V6 => format!("{hosts} has no IPv6 address"),
    };
    Failure::new(
        Exit::NoHost,
        what,
        "name another address, or leave out -4 and -6",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(texts: &[&str], families: Families) -> Vec<String> {
        let endpoints: Vec<Endpoint> = texts.iter().map(|text| text.parse().unwrap()).collect();
        destinations(&endpoints, families).map_or_else(
            |failure| vec![failure.to_string()],
            |found| found.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn each_family_gets_the_first_address_of_its_own() {
        let all = [
            "192.0.2.1:1",
            "192.0.2.2:2",
            "[2001:db8::1]:3",
            "[2001:db8::2]:4",
        ];
        assert_eq!(
            chosen(&all, Families::Both),
            ["192.0.2.1:1", "[2001:db8::1]:3"]
        );
        assert_eq!(chosen(&all, Families::V4), ["192.0.2.1:1"]);
        assert_eq!(chosen(&all, Families::V6), ["[2001:db8::1]:3"]);
        assert_eq!(
            chosen(&["[::ffff:192.0.2.1]:1"], Families::Both),
            ["192.0.2.1:1"]
        );
    }

    #[test]
    fn a_family_that_the_gate_does_not_have_is_named() {
        assert_eq!(
            chosen(&["192.0.2.1"], Families::V6),
            ["192.0.2.1 has no IPv6 address; name another address, or leave out -4 and -6"]
        );
    }
}
