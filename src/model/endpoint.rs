//! Where knocks go: `host`, `host:port`, `192.0.2.1:62201`, `[2001:db8::1]:62201`, `2001:db8::1`. Resolves no names.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::Deserialize;

pub(crate) const DEFAULT_PORT: u16 = 62201;

/// A host's name or address, not resolved; an IPv6 address may carry a zone (`fe80::1%eth0`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Host(String);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint {
    pub host: Host,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("\"{0}\" is not a host; write a name, an IPv4 address or an IPv6 address")]
    Host(String),
    /// Not a host with or without a port.
    #[error("\"{0}\" is not an address to knock at; write host, host:port or [IPv6 address]:port")]
    Endpoint(String),
}

impl Host {
    /// The name or the address, without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Host {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = inner.unwrap_or(text);
        let fits = if host.contains(':') {
            is_ipv6(host)
        } else {
            inner.is_none() && is_name(host)
        };
        if fits {
            Ok(Self(host.to_owned()))
        } else {
            Err(EndpointError::Host(text.to_owned()))
        }
    }
}

fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, "0"));
    !zone.is_empty() && address.parse::<Ipv6Addr>().is_ok()
}

/// Refuses only obvious mistakes; the resolver checks the rest.
fn is_name(host: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=253).contains(&host.len()) && !host.starts_with('-') && host.chars().all(word)
}

impl Endpoint {
    /// Reads one; `port` is for a text without a port.
    ///
    /// # Errors
    /// If the text is neither a host nor a host and a port.
    pub(crate) fn with_default(text: &str, port: u16) -> Result<Self, EndpointError> {
        if let Ok(host) = text.parse() {
            return Ok(Self { host, port });
        }
        let wrong = || EndpointError::Endpoint(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        // Without brackets, the last group of an IPv6 address would be taken for the port.
        if host.contains(':') && !host.starts_with('[') {
            return Err(wrong());
        }
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|port| digits && *port != 0)
            .ok_or_else(wrong)?;
        Ok(Self {
            host: host.parse().map_err(|_| wrong())?,
            port,
        })
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::with_default(text, DEFAULT_PORT)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.0.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for Host {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_a_host_with_an_optional_port() {
        for (text, host, port) in [
            ("gate.example.org", "gate.example.org", 5000),
            ("192.0.2.1", "192.0.2.1", 5000),
            ("2001:db8::1", "2001:db8::1", 5000),
            ("[2001:db8::1]", "2001:db8::1", 5000),
            ("[fe80::1%eth0]", "fe80::1%eth0", 5000),
            ("gate:1", "gate", 1),
            ("192.0.2.1:1", "192.0.2.1", 1),
            ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ] {
            let endpoint = Endpoint::with_default(text, 5000).unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port));
            let again = endpoint.to_string().parse();
            assert_eq!(again, Ok(endpoint), "{text}");
        }
        assert_eq!("gate".parse::<Endpoint>().unwrap().port, 62201);
    }

    #[test]
    fn malformed_endpoints_are_refused() {
        for text in [
            "",
            ":1",
            "gate:",
            "gate:0",
            "gate:65536",
            "gate:+1",
            "[gate]:1",
            "[::1",
            "::1]:1",
            "a b",
            "-s",
            "http://gate",
            "1::2::3:4",
            "fe80::1%",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
