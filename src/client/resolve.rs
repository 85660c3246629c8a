//! Host names to addresses, with the system's resolver.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::client::profile::{Endpoint, Host};
use crate::model::exit::{ExitError, NO_HOST};

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

/// One address of each family: the first that the resolver returns, in the order of the endpoints.
pub(super) fn destinations(
    endpoints: &[Endpoint],
    families: Families,
) -> Result<Vec<SocketAddr>, ExitError> {
    let mut chosen: Vec<SocketAddr> = Vec::new();
    let mut failure = None;
    for endpoint in endpoints {
        match look_up(&endpoint.host, endpoint.port) {
            Ok(found) => {
                for address in found.into_iter().filter(|a| families.contain(a.ip())) {
                    if chosen
                        .iter()
                        .all(|other| other.is_ipv4() != address.is_ipv4())
                    {
                        chosen.push(address);
                    }
                }
            }
            Err(error) => _ = failure.get_or_insert(error),
        }
    }
    if chosen.is_empty() {
        let hosts: Vec<&str> = endpoints
            .iter()
            .map(|endpoint| endpoint.host.as_str())
            .collect();
        return Err(failure.unwrap_or_else(|| no_address(&hosts.join(", "), families)));
    }
    Ok(chosen)
}

/// Every address of a host, of these families and with this port.
pub(crate) fn resolve(
    host: &Host,
    port: u16,
    families: Families,
) -> Result<Vec<SocketAddr>, ExitError> {
    let mut addresses = look_up(host, port)?;
    addresses.retain(|address| families.contain(address.ip()));
    if addresses.is_empty() {
        return Err(no_address(host.as_str(), families));
    }
    Ok(addresses)
}

/// Every address of a host, with this port. An IPv4-mapped address counts as IPv4.
pub(super) fn look_up(host: &Host, port: u16) -> Result<Vec<SocketAddr>, ExitError> {
    let found = (host.as_str(), port).to_socket_addrs().map_err(|error| {
        let why = error.to_string();
        let why = why
            .strip_prefix("failed to lookup address information: ")
            .unwrap_or(&why);
        let cure = "check the name and this machine's DNS, or use the gate's address";
        ExitError::new(NO_HOST, format!("{host} has no address: {why}; {cure}"))
    })?;
    let canonical = |address: SocketAddr| match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    };
    Ok(found.map(canonical).collect())
}

fn no_address(hosts: &str, families: Families) -> ExitError {
    let address = match families {
        Families::Both => "address",
        Families::V4 => "IPv4 address",
        Families::V6 => "IPv6 address",
    };
    let cure = "name another address, or leave out -4 and -6";
    ExitError::new(NO_HOST, format!("{hosts} has no {address}; {cure}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_gets_its_first_address() {
        let found = |texts: &[&str]| {
            let endpoints: Vec<Endpoint> = texts.iter().map(|text| text.parse().unwrap()).collect();
            destinations(&endpoints, Families::Both).unwrap()
        };
        let all = found(&[
            "192.0.2.1:1",
            "192.0.2.2:2",
            "[2001:db8::1]:3",
            "[2001:db8::2]:4",
        ]);
        let first = ["192.0.2.1:1", "[2001:db8::1]:3"];
        assert!(all.iter().map(ToString::to_string).eq(first), "{all:?}");
        let mapped = found(&["[::ffff:192.0.2.1]:1"]);
        assert_eq!(mapped[0].to_string(), "192.0.2.1:1");
    }
}
