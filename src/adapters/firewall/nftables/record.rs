//! The grant as it stands in the firewall's own record: the bytes beside an element, which `nft list` shows in part as a comment.
//!
//! Owns that form and its reading. A grant that needs more than the 256 bytes that the kernel keeps for an element takes several
//! elements. What is not readable in full is an error. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::elements::Element;
use crate::model::catalog::Forward;
use crate::model::grant::{Grant, GrantId};
use crate::model::service::Ports;
use crate::model::time::{ClockStep, Timestamp};

const VERSION: u8 = 1;
/// Stands where a service has its protocol, and no protocol has this number: a forward follows.
const FORWARD: u8 = 0;
/// nft's own number for a comment.
const COMMENT: u8 = 0;
/// A number that nft does not know and steps over.
const PART: u8 = 0x50;
/// What the kernel keeps for an element.
const USERDATA_MAX: usize = 256;
/// What of a grant goes into one part: the rest is for type, length, version and the number of parts.
const CHUNK: usize = 240;
/// The kernel counts what is left of an element, whatever is done to the wall clock. Where what is written beside it is further from
/// that than this, the clock was set since.
const ASTRAY: Duration = Duration::from_secs(1);
/// A part whose element ends within this many milliseconds may already miss the others.
const ENDING_MS: u64 = 1000;

/// The text that `nft list` shows: `17 alice 2026-11-22T10:00:30Z`.
pub(super) fn comment(grant: &Grant) -> Vec<u8> {
    let user: String = grant
        .user
        .chars()
        .take(64)
        .map(|c| {
            if c.is_ascii_graphic() && c != '"' {
                c
            } else {
                '?'
            }
        })
        .collect();
    let text = format!("{} {user} {}", grant.id, grant.until);
    // nft takes 128 bytes with the zero at the end; all parts of the text are bounded, so this cuts nothing that can occur
    let text = text.as_bytes().get(..127).unwrap_or(text.as_bytes());
    let mut userdata = vec![
        COMMENT,
        u8::try_from(text.len().saturating_add(1)).unwrap_or(u8::MAX),
    ];
    userdata.extend_from_slice(text);
    userdata.push(0);
    userdata
}

/// The elements of the record that hold a grant.
///
/// # Errors
/// A sentence, where the grant has no form: a name or a list of services without end.
pub(super) fn elements(grant: &Grant) -> Result<Vec<(Element, Vec<u8>)>, String> {
    let body = body(grant).ok_or_else(|| {
        format!("{grant} can't be recorded: its user's name is longer than 255 bytes")
    })?;
    let chunks: Vec<&[u8]> = body.chunks(CHUNK).collect();
    let parts = u8::try_from(chunks.len())
        .map_err(|_| format!("{grant} can't be recorded: it has too many services"))?;
    let mut elements = Vec::with_capacity(chunks.len());
    for (part, chunk) in (0_u32..).zip(chunks) {
        let mut userdata = comment(grant);
        if userdata.len() + chunk.len() + 4 > USERDATA_MAX {
            userdata.clear();
        }
        userdata.extend_from_slice(&[
            PART,
            u8::try_from(chunk.len() + 2).unwrap_or(u8::MAX),
            VERSION,
            parts,
        ]);
        userdata.extend_from_slice(chunk);
        elements.push((Element::record(grant.id.0, part), userdata));
    }
    Ok(elements)
}

fn body(grant: &Grant) -> Option<Vec<u8>> {
    let mut body = grant.until.as_millis().to_be_bytes().to_vec();
    body.push(u8::try_from(grant.user.len()).ok()?);
    body.extend_from_slice(grant.user.as_bytes());
    push_address(&mut body, grant.allow.addr());
    body.push(grant.allow.prefix_len());
    match grant.target {
        Some(target) => push_address(&mut body, target),
        None => body.push(0),
    }
    for ports in &grant.services {
        let (first, last) = ports.range().unwrap_or((0, 0));
        body.push(ports.protocol());
        body.extend_from_slice(&first.to_be_bytes());
        body.extend_from_slice(&last.to_be_bytes());
    }
    for forward in &grant.forwards {
        let (first, last) = forward.at.range()?;
        body.extend_from_slice(&[FORWARD, u8::from(forward.masquerade), forward.at.protocol()]);
        body.extend_from_slice(&first.to_be_bytes());
        body.extend_from_slice(&last.to_be_bytes());
        push_address(&mut body, forward.host);
        body.extend_from_slice(&forward.port.unwrap_or_default().to_be_bytes());
    }
    Some(body)
}

fn push_address(body: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            body.push(4);
            body.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            body.push(6);
            body.extend_from_slice(&address.octets());
        }
    }
}

/// The parts of a record as they are read from the kernel.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<GrantId, BTreeMap<u32, Part>>);

#[derive(Debug)]
struct Part {
    parts: u8,
    chunk: Vec<u8>,
    remaining_ms: u64,
}

impl Parts {
    /// Takes an element of the record; one that comes twice is the same.
    ///
    /// # Errors
    /// Where it is not one that this driver writes.
    pub(super) fn take(
        &mut self,
        key: &[u8],
        userdata: &[u8],
        remaining_ms: u64,
    ) -> Result<(), String> {
        let unreadable = || format!("element {key:02x?} of set record is not readable");
        let mut reader = Reader(key);
        let id = GrantId(reader.u64().ok_or_else(unreadable)?);
        let part = reader.u32().ok_or_else(unreadable)?;
        let (parts, chunk) = find_part(userdata).ok_or_else(unreadable)?;
        self.0.entry(id).or_default().insert(
            part,
            Part {
                parts,
                chunk: chunk.to_vec(),
                remaining_ms,
            },
        );
        Ok(())
    }

    /// The grants, by number, each until when the kernel will end it; as it was written down where `now` is not known.
    ///
    /// # Errors
    /// Where one of them is not whole.
    pub(super) fn grants(self, now: Option<Timestamp>) -> Result<Vec<Grant>, String> {
        let mut grants = Vec::with_capacity(self.0.len());
        for (id, parts) in self.0 {
            let whole = parts
                .values()
                .all(|part| usize::from(part.parts) == parts.len());
            // the kernel ends the parts of one grant one after the other, within moments
            if !whole && parts.values().all(|part| part.remaining_ms < ENDING_MS) {
                continue;
            }
            let left = parts
                .values()
                .map(|part| Duration::from_millis(part.remaining_ms))
                .max()
                .unwrap_or_default();
            let body: Vec<u8> = parts.into_values().flat_map(|part| part.chunk).collect();
            let grant = whole.then(|| read(id, &body)).flatten();
            let mut grant =
                grant.ok_or_else(|| format!("the record of grant {id} is not readable"))?;
            let end = now.map_or(grant.until, |now| now.plus(left));
            if ClockStep::between(grant.until, end).is_some_and(|step| step.length() > ASTRAY) {
                grant.until = end;
            }
            grants.push(grant);
        }
        Ok(grants)
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

fn read(id: GrantId, body: &[u8]) -> Option<Grant> {
    let mut reader = Reader(body);
    let until = Timestamp::from_millis(reader.u64()?);
    let user_len = reader.u8()?;
    let user = String::from_utf8(reader.take(usize::from(user_len))?.to_vec()).ok()?;
    let address = reader.address()??;
    let allow = IpNet::new(address, reader.u8()?).ok()?;
    let target = reader.address()?;
    let mut services = Vec::new();
    let mut forwards = Vec::new();
    while !reader.0.is_empty() {
        match reader.u8()? {
            FORWARD => {
                let masquerade = [false, true].get(usize::from(reader.u8()?)).copied()?;
                let at = ports(reader.u8()?, reader.u16()?, reader.u16()?)?;
                let (host, port) = (reader.address()??, reader.u16()?);
                forwards
                    .push(Forward::new(at, host, (port != 0).then_some(port), masquerade).ok()?);
            }
            protocol => services.push(ports(protocol, reader.u16()?, reader.u16()?)?),
        }
    }
    Some(Grant {
        id,
        user,
        allow,
        target,
        services,
        forwards,
        until,
    })
}

fn ports(protocol: u8, first: u16, last: u16) -> Option<Ports> {
    let protocol = postern_proto::Protocol::from_number(protocol)?;
    postern_proto::Service::new(protocol, first, last)
        .ok()
        .map(Ports::from)
}

/// Takes from the front, and fails where there is less.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// `Some(None)` where the bytes say that there is none.
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

    fn grant(user: &str, services: usize) -> Grant {
        Grant {
            id: GrantId(1 << 40),
            user: user.to_owned(),
            allow: "2001:db8::/32".parse().unwrap(),
            target: Some("fd00::1".parse().unwrap()),
            services: (1..=services)
                .map(|port| format!("tcp/{}", port * 3).parse().unwrap())
                .collect(),
            forwards: Vec::new(),
            until: Timestamp::from_millis(1_795_341_630_123),
        }
    }

    fn back(elements: &[(Element, Vec<u8>)]) -> Result<Vec<Grant>, String> {
        let mut parts = Parts::default();
        for (element, userdata) in elements.iter().rev() {
            parts.take(&element.key, userdata, 60_000)?;
        }
        parts.grants(None)
    }

    #[test]
    fn a_grant_ends_when_the_kernel_ends_it_whatever_was_done_to_the_clock() {
        let grant = grant("alice", 100);
        let listed = |now: Timestamp, left: u64| {
            let mut parts = Parts::default();
            for (element, userdata) in elements(&grant).unwrap() {
                parts.take(&element.key, &userdata, left).unwrap();
            }
            parts.grants(Some(now)).unwrap().remove(0).until
        };
        let half_a_minute_before = grant.until.minus(Duration::from_secs(30));
        assert_eq!(
            listed(half_a_minute_before, 29_900),
            grant.until,
            "what was written is more exact"
        );
        for step in [
            ClockStep::Forward(Duration::from_secs(172_800)),
            ClockStep::Back(Duration::from_secs(3600)),
        ] {
            let now = half_a_minute_before.stepped(step);
            assert_eq!(
                listed(now, 30_000),
                now.plus(Duration::from_secs(30)),
                "{step}"
            );
        }
    }

    #[test]
    fn a_grant_comes_back_from_its_record_whatever_its_length() {
        let mut icmp = grant("bob", 0);
        icmp.target = None;
        icmp.services = vec!["icmpv6".parse().unwrap()];
        let forward = |at: &str, port, masquerade| {
            Forward::new(
                at.parse().unwrap(),
                "fd00::5".parse().unwrap(),
                port,
                masquerade,
            )
            .unwrap()
        };
        let mut through = grant("carol", 1);
        through.forwards = vec![
            forward("tcp/2222", Some(22), true),
            forward("udp/500-510", None, false),
        ];
        for grant in [
            through,
            grant("alice", 1),
            grant(&"u".repeat(64), 16),
            grant(&"u".repeat(255), 500),
            icmp,
        ] {
            let elements = elements(&grant).unwrap();
            assert!(
                elements
                    .iter()
                    .all(|(_, userdata)| userdata.len() <= USERDATA_MAX)
            );
            assert_eq!(back(&elements).unwrap(), [grant]);
        }
    }

    #[test]
    fn a_usual_grant_is_one_element_with_a_comment_that_nft_shows() {
        let elements = elements(&grant("alice", 4)).unwrap();
        assert_eq!(elements.len(), 1);
        let text = b"1099511627776 alice 2026-11-22T10:00:30.123Z\0";
        assert_eq!(
            elements[0].1[..2],
            [COMMENT, u8::try_from(text.len()).unwrap()]
        );
        assert_eq!(elements[0].1[2..2 + text.len()], *text);
    }

    #[test]
    fn a_record_cut_at_any_byte_or_without_a_part_is_an_error_not_a_gap() {
        let long = elements(&grant("alice", 100)).unwrap();
        assert!(long.len() > 2);
        assert!(back(&long[1..]).is_err());
        let (element, userdata) = &elements(&grant("alice", 1)).unwrap()[0];
        for length in 0..userdata.len() {
            let cut = [(element.clone(), userdata[..length].to_vec())];
            assert!(back(&cut).is_err(), "{length}");
        }
    }

    #[test]
    fn an_ending_grant_that_has_lost_a_part_is_no_longer_open() {
        let mut parts = Parts::default();
        let (element, userdata) = &elements(&grant("alice", 100)).unwrap()[1];
        parts.take(&element.key, userdata, 3).unwrap();
        assert_eq!(parts.grants(None).unwrap(), []);
    }

    #[test]
    fn a_name_without_end_is_refused() {
        assert!(elements(&grant(&"u".repeat(256), 1)).is_err());
    }
}
