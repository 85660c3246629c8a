//! The sequence of a user who knocks with one: `sequence` in a `[[user]]`, and what belongs to it.

use std::time::Duration;

use postern_fwknop::sequence::{Key as EncryptedKey, OFFSET, OFFSET_MAX};
use postern_proto::Protocol;
use postern_sequence::{Key, Shape};
use toml::de::DeValue;

use super::fields::Fields;
use super::key::KeyFiles;
use super::problem::{Problem, Refusal, is_not, quoted, refusal};
use super::user_keys;
use super::values;
use crate::core::gate::SequenceKind;
use crate::core::sequence::{Expected, Flags, Sequence};
use crate::model::policy::{GrantTo, Policy};
use crate::model::settings::{CaptureKind, Gate};

pub(super) const KEYS: [&str; 4] = [
    "sequence",
    "sequences_file",
    "sequence_timeout",
    "tcp_flags",
];

/// A file has at most this many one-time sequences: each stays in memory, and used ones on disk.
const LINES_MAX: usize = 1024;

/// The keys of an encrypted sequence.
const ENCRYPTED: [&str; 3] = ["passphrase", "passphrase_file", "offset"];

const FORM: &str = "sequence = { key = \"BASE64\", ports = \"20000-60000\", hits = 6 }";
/// As in knockd.
const TIMEOUT: Duration = Duration::from_secs(25);
/// fwknop's client needs 62 s for an encrypted sequence.
const TIMEOUT_ENCRYPTED: Duration = Duration::from_secs(90);
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
    key_files: &KeyFiles<'_>,
) -> Option<SequenceKind> {
    let name = if user.has("sequence") {
        "sequence"
    } else {
        "sequences_file"
    };
    for key in user_keys::KEYS.into_iter().filter(|key| user.has(key)) {
        let what = format!("this user has both {key} and sequence");
        let cure = "keep one of the two, or divide them among two users";
        user.refuse(key, what, cure);
    }
    let is_blind = |gate: &Gate| gate.capture == CaptureKind::Udp && gate.log_sensor.is_none();
    if gate.is_some_and(is_blind) {
        let what = "with capture = \"udp\", the gate sees no sequence";
        let cure = "remove capture from [gate], add a log sensor to it, or remove the sequence";
        user.refuse(name, what, cure);
    }
    if user.has("sequence") && user.has("sequences_file") {
        let what = "this user has both sequence and sequences_file";
        let cure = "keep one of the two, or divide them among two users";
        user.refuse("sequences_file", what, cure);
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
    let flags = flags(user);
    let usual = timeout.unwrap_or(TIMEOUT);
    let kind = match user.get("sequence").map(|value| value.get_ref()) {
        None => one_time(user, usual, flags?, key_files),
        Some(DeValue::Table(table)) if ENCRYPTED.iter().any(|key| table.contains_key(*key)) => {
            let timeout = timeout.unwrap_or(TIMEOUT_ENCRYPTED);
            encrypted(user, timeout, flags?, key_files)
        }
        Some(DeValue::Table(_)) => keyed(user, usual, flags?),
        Some(_) => plain(user, usual, flags?),
    };
    kind.filter(|_| !is_wrong)
}

/// Refuses what belongs to a sequence, of a user who has none.
pub(super) fn refuse_without(user: &Fields<'_>) {
    let cure = "add sequence = [\"tcp/7000\", …], or remove it";
    for name in ["sequence_timeout", "tcp_flags"] {
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

/// The sequences in a file, one a line.
fn one_time(
    user: &Fields<'_>,
    timeout: Duration,
    flags: Flags,
    key_files: &KeyFiles<'_>,
) -> Option<SequenceKind> {
    let file = user.file;
    let path = user.text("sequences_file", |text| values::key_path(file.path, text))?;
    let named_at = file.place_name(user.at("sequences_file"));
    let text = key_files.text(&path, &named_at);
    let text = text.map_err(|problem| file.refuse_other(problem)).ok()?;
    let mut all = Vec::new();
    let mut is_right = true;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line_hits(line, timeout, flags) {
            Ok(sequence) => all.push(sequence),
            Err(Refusal { what, cure }) => {
                is_right = false;
                file.refuse_other(Problem {
                    line: Some(number),
                    ..Problem::of_file(&path, what, cure)
                });
            }
        }
    }
    if is_right && !(1..=LINES_MAX).contains(&all.len()) {
        let what = format!("it has {} sequences (named at {named_at})", all.len());
        let cure = format!("write 1 to {LINES_MAX} lines, like tcp/7000, tcp/8000");
        file.refuse_other(Problem::of_file(&path, what, cure));
        return None;
    }
    is_right.then_some(SequenceKind::OneTime(all))
}

fn line_hits(line: &str, timeout: Duration, flags: Flags) -> Result<Sequence, Refusal> {
    let hits: Result<Vec<Expected>, Refusal> =
        line.split(',').map(|word| line_hit(word.trim())).collect();
    Sequence::new(hits?, timeout, flags).map_err(|error| {
        let cure = "write 1 to 32 hits, like tcp/7000, tcp/8000, udp/9000";
        refusal(error.to_string(), cure)
    })
}

/// A hit as the config has it, or as files of knockd have it: `7000`, `7000:udp`.
fn line_hit(word: &str) -> Result<Expected, Refusal> {
    if word.contains('/') {
        return hit(word);
    }
    let (port, protocol) = word.split_once(':').unwrap_or((word, "tcp"));
    hit(&format!(
        "{}/{}",
        protocol.trim().to_ascii_lowercase(),
        port.trim()
    ))
}

/// A passphrase and an offset. No message shows the passphrase.
fn encrypted(
    user: &Fields<'_>,
    timeout: Duration,
    flags: Flags,
    key_files: &KeyFiles<'_>,
) -> Option<SequenceKind> {
    let mut fields = user.table("sequence", FORM)?;
    fields.name = "sequence";
    fields.only(&ENCRYPTED);
    let offset = if fields.has("offset") {
        fields.number("offset", 1..=OFFSET_MAX)
    } else {
        Some(OFFSET)
    };
    let (name, passphrase) = match (fields.has("passphrase"), fields.has("passphrase_file")) {
        (true, false) => ("passphrase", fields.text("passphrase", Ok)),
        (false, true) => {
            let file = fields.file;
            let path = fields.text("passphrase_file", |text| values::key_path(file.path, text));
            let named_at = file.place_name(fields.at("passphrase_file"));
            let text = path.map(|path| key_files.text(&path, &named_at));
            let text = text?.map_err(|problem| file.refuse_other(problem)).ok();
            ("passphrase_file", text)
        }
        _ => {
            let what = "sequence needs one of passphrase and passphrase_file";
            let cure = "write sequence = { passphrase_file = \"legacy.key\", offset = 61000 }";
            user.refuse("sequence", what, cure);
            return None;
        }
    };
    let (offset, passphrase) = (offset?, passphrase?);
    let key = EncryptedKey::new(passphrase.as_bytes(), offset).map_err(|error| {
        let cure = "write the passphrase that fwknop's client has, and an offset up to 65280";
        refusal(error.to_string(), cure)
    });
    Some(SequenceKind::Encrypted {
        key: fields.file.check(fields.at(name), key)?,
        offset,
        timeout,
        flags,
    })
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
