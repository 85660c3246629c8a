//! The fields of a line of netfilter's LOG target, from `IN=` on: each once, and none that is not known.

use std::net::IpAddr;

use postern_proto::Protocol;

use crate::core::sequence::{Hit, Tcp};

/// The kernel's buffer for a line.
const TEXT_MAX: usize = 1024;
const INTERFACE_MAX: usize = 15;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Interface,
    Bytes,
    Address,
    Decimal,
    Hex,
    Word,
}

/// As nf_log_syslog.c writes them. An IPv4 fragment has `FRAG` or `MF` and is no hit.
const FIELDS: [(&str, Kind); 31] = [
    ("IN", Kind::Interface),
    ("OUT", Kind::Interface),
    ("SRC", Kind::Address),
    ("DST", Kind::Address),
    ("LEN", Kind::Decimal),
    ("PROTO", Kind::Word),
    ("SPT", Kind::Decimal),
    ("DPT", Kind::Decimal),
    ("SEQ", Kind::Decimal),
    ("WINDOW", Kind::Decimal),
    ("RES", Kind::Hex),
    ("URGP", Kind::Decimal),
    ("ACK", Kind::Decimal),
    ("PHYSIN", Kind::Interface),
    ("PHYSOUT", Kind::Interface),
    ("MAC", Kind::Bytes),
    ("MACSRC", Kind::Bytes),
    ("MACDST", Kind::Bytes),
    ("MACPROTO", Kind::Bytes),
    ("VLANPROTO", Kind::Bytes),
    ("VLANID", Kind::Decimal),
    ("TOS", Kind::Hex),
    ("PREC", Kind::Hex),
    ("TTL", Kind::Decimal),
    ("ID", Kind::Decimal),
    ("TC", Kind::Decimal),
    ("HOPLIMIT", Kind::Decimal),
    ("FLOWLBL", Kind::Decimal),
    ("MARK", Kind::Hex),
    ("UID", Kind::Decimal),
    ("GID", Kind::Decimal),
];

/// TCP's flags, each with its bit in the header (RFC 9293).
const FLAGS: [(&str, u8); 8] = [
    ("FIN", 0x01),
    ("SYN", 0x02),
    ("RST", 0x04),
    ("PSH", 0x08),
    ("ACK", 0x10),
    ("URG", 0x20),
    ("ECE", 0x40),
    ("CWR", 0x80),
];

#[derive(Default)]
struct Fields<'a> {
    values: [Option<&'a str>; FIELDS.len()],
    /// The second `LEN`, that of a UDP datagram.
    datagram_length: bool,
    flags: u8,
    dont_fragment: bool,
    options: bool,
}

/// The packet, if the line is whole and the packet came in for this host, unfragmented, by TCP or UDP.
pub(super) fn hit(text: &str) -> Option<Hit> {
    if text.len() > TEXT_MAX || !text.starts_with("IN=") {
        return None;
    }
    let fields = Fields::read(text)?;
    let [
        interface,
        out,
        source,
        destination,
        length,
        protocol,
        source_port,
        port,
        rest @ ..,
    ] = fields.values;
    let [sequence, window, reserved, urgent, ..] = rest;
    let (source, destination): (IpAddr, IpAddr) =
        (source?.parse().ok()?, destination?.parse().ok()?);
    let came_in = !interface?.is_empty() && out?.is_empty();
    if !came_in || source.is_ipv4() != destination.is_ipv4() || length.is_none() {
        return None;
    }
    let of_tcp = [window, reserved, urgent];
    let (protocol, tcp) = match protocol? {
        "TCP" if of_tcp.iter().all(Option::is_some) && !fields.datagram_length => {
            let sequence = sequence.map(str::parse).transpose().ok()?;
            let flags = fields.flags;
            (Protocol::Tcp, Some(Tcp { flags, sequence }))
        }
        "UDP" if of_tcp == [None; 3] && fields.flags == 0 && fields.datagram_length => {
            (Protocol::Udp, None)
        }
        _ => return None,
    };
    Some(Hit {
        source: source.to_canonical(),
        protocol,
        port: port?.parse().ok()?,
        source_port: source_port?.parse().ok()?,
        tcp,
    })
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut fields = Self::default();
        let mut words = text.strip_suffix(' ').unwrap_or(text).split(' ');
        while let Some(word) = words.next() {
            match word.split_once('=') {
                Some((name, value)) => fields.add(name, value)?,
                None if word == "OPT" => {
                    let bytes = words.next()?.strip_prefix('(')?.strip_suffix(')')?;
                    let is_second = std::mem::replace(&mut fields.options, true);
                    (Kind::Bytes.fits(bytes) && !is_second).then_some(())?;
                }
                None if word == "DF" => {
                    let is_second = std::mem::replace(&mut fields.dont_fragment, true);
                    (!is_second).then_some(())?;
                }
                None => {
                    let (_, bit) = FLAGS.iter().find(|(name, _)| *name == word)?;
                    (fields.flags & bit == 0).then_some(())?;
                    fields.flags |= bit;
                }
            }
        }
        Some(fields)
    }

    fn add(&mut self, name: &str, value: &'a str) -> Option<()> {
        let at = FIELDS.iter().position(|(known, _)| *known == name)?;
        let (_, kind) = FIELDS.get(at)?;
        let place = self.values.get_mut(at)?;
        if !kind.fits(value) {
            return None;
        }
        if place.is_none() {
            *place = Some(value);
            return Some(());
        }
        let is_datagrams = name == "LEN" && !self.datagram_length;
        self.datagram_length = true;
        is_datagrams.then_some(())
    }
}

impl Kind {
    fn fits(self, value: &str) -> bool {
        match self {
            Self::Interface => {
                let is_other = |letter: char| letter.is_whitespace() || letter.is_control();
                value.len() <= INTERFACE_MAX && !value.contains(is_other)
            }
            Self::Bytes => {
                let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
                value.bytes().all(is_part)
            }
            Self::Address => value.parse::<IpAddr>().is_ok(),
            Self::Decimal => {
                value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u32>().is_ok()
            }
            Self::Hex => {
                let digits = value.strip_prefix("0x").unwrap_or_default();
                let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                (1..=8).contains(&digits.len()) && is_hex
            }
            Self::Word => !value.is_empty(),
        }
    }
}
