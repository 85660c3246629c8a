//! The setting `allow` as people write it: `auto`, `both`, `source`, `source/24`, an address, a network, or `stun:host`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;

use super::one_or_many::OneOrMany;
use super::stun::{SCHEME, StunServers, StunServersError};
use crate::model::address;

/// The setting `allow`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMany<String>")]
pub enum AllowSetting {
    /// The client's own address if the gate will see it, else the source of the knock.
    Auto,
    /// The client's own address with one knock, and the source of the knock with another.
    Both,
    /// The source address of the knock.
    Source,
    /// An IPv4 network around that address: a prefix of 1 to 32. A knock over IPv6 asks for its source address only.
    SourceV4(u8),
    /// The same for IPv6, 33 to 128. A knock over IPv4 asks for its source address only.
    SourceV6(u8),
    /// A network, or an address with the longest prefix.
    Network(IpNet),
    /// The address that these servers see, for clients behind address translation.
    Stun(StunServers),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    #[error(
        "\"{0}\" is no address to allow; write auto, both, source, source/24, an address, a network such as 192.0.2.0/24, or stun:HOST"
    )]
    Unknown(String),
    #[error("\"{0}\" has bits beyond its prefix; write {1} for the network or {2} for the address")]
    HostBits(String, IpNet, IpAddr),
    #[error("\"{0}\" is an address that no host can have; write the one to allow, or source")]
    NoHost(String),
    #[error(transparent)]
    Stun(#[from] StunServersError),
}

impl FromStr for AllowSetting {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let unknown = || AllowError::Unknown(text.to_owned());
        match text {
            "auto" => return Ok(Self::Auto),
            "both" => return Ok(Self::Both),
            "source" => return Ok(Self::Source),
            _ if text.starts_with(SCHEME) => return Ok(Self::Stun(text.parse()?)),
            _ => {}
        }
        if let Some(prefix) = text.strip_prefix("source/") {
            return source(prefix).ok_or_else(unknown);
        }
        let network = match text.parse::<IpAddr>() {
            Ok(address) => address::host(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| unknown())?,
        };
        let address = network.addr();
        if address != network.network() {
            let (text, network) = (text.to_owned(), network.trunc());
            return Err(AllowError::HostBits(text, network, address));
        }
        // A packet cannot say "all of IPv6": there, all zeros mean the source.
        if address::is_no_host(address) && network != IpNet::V4(ipnet::Ipv4Net::default()) {
            return Err(AllowError::NoHost(text.to_owned()));
        }
        Ok(Self::Network(network))
    }
}

/// The number tells the family: no IPv4 prefix is longer than 32, and an IPv6 prefix up to 32 would allow a whole provider.
fn source(prefix: &str) -> Option<AllowSetting> {
    if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match prefix.parse().ok()? {
        prefix @ 1..=32 => Some(AllowSetting::SourceV4(prefix)),
        prefix @ 33..=128 => Some(AllowSetting::SourceV6(prefix)),
        _ => None,
    }
}

impl fmt::Display for AllowSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Both => f.write_str("both"),
            Self::Source => f.write_str("source"),
            Self::SourceV4(prefix) | Self::SourceV6(prefix) => write!(f, "source/{prefix}"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Self::Network(network) => network.fmt(f),
            Self::Stun(servers) => servers.fmt(f),
        }
    }
}

impl TryFrom<OneOrMany<String>> for AllowSetting {
    type Error = AllowError;

    fn try_from(texts: OneOrMany<String>) -> Result<Self, AllowError> {
        match texts {
            OneOrMany::One(text) => text.parse(),
            OneOrMany::Many(servers) => {
                let servers = StunServers::of(servers.iter().map(String::as_str))?;
                Ok(Self::Stun(servers))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_settings_read_back() {
        for text in [
            "auto",
            "both",
            "source",
            "source/24",
            "source/32",
            "source/33",
            "source/64",
            "192.0.2.7",
            "192.0.2.0/24",
            "2001:db8::/48",
            "0.0.0.0/0",
            "stun:stun.example.org:3478",
        ] {
            assert_eq!(text.parse::<AllowSetting>().unwrap().to_string(), text);
        }
        let mapped: AllowSetting = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(mapped.to_string(), "192.0.2.7");
        assert_eq!("source/24".parse(), Ok(AllowSetting::SourceV4(24)));
        assert_eq!("source/56".parse(), Ok(AllowSetting::SourceV6(56)));
    }

    #[test]
    fn invalid_settings_are_refused() {
        for text in ["", "me", "source/0", "source/129", "source/+4", "source/"] {
            let expected = Err(AllowError::Unknown(text.to_owned()));
            assert_eq!(text.parse::<AllowSetting>(), expected);
        }
        for text in [
            "0.0.0.0",
            "::",
            "::/0",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            let found = text.parse::<AllowSetting>();
            assert_eq!(found, Err(AllowError::NoHost(text.to_owned())));
        }
        let error = "192.0.2.7/24"
            .parse::<AllowSetting>()
            .unwrap_err()
            .to_string();
        let cure = "write 192.0.2.0/24 for the network or 192.0.2.7 for the address";
        assert_eq!(
            error,
            format!("\"192.0.2.7/24\" has bits beyond its prefix; {cure}")
        );
    }
}
