//! STUN servers as people write them: `stun:host`, `stun:host:port`, several separated by commas.

use std::fmt;
use std::str::FromStr;

use crate::client::stun;
use crate::model::endpoint::Endpoint;

pub(super) const SCHEME: &str = "stun:";
const SERVERS_MAX: usize = 8;

/// One to eight servers without duplicates. All that answer must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StunServers(Vec<Endpoint>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StunServersError {
    #[error(
        "\"{0}\" is not a STUN server; write stun:HOST or stun:HOST:PORT, several separated by commas"
    )]
    Invalid(String),
    /// A duplicate, which would only agree with itself.
    #[error("\"{0}\" is the same STUN server again; name it once")]
    Duplicate(String),
    #[error("{0} STUN servers are named; name 1 to 8")]
    Count(usize),
}

impl StunServers {
    pub(crate) fn list(&self) -> &[Endpoint] {
        &self.0
    }

    pub(crate) fn of<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, StunServersError> {
        let mut servers = Vec::new();
        for text in texts {
            let server = server(text).ok_or_else(|| StunServersError::Invalid(text.to_owned()))?;
            if servers.contains(&server) {
                return Err(StunServersError::Duplicate(text.to_owned()));
            }
            servers.push(server);
        }
        match servers.len() {
            1..=SERVERS_MAX => Ok(Self(servers)),
            count => Err(StunServersError::Count(count)),
        }
    }
}

fn server(text: &str) -> Option<Endpoint> {
    let address = text.trim().strip_prefix(SCHEME)?;
    match address.parse() {
        Ok(host) => Some(Endpoint {
            host,
            port: stun::PORT,
        }),
        Err(_) => address.parse().ok(),
    }
}

impl FromStr for StunServers {
    type Err = StunServersError;

    fn from_str(text: &str) -> Result<Self, StunServersError> {
        Self::of(text.split(','))
    }
}

impl fmt::Display for StunServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<String> = self.0.iter().map(|at| format!("{SCHEME}{at}")).collect();
        f.write_str(&servers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_read_back_with_their_port() {
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
    fn invalid_lists_are_refused() {
        let parse = |text: &str| text.parse::<StunServers>().unwrap_err();
        for text in [
            "stun:", "stun:a:0", "stun:a b", "stun:a,b", "stun:a,", "a", "",
        ] {
            assert!(
                matches!(parse(text), StunServersError::Invalid(_)),
                "{text}"
            );
        }
        let found = parse("stun:a,stun:a:3478");
        assert!(matches!(found, StunServersError::Duplicate(_)));
        assert_eq!(StunServers::of([]), Err(StunServersError::Count(0)));
        let nine: Vec<String> = (1..=9).map(|number| format!("stun:a:{number}")).collect();
        assert_eq!(parse(&nine.join(",")), StunServersError::Count(9));
    }
}
