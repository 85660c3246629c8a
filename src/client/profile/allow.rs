//! Whom a knock asks to let in, as people write it: `auto`, `source`, `source/24`, an address, a network, or `stun:host`.
//!
//! Owns the text. What `auto` means for a given gate and a given way to it is decided by the client.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};

use super::StunServers;
use super::stun::SCHEME;
use crate::model::address;

/// The setting `allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowSetting {
    /// The client's own address where that is the one the gate will see, else the source of the knock.
    Auto,
    /// The address that the knock comes from.
    Source,
    /// The network of that address: an IPv4 prefix, 1 to 32. A knock over IPv6 asks for its source address only.
    SourceV4(u8),
    /// The same for IPv6, 33 to 128. A knock over IPv4 asks for its source address only.
    SourceV6(u8),
    /// This network, or with the longest prefix this address.
    Network(IpNet),
    /// The address that these servers see: one's own behind address translation, inside the knock.
    Stun(StunServers),
}

/// Why a text is no such setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// Nothing of the kind.
    #[error(
        "\"{0}\" is nobody to let in; write auto, source, source/24, an address, a network such as 192.0.2.0/24, or stun:HOST"
    )]
    Unknown(String),
    /// A network that is written with an address inside it.
    #[error("\"{0}\" has bits beyond its prefix; write {1} for the network or {2} for the address")]
    HostBits(String, IpNet, IpAddr),
    /// No machine has this address.
    #[error("\"{0}\" is an address that no machine has; write the one to let in, or source")]
    Nobody(String),
    /// Not a STUN server.
    #[error(
        "\"{0}\" is not a STUN server; write stun:HOST or stun:HOST:PORT, several with commas between them"
    )]
    NoStunServer(String),
    /// The same server again: it would only agree with itself.
    #[error("\"{0}\" is the same STUN server again; name it once")]
    StunTwice(String),
    /// None, or more than are asked.
    #[error("{0} STUN servers are named; name 1 to 8")]
    StunCount(usize),
}

impl FromStr for AllowSetting {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let unknown = || AllowError::Unknown(text.to_owned());
        match (text, text.strip_prefix("source/")) {
            ("auto", _) => return Ok(Self::Auto),
            ("source", _) => return Ok(Self::Source),
            _ if text.starts_with(SCHEME) => return text.parse().map(Self::Stun),
            (_, Some(prefix)) => return source(prefix).ok_or_else(unknown),
            _ => {}
        }
        let network = match text.parse::<IpAddr>() {
            Ok(address) => address::host(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| unknown())?,
        };
        if network.addr() != network.network() {
            return Err(AllowError::HostBits(
                text.to_owned(),
                network.trunc(),
                network.addr(),
            ));
        }
        // The wire has no way to say "all of IPv6": all zeros mean the source there.
        if address::is_nobody(network.addr()) && network != IpNet::V4(ipnet::Ipv4Net::default()) {
            return Err(AllowError::Nobody(text.to_owned()));
        }
        Ok(Self::Network(network))
    }
}

/// The number tells the family: no IPv4 prefix is longer than 32, and an IPv6 source widened to 32 or less would let in
/// a whole provider.
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

/// One text, or a list of STUN servers.
impl<'de> Deserialize<'de> for AllowSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AllowVisitor)
    }
}

struct AllowVisitor;

impl<'de> Visitor<'de> for AllowVisitor {
    type Value = AllowSetting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address in quotes, or a list of STUN servers")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AllowSetting, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<AllowSetting, A::Error> {
        let texts: Vec<String> = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        StunServers::of(texts.iter().map(String::as_str))
            .map(AllowSetting::Stun)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_as_it_was_written() {
        for text in [
            "auto",
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
        assert_eq!(
            "::ffff:192.0.2.7"
                .parse::<AllowSetting>()
                .unwrap()
                .to_string(),
            "192.0.2.7"
        );
    }

    #[test]
    fn the_prefix_tells_the_family() {
        assert_eq!("source/24".parse(), Ok(AllowSetting::SourceV4(24)));
        assert_eq!("source/56".parse(), Ok(AllowSetting::SourceV6(56)));
    }

    #[test]
    fn bits_beyond_the_prefix_are_refused_with_what_to_write() {
        let error = "192.0.2.7/24".parse::<AllowSetting>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"192.0.2.7/24\" has bits beyond its prefix; write 192.0.2.0/24 for the network or 192.0.2.7 for the address"
        );
    }

    #[test]
    fn what_nobody_can_have_is_refused() {
        for text in [
            "",
            "me",
            "source/0",
            "source/129",
            "source/+4",
            "source/",
            "0.0.0.0",
            "::",
            "::/0",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(text.parse::<AllowSetting>().is_err(), "{text}");
        }
    }
}
