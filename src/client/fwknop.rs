//! Packets of fwknop as a way to knock: what they cannot carry, and a request as a packet.
//!
//! A packet lets in one IPv4 address. Its type follows from the request: 1 and 3 open ports, 2 and 4 lead to another host,
//! 5 and 6 to another port of the gate; 3, 4 and 6 name a time.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::path::Path;

use ipnet::IpNet;
use postern_fwknop::limits::{PORTS_MAX, TIMEOUT_MAX_S};
use postern_fwknop::{
    Allow, Key, KeyError, Message, Mode, Port, Protocol, Reason, Request, key_from_base64,
};
use postern_proto::{self as proto, Action, Item};
use zeroize::Zeroizing;

use super::KnockRequest;
use super::file_error::unreadable;
use super::keys::no_random_bytes;
use crate::adapters::{files, random};
use crate::client::profile::{AllowSetting, FwknopKey, FwknopNat, FwknopSecret};
use crate::model::address;
use crate::model::exit::{CONFIG, ExitError, USAGE};
use crate::model::service::{Ports, Wanted};

#[derive(Debug)]
pub(crate) struct FwknopKeys {
    key: Key,
    username: String,
    nat: Option<FwknopNat>,
}

impl FwknopKeys {
    pub(super) fn read(source: &FwknopKey) -> Result<Self, ExitError> {
        let key = secret(&source.key)?;
        let key = match &source.hmac {
            Some((kind, hmac_key)) => Key::new(&key, *kind, &secret(hmac_key)?),
            None => Key::without_mac(&key, source.mode.unwrap_or(Mode::Cbc)),
        };
        Ok(Self {
            key: key.map_err(|error| not_a_key("fwknop", error))?,
            username: source.username.clone().unwrap_or_else(login),
            nat: source.nat.clone(),
        })
    }

    pub(super) fn check(&self, asked: &KnockRequest) -> Result<(), ExitError> {
        if asked.action == Action::Close {
            let cure = "wait: the grant ends by itself; choose its length with --for";
            return refuse("closes nothing", cure);
        }
        if let Some(target) = &asked.target {
            let cure = "write nat_access = \"HOST:PORT\" into fwknop of the profile, and ask for the gate's port";
            return refuse(&format!("has no target such as {target}"), cure);
        }
        match &asked.allow {
            AllowSetting::SourceV4(_) | AllowSetting::SourceV6(_) => {
                refuse("lets in one address", "write source, without a prefix")
            }
            AllowSetting::Network(network) if host(*network).is_none() => {
                let what = format!("lets in one IPv4 address, and not {network}");
                refuse(&what, "name an IPv4 address, or source")
            }
            _ => Ok(()),
        }?;
        let longest = asked.duration.map_or(0, |duration| duration.as_secs());
        if longest > TIMEOUT_MAX_S.into() {
            let what = format!("asks for {TIMEOUT_MAX_S} s at most");
            return refuse(&what, "ask for less, or leave --for to the gate");
        }
        let ports: Vec<Port> = asked.services.iter().map(port).collect::<Result<_, _>>()?;
        if ports.len() > PORTS_MAX {
            let what = format!("names {PORTS_MAX} ports at most, and not {}", ports.len());
            return refuse(&what, "knock twice");
        }
        Ok(())
    }

    /// Each packet is new: random number, salt and time.
    pub(super) fn seal(&self, request: &proto::Request) -> Result<String, ExitError> {
        let random = random::bytes().map_err(no_random_bytes)?;
        let packet = self.key.seal(&self.request(request)?, &random);
        packet.map_err(|reason| match reason {
            Reason::Message => ExitError::new(
                USAGE,
                "the ports are too many for a packet of fwknop; knock twice",
            ),
            Reason::User => ExitError::new(
                CONFIG,
                "a packet of fwknop cannot name this user; write username = \"…\" into fwknop of the profile",
            ),
            _ => ExitError::new(
                USAGE,
                format!("a packet of fwknop cannot carry this: {reason}; change the request"),
            ),
        })
    }

    fn request(&self, request: &proto::Request) -> Result<Request, ExitError> {
        let allow = match request.allow {
            proto::Allow::Source { prefix: 128 } => Some(Allow::Source),
            proto::Allow::Source { .. } => None,
            proto::Allow::Network { address, prefix } => {
                let network = address::network_from_knock(address, prefix);
                network.and_then(host).map(Allow::Address)
            }
        };
        let Some(allow) = allow else {
            return refuse("lets in one IPv4 address", "name it, or source");
        };
        let mut ports = Vec::new();
        for item in &request.items {
            ports.push(match item {
                Item::Service(service) => port(&Wanted::Ports(Ports::from(*service)))?,
                Item::Name(name) => port(&Wanted::Named(name.as_str().to_owned()))?,
                Item::Code(_) | Item::Skipped { .. } => {
                    let cure = "unset POSTERN_CODE, and leave out --code-stdin";
                    return refuse("has no one-time code", cure);
                }
            });
        }
        Ok(Request {
            user: self.username.clone(),
            timestamp_s: request.timestamp_ms / 1000,
            allow,
            message: match &self.nat {
                None => Message::Access(ports),
                Some(FwknopNat::Access(to)) => Message::Nat(ports, to.clone()),
                Some(FwknopNat::Local(to)) => Message::LocalNat(ports, to.clone()),
            },
            timeout_s: (request.duration_s > 0).then_some(request.duration_s),
        })
    }

    /// Where the gate's ports lead, as the packet says it.
    pub(super) fn leads_to(&self) -> Option<String> {
        let (FwknopNat::Access(to) | FwknopNat::Local(to)) = self.nat.as_ref()?;
        Some(format!("{}:{}", to.host, to.port))
    }
}

fn refuse<T>(what: &str, cure: &str) -> Result<T, ExitError> {
    Err(ExitError::new(
        USAGE,
        format!("a packet of fwknop {what}; {cure}"),
    ))
}

fn port(wanted: &Wanted) -> Result<Port, ExitError> {
    let of_ports = |ports: &Ports| {
        let (first, last) = ports.range()?;
        let protocol = match ports.protocol_name() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let number = NonZeroU16::new(first).filter(|_| first == last)?;
        Some(Port { protocol, number })
    };
    let port = match wanted {
        Wanted::Ports(ports) => of_ports(ports),
        Wanted::Named(_) => None,
    };
    let what = || format!("names single ports of TCP and UDP, and not {wanted}");
    port.map_or_else(|| refuse(&what(), "write each one like tcp/22"), Ok)
}

/// The address of a network that has only this one, of IPv4.
fn host(network: IpNet) -> Option<Ipv4Addr> {
    match network.addr() {
        IpAddr::V4(address) if network.prefix_len() == 32 => Some(address),
        _ => None,
    }
}

/// The name that fwknop's client states if nothing else is written.
fn login() -> String {
    let names = ["LOGNAME", "USER"].into_iter();
    let mut names = names.filter_map(|name| std::env::var(name).ok());
    let name = names.find(|name| !name.is_empty());
    name.unwrap_or_else(|| "NO_USER".to_owned())
}

fn secret(source: &FwknopSecret) -> Result<Zeroizing<Vec<u8>>, ExitError> {
    match source {
        FwknopSecret::Bytes(bytes) => Ok(bytes.clone()),
        FwknopSecret::File(path) => in_file(path),
    }
}

fn in_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, ExitError> {
    let text = files::read_private(path).map_err(|error| unreadable(&error))?;
    key_from_base64(text.trim()).map_err(|error| not_a_key(&path.display().to_string(), error))
}

fn not_a_key(place: &str, error: KeyError) -> ExitError {
    let cure = "write KEY_BASE64 or HMAC_KEY_BASE64 of fwknop's client; plain text is a passphrase";
    ExitError::new(CONFIG, format!("{place}: {error}; {cure}"))
}
