//! Knocks that are a sequence of ports: which ports, and how they are hit.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use postern_fwknop::sequence as encrypted;
use postern_proto::{Action, Allow, Item, Protocol, Request};
use postern_sequence::{Key, Shape, step_at};
use zeroize::Zeroizing;

use super::KnockRequest;
use super::file_error::unreadable;
use super::keys::no_random_bytes;
use crate::adapters::{clock, files, random};
use crate::client::profile::{AllowSetting, Passphrase, PortHit, SequenceSource};
use crate::model::address;
use crate::model::exit::{CONFIG, ExitError, USAGE};

/// Between two hits, so that they arrive in order.
const PAUSE: Duration = Duration::from_millis(50);

/// What makes the ports of a sequence.
#[derive(Debug)]
pub(crate) enum Sequence {
    Plain(Vec<PortHit>),
    Keyed {
        key: Key,
        shape: Shape,
        protocol: Protocol,
        /// How many were made.
        made: AtomicUsize,
    },
    Encrypted(encrypted::Key),
}

impl Sequence {
    pub(crate) fn read(source: SequenceSource) -> Result<Self, ExitError> {
        Ok(match source {
            SequenceSource::Plain(hits) => Self::Plain(hits),
            SequenceSource::Keyed {
                key,
                shape,
                protocol,
            } => Self::Keyed {
                key,
                shape,
                protocol,
                made: AtomicUsize::new(0),
            },
            SequenceSource::Encrypted { passphrase, offset } => {
                let text = match passphrase {
                    Passphrase::Text(text) => text,
                    Passphrase::File(path) => in_file(&path)?,
                };
                let key = encrypted::Key::new(text.as_bytes(), offset);
                Self::Encrypted(key.map_err(|error| {
                    let cure = "write the passphrase and the offset that the gate has";
                    ExitError::new(CONFIG, format!("sequence: {error}; {cure}"))
                })?)
            }
        })
    }

    /// A sequence comes from the address that it lets in, unless it can name another.
    pub(super) fn allow(&self, asked: AllowSetting) -> AllowSetting {
        match asked {
            AllowSetting::Auto => AllowSetting::Source,
            other => other,
        }
    }

    /// Refuses what the hits cannot say.
    pub(super) fn check(&self, asked: &KnockRequest) -> Result<(), ExitError> {
        let refused = |what: &str| Err(ExitError::new(USAGE, what.to_owned()));
        if asked.action == Action::Close {
            return refused("a sequence cannot close; what it opened ends by itself");
        }
        if asked.duration.is_some() {
            return refused(
                "a sequence cannot ask for a length; leave it out: the gate's config has it",
            );
        }
        if asked.target.is_some() {
            return refused(
                "a sequence cannot name a target; leave it out, and ask for a service with a forward",
            );
        }
        match (self, &asked.allow) {
            (_, AllowSetting::Source) => {}
            (Self::Encrypted(_), AllowSetting::Network(IpNet::V4(v4))) if v4.prefix_len() == 32 => {
            }
            (Self::Encrypted(_), _) => {
                return refused(
                    "an encrypted sequence lets in its source or one IPv4 address; change allow",
                );
            }
            _ => return refused("a sequence lets in the address it comes from; leave out allow"),
        }
        match self {
            Self::Encrypted(_) => access(&asked.items()?, Allow::Source { prefix: 128 }).map(drop),
            Self::Plain(_) | Self::Keyed { .. } => asked.items().map(drop),
        }
    }

    /// The ports to hit for a request, never twice the same if they are keyed or encrypted. The gate takes a keyed sequence of the step
    /// after or before as well, and each of them once: another address, or another try, gets one of those.
    pub(super) fn hits(&self, request: &Request) -> Result<Vec<PortHit>, ExitError> {
        Ok(match self {
            Self::Plain(hits) => hits.clone(),
            Self::Keyed {
                key,
                shape,
                protocol,
                made,
            } => {
                let step = step_at(request.timestamp_ms / 1000);
                let step = match made.fetch_add(1, Ordering::Relaxed) % 3 {
                    0 => step,
                    1 => step.saturating_add(1),
                    _ => step.saturating_sub(1),
                };
                let ports = postern_sequence::ports(key, step, *shape).into_iter();
                let protocol = *protocol;
                ports.map(|port| PortHit { protocol, port }).collect()
            }
            Self::Encrypted(key) => {
                let access = access(&request.items, request.allow)?;
                let random = random::bytes().map_err(no_random_bytes)?;
                let ports = key.ports(&access, &random).map_err(cannot_carry)?;
                let protocol = Protocol::Tcp;
                let ports = ports.into_iter();
                ports.map(|port| PortHit { protocol, port }).collect()
            }
        })
    }
}

fn cannot_carry(error: encrypted::Refused) -> ExitError {
    let what = format!("an encrypted sequence cannot carry this: {error}");
    ExitError::new(USAGE, what)
}

/// What an encrypted sequence asks for: one port.
fn access(items: &[Item], allow: Allow) -> Result<encrypted::Access, ExitError> {
    let cure = "ask for one with -s tcp/22";
    let one = match items {
        [Item::Service(one)] if one.first() == one.last() => Some(one),
        _ => None,
    };
    let protocol = |number: Protocol| match number {
        Protocol::Tcp => Some(encrypted::Protocol::Tcp),
        Protocol::Udp => Some(encrypted::Protocol::Udp),
        Protocol::Icmp => Some(encrypted::Protocol::Icmp),
        Protocol::Icmpv6 | Protocol::Sctp => None,
    };
    let one = one.and_then(|one| Some((protocol(one.protocol())?, one.first())));
    let (protocol, port) = one.ok_or_else(|| {
        let what = "an encrypted sequence asks for one port of TCP or UDP, or icmp";
        ExitError::new(USAGE, format!("{what}; {cure}"))
    })?;
    let allow = match allow {
        Allow::Source { .. } => postern_fwknop::Allow::Source,
        Allow::Network { address, prefix } => {
            match address::network_from_knock(address, prefix).map(|network| network.addr()) {
                Some(IpAddr::V4(v4)) => postern_fwknop::Allow::Address(v4),
                _ => postern_fwknop::Allow::Source,
            }
        }
    };
    Ok(encrypted::Access {
        allow,
        protocol,
        port,
        user: String::new(),
    })
}

fn in_file(path: &Path) -> Result<Zeroizing<String>, ExitError> {
    let text = files::read_private(path).map_err(|error| unreadable(&error))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Hits the ports one after the other. Nothing listens there, so no answer is an error.
pub(super) fn send(hits: &[PortHit], to: IpAddr) -> io::Result<()> {
    for hit in hits {
        let began = clock::instant();
        let to = SocketAddr::new(to, hit.port);
        match hit.protocol {
            Protocol::Udp => send_datagram(to)?,
            _ => send_syn(to)?,
        }
        std::thread::sleep(PAUSE.saturating_sub(clock::elapsed(began)));
    }
    Ok(())
}

/// As the client of knockd sends it: one byte.
fn send_datagram(to: SocketAddr) -> io::Result<()> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind((any, 0))?.send_to(&[0], to).map(drop)
}

/// The connection is given up before the system sends a second SYN.
fn send_syn(to: SocketAddr) -> io::Result<()> {
    match TcpStream::connect_timeout(&to, PAUSE) {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::TimedOut | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Lines `HOST PORT` for the client of knockd; UDP as `PORT:udp`.
pub(super) fn lines(hits: &[PortHit], to: IpAddr) -> Vec<String> {
    let line = |hit: &PortHit| match hit.protocol {
        Protocol::Udp => format!("{to} {}:udp", hit.port),
        _ => format!("{to} {}", hit.port),
    };
    hits.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(sequence: &Sequence) -> Vec<u16> {
        let request = Request {
            action: Action::Open,
            allow: Allow::Source { prefix: 128 },
            timestamp_ms: 640_000,
            duration_s: 0,
            target: None,
            items: Vec::new(),
        };
        let hits = sequence.hits(&request).unwrap();
        hits.iter().map(|hit| hit.port).collect()
    }

    #[test]
    fn each_try_has_an_unused_step() {
        let shape = Shape::new(20_000, 60_000, 6).unwrap();
        let key = || Key::from_bytes([7; 32]);
        let sequence = Sequence::Keyed {
            key: key(),
            shape,
            protocol: Protocol::Tcp,
            made: AtomicUsize::new(0),
        };
        for step in [10, 11, 9] {
            let expected = postern_sequence::ports(&key(), step, shape);
            assert_eq!(hits(&sequence), expected, "{step}");
        }
    }
}
