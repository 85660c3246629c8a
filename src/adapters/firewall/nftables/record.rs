//! The record: how a grant is stored in the firewall itself, in the userdata of elements.
//!
//! The kernel keeps 256 bytes of userdata for an element, so a long grant takes several elements. `nft list` shows a
//! part as a comment. An entry that is not readable in full is an error. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::elements::Element;
use crate::adapters::netlink::attributes::octets;
use crate::model::catalog::Forward;
use crate::model::grant::{Grant, GrantId};
use crate::model::service::Ports;
use crate::model::time::{ClockStep, Timestamp};

const VERSION: u8 = 1;
/// Marks a forward. It is in the place of a service's protocol, and no protocol has this number.
const FORWARD: u8 = 0;
/// The most bytes for services in a comment; nft takes 128 in all.
const SERVICES_SHOWN: usize = 16;

/// nft's own number for a comment.
const COMMENT: u8 = 0;
/// A number that nft does not know and skips.
const PART: u8 = 0x50;
const USERDATA_MAX: usize = 256;
/// Bytes of a grant in one part; the rest is for type, length, version and the number of parts.
const CHUNK: usize = 240;
/// The kernel counts down the time of an element. If the recorded end differs by more than this, the clock was set.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// The kernel ends the parts of a grant within this many milliseconds, so some may be gone.
const ENDING_MS: u64 = 1000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("{0} can't be recorded: its user's name is longer than 255 bytes")]
    LongName(String),
    #[error("{0} can't be recorded: it has too many services")]
    ManyServices(String),
    #[error("element {0:02x?} of set record is not readable")]
    Element(Vec<u8>),
    #[error("the record of grant {0} is not readable")]
    Grant(GrantId),
}

/// The comment that `nft list` shows: `17 alice tcp/22 2026-11-22T10:00:30Z`. It names the services, because the keys of
/// elements hold protocols with their bytes in reverse.
pub(super) fn comment(grant: &Grant) -> Vec<u8> {
    let printable = |c: char| c.is_ascii_graphic() && c != '"';
    let letters = grant.user.chars().take(64);
    let user: String = letters
        .map(|c| if printable(c) { c } else { '?' })
        .collect();
    let services: Vec<String> = grant.services.iter().map(ToString::to_string).collect();
    let mut services = services.join(",");
    if services.len() > SERVICES_SHOWN {
        services.truncate(SERVICES_SHOWN);
        services.push_str("..");
    }
    let text = format!("{} {user} {services} {}", grant.id, grant.until);
    // nft takes 128 bytes with the zero at the end; the limits of the parts keep the text below that
    let text = text.as_bytes().get(..127).unwrap_or(text.as_bytes());
    let length = u8::try_from(text.len().saturating_add(1)).unwrap_or(u8::MAX);
    [&[COMMENT, length], text, &[0]].concat()
}

/// The elements of a grant's record, and their userdata with this comment.
pub(super) fn elements(
    grant: &Grant,
    comment: &[u8],
) -> Result<Vec<(Element, Vec<u8>)>, RecordError> {
    let body = encode(grant).ok_or_else(|| RecordError::LongName(grant.to_string()))?;
    let chunks: Vec<&[u8]> = body.chunks(CHUNK).collect();
    let many = |_| RecordError::ManyServices(grant.to_string());
    let parts = u8::try_from(chunks.len()).map_err(many)?;
    let mut elements = Vec::with_capacity(chunks.len());
    for (part, chunk) in (0_u32..).zip(chunks) {
        let mut userdata = Vec::with_capacity(USERDATA_MAX);
        if comment.len() + chunk.len() + 4 <= USERDATA_MAX {
            userdata.extend_from_slice(comment);
        }
        let length = u8::try_from(chunk.len() + 2).unwrap_or(u8::MAX);
        userdata.extend_from_slice(&[PART, length, VERSION, parts]);
        userdata.extend_from_slice(chunk);
        elements.push((Element::record(grant.id.0, part), userdata));
    }
    Ok(elements)
}

/// The elements alone.
pub(super) fn keys(grant: &Grant) -> Result<Vec<Element>, RecordError> {
    let elements = elements(grant, &[])?.into_iter();
    Ok(elements.map(|(element, _)| element).collect())
}

fn encode(grant: &Grant) -> Option<Vec<u8>> {
    let mut body = grant.until.as_millis().to_be_bytes().to_vec();
    body.push(u8::try_from(grant.user.len()).ok()?);
    body.extend_from_slice(grant.user.as_bytes());
    push_address(&mut body, Some(grant.allow.addr()));
    body.push(grant.allow.prefix_len());
    push_address(&mut body, grant.target);
    for ports in &grant.services {
        push_ports(&mut body, *ports);
    }
    for forward in &grant.forwards {
        body.extend_from_slice(&[FORWARD, u8::from(forward.masquerade)]);
        push_ports(&mut body, forward.at);
        push_address(&mut body, forward.host);
        body.extend_from_slice(&forward.port.unwrap_or_default().to_be_bytes());
    }
    Some(body)
}

fn push_ports(body: &mut Vec<u8>, ports: Ports) {
    let (first, last) = ports.range().unwrap_or((0, 0));
    body.push(ports.protocol());
    body.extend_from_slice(&first.to_be_bytes());
    body.extend_from_slice(&last.to_be_bytes());
}

fn push_address(body: &mut Vec<u8>, address: Option<IpAddr>) {
    body.push(match address {
        None => 0,
        Some(IpAddr::V4(_)) => 4,
        Some(IpAddr::V6(_)) => 6,
    });
    body.extend(address.map(octets).unwrap_or_default());
}

#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<GrantId, BTreeMap<u32, Part>>);

#[derive(Debug)]
struct Part {
    parts: u8,
    chunk: Vec<u8>,
    remaining_ms: u64,
}

impl Parts {
    /// Adds an element of the record. Adding it twice changes nothing.
    pub(super) fn add(
        &mut self,
        key: &[u8],
        userdata: &[u8],
        remaining_ms: u64,
    ) -> Result<(), RecordError> {
        let unreadable = || RecordError::Element(key.to_vec());
        let mut reader = Reader(key);
        let id = GrantId(u64::from_be_bytes(reader.array().ok_or_else(unreadable)?));
        let number = u32::from_be_bytes(reader.array().ok_or_else(unreadable)?);
        let (parts, chunk) = find_part(userdata).ok_or_else(unreadable)?;
        let part = Part {
            parts,
            chunk: chunk.to_vec(),
            remaining_ms,
        };
        self.0.entry(id).or_default().insert(number, part);
        Ok(())
    }

    /// The readable grants, by number, and an error if there are others. Each ends when the kernel ends it, or, if `now`
    /// is not known, at its recorded time.
    pub(super) fn grants(self, now: Option<Timestamp>) -> (Vec<Grant>, Option<RecordError>) {
        let mut grants = Vec::with_capacity(self.0.len());
        let mut unreadable = None;
        for (id, parts) in self.0 {
            let count = parts.len();
            let is_whole = parts.values().all(|part| usize::from(part.parts) == count);
            if !is_whole && parts.values().all(|part| part.remaining_ms < ENDING_MS) {
                continue;
            }
            let left = parts.values().map(|part| part.remaining_ms).max();
            let left = Duration::from_millis(left.unwrap_or_default());
            let body: Vec<u8> = parts.into_values().flat_map(|part| part.chunk).collect();
            let grant = if is_whole { decode(id, &body) } else { None };
            let Some(mut grant) = grant else {
                unreadable = Some(RecordError::Grant(id));
                continue;
            };
            let end = now.map_or(grant.until, |now| now.plus(left));
            let step = ClockStep::between(grant.until, end);
            if step.is_some_and(|step| step.length() > CLOCK_TOLERANCE) {
                grant.until = end;
            }
            grants.push(grant);
        }
        (grants, unreadable)
    }
}

fn find_part(mut userdata: &[u8]) -> Option<(u8, &[u8])> {
    while let [kind, length, rest @ ..] = userdata {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *kind == PART {
            let [VERSION, parts, chunk @ ..] = value else {
                return None;
            };
            return Some((*parts, chunk));
        }
        userdata = rest;
    }
    None
}

fn decode(id: GrantId, body: &[u8]) -> Option<Grant> {
    let mut reader = Reader(body);
    let until = Timestamp::from_millis(u64::from_be_bytes(reader.array()?));
    let user_len = usize::from(reader.u8()?);
    let mut grant = Grant {
        id,
        until,
        user: String::from_utf8(reader.bytes(user_len)?.to_vec()).ok()?,
        allow: IpNet::new(reader.address()??, reader.u8()?).ok()?,
        target: reader.address()?,
        services: Vec::new(),
        forwards: Vec::new(),
    };
    while !reader.0.is_empty() {
        match reader.u8()? {
            FORWARD => {
                let masquerade = [false, true].get(usize::from(reader.u8()?)).copied()?;
                let protocol = reader.u8()?;
                let at = reader.ports(protocol)?;
                let (host, port) = (reader.address()?, reader.u16()?);
                let forward = match host {
                    Some(host) => {
                        let port = (port != 0).then_some(port);
                        Forward::new(at, host, port, masquerade)
                    }
                    None => Forward::redirect(at, at.moved_to(port)?),
                };
                let forward = forward.ok()?;
                grant.forwards.push(forward);
            }
            protocol => grant.services.push(reader.ports(protocol)?),
        }
    }
    Some(grant)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn ports(&mut self, protocol: u8) -> Option<Ports> {
        let protocol = postern_proto::Protocol::from_number(protocol)?;
        let service = postern_proto::Service::new(protocol, self.u16()?, self.u16()?);
        service.ok().map(Ports::from)
    }

    /// `Some(None)` if the grant has no address here.
    #[allow(clippy::option_option)]
    fn address(&mut self) -> Option<Option<IpAddr>> {
        match self.u8()? {
            0 => Some(None),
            4 => Some(Some(IpAddr::from(self.array::<4>()?))),
            6 => Some(Some(IpAddr::from(self.array::<16>()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(grant: &Grant) -> Result<Vec<(Element, Vec<u8>)>, RecordError> {
        elements(grant, &comment(grant))
    }
    use crate::core::fixture;

    fn grant(user: &str, services: usize) -> Grant {
        let services = (1..=services).map(|port| format!("tcp/{}", port * 3).parse().unwrap());
        Grant {
            target: Some("fd00::1".parse().unwrap()),
            services: services.collect(),
            until: Timestamp::from_millis(1_795_341_630_123),
            ..fixture::grant(1 << 40, user, "2001:db8::/32", &[])
        }
    }

    fn read(
        elements: &[(Element, Vec<u8>)],
        left_ms: u64,
        now: Option<Timestamp>,
    ) -> Result<Vec<Grant>, RecordError> {
        let mut parts = Parts::default();
        for (element, userdata) in elements.iter().rev() {
            parts.add(&element.key, userdata, left_ms)?;
        }
        let (grants, unreadable) = parts.grants(now);
        unreadable.map_or(Ok(grants), Err)
    }

    #[test]
    fn end_is_the_kernels_after_clock_step() {
        let grant = grant("alice", 100);
        let elements = recorded(&grant).unwrap();
        let end = |now, left| read(&elements, left, Some(now)).unwrap()[0].until;
        let early = grant.until.minus(Duration::from_secs(30));
        assert_eq!(end(early, 29_900), grant.until, "the record is more exact");
        for step in [
            ClockStep::Forward(Duration::from_secs(172_800)),
            ClockStep::Back(Duration::from_secs(3600)),
        ] {
            let now = early.stepped(step);
            let found = end(now, 30_000);
            assert_eq!(found, now.plus(Duration::from_secs(30)), "{step}");
        }
    }

    #[test]
    fn recorded_grant_is_read_back() {
        let mut icmp = grant("bob", 0);
        icmp.target = None;
        icmp.services = vec!["icmpv6".parse().unwrap()];
        let forward = |at: &str, port, masquerade| {
            let host = "fd00::5".parse().unwrap();
            Forward::new(at.parse().unwrap(), host, port, masquerade).unwrap()
        };
        let mut forwarding = grant("carol", 1);
        forwarding.forwards = vec![
            forward("tcp/2222", Some(22), true),
            forward("udp/500-510", None, false),
            Forward::redirect("tcp/2200".parse().unwrap(), "tcp/22".parse().unwrap()).unwrap(),
        ];
        let (long, longest) = (grant(&"u".repeat(64), 16), grant(&"u".repeat(255), 500));
        for grant in [forwarding, grant("alice", 1), long, longest, icmp] {
            let elements = recorded(&grant).unwrap();
            let lengths = elements.iter().map(|(_, userdata)| userdata.len());
            assert!(lengths.max() <= Some(USERDATA_MAX));
            assert_eq!(read(&elements, 60_000, None).unwrap(), [grant]);
        }
        assert!(recorded(&grant(&"u".repeat(256), 1)).is_err());
    }

    #[test]
    fn incomplete_record_is_an_error() {
        let long = recorded(&grant("alice", 100)).unwrap();
        assert!(long.len() > 2);
        assert!(read(&long[1..], 60_000, None).is_err());
        let ending = read(&long[1..2], 3, None);
        assert_eq!(ending, Ok(Vec::new()), "the kernel is ending it");
        let (element, userdata) = &recorded(&grant("alice", 1)).unwrap()[0];
        for length in 0..userdata.len() {
            let cut = [(element.clone(), userdata[..length].to_vec())];
            assert!(read(&cut, 60_000, None).is_err(), "{length}");
        }
    }
}
