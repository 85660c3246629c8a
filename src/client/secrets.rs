//! The ways to knock, each with its keys: what a way can carry, and a request as what goes onto the network.

use std::io;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::limits::{BODY_MAX, BODY_MIN, MAX_SERVICES, PACKET_MAX};
use postern_proto::{GateName, Request, Sealed, UserKeys, seal};

use super::KnockRequest;
use super::fwknop::FwknopKeys;
use super::keys::{no_random_bytes, user_keys};
use super::resolve::Families;
use super::route::Route;
use super::sequence::{self, Sequence};
use crate::adapters::random;
use crate::client::profile::{AllowSetting, Endpoint, KeySource, PortHit};
use crate::model::exit::{ExitError, USAGE};

#[derive(Debug)]
pub(crate) enum Secrets {
    /// A knock of Postern: one packet, and one that closes.
    Postern(UserKeys),
    /// One packet as fwknop's client makes it. It only opens, and over IPv4 only.
    Fwknop(Box<FwknopKeys>),
    /// A sequence of ports.
    Sequence(Sequence),
}

/// What goes onto the network for one knock.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// One packet to the knock port.
    Packet(Vec<u8>),
    /// Packets to these ports, in this order.
    Hits(Vec<PortHit>),
    /// One packet to the knock port, whose bytes are text.
    Text(String),
}

impl Secrets {
    /// Reads what a profile names.
    pub(crate) fn read(gate: &GateName, source: &KeySource) -> Result<Self, ExitError> {
        match source {
            KeySource::Postern(source) => user_keys(gate, source).map(Self::Postern),
            KeySource::Fwknop(source) => Ok(Self::Fwknop(Box::new(FwknopKeys::read(source)?))),
        }
    }

    /// Refuses what this way cannot carry, before anything is asked or sent.
    pub(crate) fn check(&self, asked: &KnockRequest) -> Result<(), ExitError> {
        let count = asked.items()?.len();
        match self {
            Self::Postern(_) if count > MAX_SERVICES => {
                let what = format!("{count} services are too many for one knock ({MAX_SERVICES})");
                let cure = "knock twice, or ask the administrator for one named service";
                Err(ExitError::new(USAGE, format!("{what}; {cure}")))
            }
            Self::Postern(_) => Ok(()),
            Self::Fwknop(keys) => keys.check(asked),
            Self::Sequence(sequence) => sequence.check(asked),
        }
    }

    /// The families that this way can use, to these addresses of the gate.
    pub(crate) fn families(
        &self,
        wanted: Families,
        gates: &[Endpoint],
    ) -> Result<Families, ExitError> {
        match self {
            Self::Postern(_) | Self::Sequence(_) => Ok(wanted),
            Self::Fwknop(_) => {
                let in_ipv6 = gates.iter().find(|gate| gate.host.as_str().contains(':'));
                let what = match in_ipv6 {
                    Some(gate) => format!("{gate} is an IPv6 address; name an IPv4 address"),
                    None if wanted == Families::V6 => "leave out -6".to_owned(),
                    None => return Ok(Families::V4),
                };
                let what = format!("packets of fwknop go over IPv4 only: {what}");
                Err(ExitError::new(USAGE, what))
            }
        }
    }

    /// Whether a grant can be closed early. Otherwise it ends by itself.
    pub(crate) fn can_close(&self) -> bool {
        match self {
            Self::Postern(_) => true,
            Self::Fwknop(_) | Self::Sequence(_) => false,
        }
    }

    /// Which address to let in, where the setting leaves it to the way.
    pub(crate) fn allow(&self, asked: AllowSetting) -> AllowSetting {
        match self {
            Self::Postern(_) | Self::Fwknop(_) => asked,
            Self::Sequence(sequence) => sequence.allow(asked),
        }
    }

    /// Where the ports that a knock opens lead, if the knock itself says it.
    pub(crate) fn leads_to(&self) -> Option<String> {
        match self {
            Self::Postern(_) | Self::Sequence(_) => None,
            Self::Fwknop(keys) => keys.leads_to(),
        }
    }

    /// The knock of a request, never twice the same. `longest` is what passes in one piece; a request that needs more
    /// gets the shortest packet.
    pub(super) fn encode(&self, request: &Request, longest: usize) -> Result<Outgoing, ExitError> {
        match self {
            Self::Postern(keys) => {
                let packet = seal_within(keys, request, longest)?;
                Ok(Outgoing::Packet(packet.as_bytes().to_vec()))
            }
            Self::Fwknop(keys) => keys.seal(request).map(Outgoing::Text),
            Self::Sequence(sequence) => sequence.hits(request).map(Outgoing::Hits),
        }
    }
}

impl Outgoing {
    pub(super) fn send(&self, route: &Route) -> io::Result<()> {
        match self {
            Self::Packet(packet) => route.send(packet),
            Self::Text(packet) => route.send(packet.as_bytes()),
            Self::Hits(hits) => sequence::send(hits, route.gate()?),
        }
    }

    /// The same for another program to send, as lines of text.
    pub(crate) fn lines(&self, to: IpAddr) -> String {
        match self {
            Self::Packet(packet) => STANDARD.encode(packet),
            Self::Text(packet) => packet.clone(),
            Self::Hits(hits) => sequence::lines(hits, to).join("\n"),
        }
    }
}

/// Seals a request under a fresh nonce, in a body of random length, so that the length of the packet reveals nothing.
pub fn seal_at_random(keys: &UserKeys, request: &Request) -> Result<Sealed, ExitError> {
    seal_within(keys, request, PACKET_MAX)
}

fn seal_within(keys: &UserKeys, request: &Request, longest: usize) -> Result<Sealed, ExitError> {
    let nonce = random::bytes().map_err(no_random_bytes)?;
    let shortest = request.encoded_len().max(BODY_MIN);
    let longest = longest.saturating_sub(PACKET_MAX.saturating_sub(BODY_MAX));
    let longest = longest.clamp(shortest, BODY_MAX.max(shortest));
    let length = random::between(shortest, longest).map_err(no_random_bytes)?;
    seal(keys, request, nonce, length).map_err(|error| {
        let what = format!("a knock cannot carry this: {error}; change the request");
        ExitError::new(USAGE, what)
    })
}

#[cfg(test)]
mod tests {
    use postern_proto::{KeyMaterial, SharedKey};

    use super::*;

    #[test]
    fn sixteen_services_fit_into_a_knock() {
        let material = KeyMaterial::shared(&SharedKey::from_bytes([7; 32]));
        let secrets = Secrets::Postern(UserKeys::derive(&GateName::new("g").unwrap(), &material));
        let check = |count: u16| {
            let ports: Vec<String> = (1..=count).map(|port| format!("tcp/{port}")).collect();
            let error = secrets.check(&KnockRequest::to_open(&ports)).err();
            error.map(|error| error.code)
        };
        assert_eq!((check(16), check(17)), (None, Some(USAGE)));
    }
}
