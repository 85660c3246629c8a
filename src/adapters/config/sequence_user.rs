//! The sequence of a user who knocks with one: `sequence` in a `[[user]]`, and what belongs to it.

use std::time::Duration;

use postern_proto::Protocol;
use postern_sequence::{Key, Shape};
use toml::de::DeValue;

use super::fields::Fields;
use super::problem::{Refusal, is_not, quoted, refusal};
use super::user_keys;
use super::values;
use crate::core::gate::SequenceKind;
use crate::core::sequence::{Expected, Flags, Sequence};
use crate::model::policy::{GrantTo, Policy};
use crate::model::settings::{CaptureKind, Gate};

pub(super) const KEYS: [&str; 3] = ["sequence", "sequence_timeout", "tcp_flags"];

const FORM: &str = "sequence = { key = \"BASE64\", ports = \"20000-60000\", hits = 6 }";
/// As in knockd.
const TIMEOUT: Duration = Duration::from_secs(25);
const TIMEOUT_MAX_S: u64 = 300;

// RFC 9293
const FLAGS: [(&str, u8); 6] = [
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("psh", 8),
    ("ack", 16),
    ("urg", 32),
];
/// What a client sends to open a connection.
pub(super) const SYN_ONLY: Flags = Flags { set: 2, clear: 16 };

/// The sequence; `None` if it is wrong. `policy` and `gate` are `None` if they are.
pub(super) fn read(
    user: &Fields<'_>,
    policy: Option<&Policy>,
    gate: Option<&Gate>,
) -> Option<SequenceKind> {
    for key in user_keys::KEYS.into_iter().filter(|key| user.has(key)) {
        let what = format!("this user has both {key} and sequence");
        let cure = "keep one of the two, or divide them among two users";
        user.refuse(key, what, cure);
    }
    if gate.is_some_and(|gate| gate.capture == CaptureKind::Udp) {
        let what = "with capture = \"udp\", the gate sees no sequence";
        let cure = "remove capture from [gate], or the sequence";
        user.refuse("sequence", what, cure);
    }
    if let Some(policy) = policy
        && matches!(policy.grant_to, GrantTo::Claimed | GrantTo::Same)
    {
        let what = "a sequence names no address, so this user could open nothing";
        let cure = "remove grant_to, or write grant_to = \"observed\"";
        user.refuse("grant_to", what, cure);
    }
    let timeout = user.text(
        "sequence_timeout",
        values::bounded("sequence_timeout", 1, TIMEOUT_MAX_S),
    );
    let is_wrong = timeout.is_none() && user.has("sequence_timeout");
    let timeout = timeout.unwrap_or(TIMEOUT);
    let flags = flags(user);
    let kind = match user.get("sequence")?.get_ref() {
        DeValue::Table(_) => keyed(user, timeout, flags?),
        _ => plain(user, timeout, flags?),
    };
    kind.filter(|_| !is_wrong)
}

/// Refuses what belongs to a sequence, of a user who has none.
pub(super) fn refuse_without(user: &Fields<'_>) {
    let cure = "add sequence = [\"tcp/7000\", …], or remove it";
    for name in KEYS {
        user.requires(name, "sequence", cure);
    }
}

fn plain(user: &Fields<'_>, timeout: Duration, flags: Flags) -> Option<SequenceKind> {
    let hits = user.texts("sequence", hit)?;
    let hits = hits.into_iter().map(|(_, hit)| hit).collect();
    let sequence = Sequence::new(hits, timeout, flags).map_err(|error| {
        let cure = "write 1 to 32 hits, like [\"tcp/7000\", \"tcp/8000\", \"udp/9000\"]";
        refusal(error.to_string(), cure)
    });
    let sequence = user.file.check(user.at("sequence"), sequence)?;
    Some(SequenceKind::Plain(sequence))
}

fn hit(text: &str) -> Result<Expected, Refusal> {
    let cure = "write one port of TCP or UDP, like tcp/7000 or udp/9000";
    let wrong = || is_not("a hit of a sequence", text, cure);
    let ports = values::ports(text).map_err(|_| wrong())?;
    let protocol = Protocol::from_number(ports.protocol());
    let protocol = protocol.filter(|one| matches!(one, Protocol::Tcp | Protocol::Udp));
    match (protocol, ports.range()) {
        (Some(protocol), Some((first, last))) if first == last => {
            Ok(Expected::port(protocol, first))
        }
        _ => Err(wrong()),
    }
}

fn keyed(user: &Fields<'_>, timeout: Duration, flags: Flags) -> Option<SequenceKind> {
    let mut fields = user.table("sequence", FORM)?;
    fields.name = "sequence";
    fields.only(&["key", "ports", "hits"]);
    fields.require("key", "\"…\", 32 random bytes in base64");
    fields.require("ports", "\"20000-60000\"");
    fields.require("hits", "6");
    let key = fields.text("key", |text| {
        let cure = "write the one line that postern keygen prints";
        Key::from_base64(text).map_err(|error| refusal(error.to_string(), cure))
    });
    let ports = fields.text("ports", range);
    let hits = fields.number("hits", 1..=32);
    let (key, (protocol, first, last), hits) = (key?, ports?, hits?);
    let shape = Shape::new(first, last, usize::from(hits)).map_err(|error| {
        let cure = "write for example ports = \"20000-60000\" and hits = 6";
        refusal(error.to_string(), cure)
    });
    let shape = fields.file.check(fields.at("ports"), shape)?;
    Some(SequenceKind::Keyed {
        key,
        shape,
        protocol,
        timeout,
        flags,
    })
}

/// Ports of TCP, `20000-60000`, or of a named protocol, `udp/20000-60000`.
fn range(text: &str) -> Result<(Protocol, u16, u16), Refusal> {
    let with_protocol = if text.contains('/') {
        text.to_owned()
    } else {
        format!("tcp/{text}")
    };
    let cure = "write a range of TCP ports, like \"20000-60000\", or \"udp/20000-60000\"";
    let wrong = || refusal(format!("{} is not a range of ports", quoted(text)), cure);
    let ports = values::ports(&with_protocol).map_err(|_| wrong())?;
    let protocol = Protocol::from_number(ports.protocol());
    let protocol = protocol.filter(|one| matches!(one, Protocol::Tcp | Protocol::Udp));
    let (first, last) = ports.range().ok_or_else(wrong)?;
    Ok((protocol.ok_or_else(wrong)?, first, last))
}

fn flags(user: &Fields<'_>) -> Option<Flags> {
    if !user.has("tcp_flags") {
        return Some(SYN_ONLY);
    }
    let mut flags = Flags::default();
    for (_, (is_set, bit)) in user.texts("tcp_flags", flag)? {
        if is_set {
            flags.set |= bit;
        } else {
            flags.clear |= bit;
        }
    }
    if flags.set & flags.clear != 0 {
        let what = "tcp_flags wants a flag both set and not set";
        user.refuse("tcp_flags", what, "write it once, like [\"syn\", \"!ack\"]");
        return None;
    }
    Some(flags)
}

fn flag(text: &str) -> Result<(bool, u8), Refusal> {
    let name = text.strip_prefix('!').unwrap_or(text);
    let found = FLAGS.iter().find(|(known, _)| *known == name);
    let cure = "write fin, syn, rst, psh, ack or urg, with ! before it for a flag that is not set";
    let (_, bit) = found.ok_or_else(|| is_not("a TCP flag", text, cure))?;
    Ok((name == text, *bit))
}
