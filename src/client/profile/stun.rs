//! STUN servers to ask for one's own address, as people write them: `stun:host`, `stun:host:port`, several behind commas.
//!
//! Owns the text. The client asks them.

use std::fmt;
use std::str::FromStr;

use super::{AllowError, Endpoint};
use crate::client::stun;

/// What stands before each.
pub(super) const SCHEME: &str = "stun:";
/// More than these agree on nothing better.
const MOST: usize = 8;

/// One to eight servers, none twice. All that answer must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StunServers(Vec<Endpoint>);

impl StunServers {
    /// In the order in which they were written.
    pub fn list(&self) -> &[Endpoint] {
        &self.0
    }

    /// Of texts such as `stun:host:port`.
    ///
    /// # Errors
    /// When one of them is no server, there are none or too many, or one stands there twice.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, AllowError> {
        let mut servers = Vec::new();
        for text in texts {
            let server = server(text).ok_or_else(|| AllowError::NoStunServer(text.to_owned()))?;
            if servers.contains(&server) {
                return Err(AllowError::StunTwice(text.to_owned()));
            }
            servers.push(server);
        }
        if (1..=MOST).contains(&servers.len()) {
            Ok(Self(servers))
        } else {
            Err(AllowError::StunCount(servers.len()))
        }
    }
}

fn server(text: &str) -> Option<Endpoint> {
    let place = text.trim().strip_prefix(SCHEME)?;
    match place.parse() {
        Ok(host) => Some(Endpoint {
            host,
            port: stun::PORT,
        }),
        Err(_) => place.parse().ok(),
    }
}

impl FromStr for StunServers {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        Self::of(text.split(','))
    }
}

impl fmt::Display for StunServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.0.iter().enumerate() {
            write!(f, "{}{SCHEME}{server}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_port_or_the_default_one() {
        for (text, shown) in [
            ("stun:stun.example.org", "stun:stun.example.org:3478"),
            ("stun:192.0.2.1:5349", "stun:192.0.2.1:5349"),
            ("stun:[2001:db8::1]:1", "stun:[2001:db8::1]:1"),
            ("stun:2001:db8::1", "stun:[2001:db8::1]:3478"),
            ("stun:a, stun:b:1", "stun:a:3478,stun:b:1"),
        ] {
            let servers: StunServers = text.parse().unwrap();
            assert_eq!(servers.to_string(), shown);
            assert_eq!(shown.parse(), Ok(servers));
        }
    }

    #[test]
    fn what_is_no_list_of_servers_is_refused() {
        for text in [
            "stun:", "stun:a:0", "stun:a b", "stun:a,b", "stun:a,", "a", "",
        ] {
            assert!(
                matches!(
                    text.parse::<StunServers>(),
                    Err(AllowError::NoStunServer(_))
                ),
                "{text}"
            );
        }
        assert!(matches!(
            "stun:a,stun:a:3478".parse::<StunServers>(),
            Err(AllowError::StunTwice(_))
        ));
        assert_eq!(StunServers::of([]), Err(AllowError::StunCount(0)));
        let nine: Vec<String> = (1..=9).map(|number| format!("stun:a:{number}")).collect();
        assert_eq!(
            StunServers::of(nine.iter().map(String::as_str)),
            Err(AllowError::StunCount(9))
        );
    }
}
