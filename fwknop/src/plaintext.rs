//! The fields of a plaintext, read and written (README.md, section 3).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::Ipv4Addr;
use core::num::NonZeroU16;

use crate::base64::{decode, encode};
use crate::digest;
use crate::limits::{
    MESSAGE_TEXT_MAX, RANDOM_LEN, TEXT_MAX, TEXT_MIN, TIME_DIGITS_MAX, TIMEOUT_MAX_S, USER_MAX,
    VERSION_MAX,
};
use crate::reason::Reason;
use crate::request::{Allow, Message, Opened, Port, Protocol, Request, Target};

/// The protocol version that we state.
const VERSION: &str = "3.0.0";

/// Whether the bytes start as a plaintext does: with the random number.
pub(crate) fn starts(plain: &[u8]) -> bool {
    plain
        .first_chunk::<RANDOM_LEN>()
        .is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}

/// Reads a plaintext. The digest is checked before any field.
pub(crate) fn read(plain: &[u8]) -> Result<Opened, Reason> {
    let plain = core::str::from_utf8(plain).map_err(|_| Reason::Text)?;
    let printable = plain.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !printable || !(TEXT_MIN..=TEXT_MAX).contains(&plain.len()) {
        return Err(Reason::Text);
    }
    let (encoded, digest) = plain.rsplit_once(':').ok_or(Reason::Fields)?;
    let digest_kind = digest::kind(encoded, digest)?;

    let mut fields = encoded.split(':');
    let mut next = || fields.next().ok_or(Reason::Fields);
    let random = next()?;
    let user = next()?;
    let time = next()?;
    let version = next()?;
    let kind = next()?;
    let message = next()?;
    let extra: Vec<&str> = fields.collect();

    if random.len() != RANDOM_LEN || !starts(random.as_bytes()) {
        return Err(Reason::Random);
    }
    let user = read_user(user)?;
    let timestamp_s = decimal(time, TIME_DIGITS_MAX).ok_or(Reason::Time)?;
    if !(1..=VERSION_MAX).contains(&version.len()) {
        return Err(Reason::Version);
    }
    let kind = Kind::read(kind)?;
    let [nat, server_auth, timeout] = kind.assign(&extra)?;
    let (allow, message) = read_message(kind, message, nat)?;
    Ok(Opened {
        request: Request {
            user,
            timestamp_s,
            allow,
            message,
            timeout_s: timeout.map(read_timeout).transpose()?,
        },
        random: random.into(),
        version: version.into(),
        server_auth: server_auth
            .map(|text| decode(text.as_bytes()).ok_or(Reason::ServerAuth))
            .transpose()?,
        encoded: encoded.into(),
        digest: digest.into(),
        digest_kind,
    })
}

/// The type, split into what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Command,
    Access { timeout: bool },
    Nat { timeout: bool },
    LocalNat { timeout: bool },
}

impl Kind {
    fn read(text: &str) -> Result<Self, Reason> {
        Ok(match text {
            "0" => Self::Command,
            "1" => Self::Access { timeout: false },
            "2" => Self::Nat { timeout: false },
            "3" => Self::Access { timeout: true },
            "4" => Self::Nat { timeout: true },
            "5" => Self::LocalNat { timeout: false },
            "6" => Self::LocalNat { timeout: true },
            _ => return Err(Reason::Type),
        })
    }

    /// Which of the fields behind the message is the NAT target, `server_auth` and the time-out.
    fn assign<'a>(self, extra: &[&'a str]) -> Result<[Option<&'a str>; 3], Reason> {
        Ok(match (self, extra) {
            (Self::Command | Self::Access { timeout: false }, []) => [None; 3],
            (Self::Access { timeout: false }, [auth]) => [None, Some(auth), None],
            (Self::Access { timeout: true }, [timeout]) => [None, None, Some(timeout)],
            (Self::Access { timeout: true }, [auth, timeout]) => [None, Some(auth), Some(timeout)],
            (Self::Nat { timeout: false } | Self::LocalNat { timeout: false }, [nat]) => {
                [Some(nat), None, None]
            }
            (Self::Nat { timeout: true } | Self::LocalNat { timeout: true }, [nat, timeout]) => {
                [Some(nat), None, Some(timeout)]
            }
            (Self::LocalNat { timeout: false }, [nat, auth]) => [Some(nat), Some(auth), None],
            (Self::LocalNat { timeout: true }, [nat, auth, timeout]) => {
                [Some(nat), Some(auth), Some(timeout)]
            }
            _ => return Err(Reason::Fields),
        })
    }
}

fn read_user(text: &str) -> Result<String, Reason> {
    let name = decode(text.as_bytes()).and_then(|name| String::from_utf8(name).ok());
    name.filter(|name| is_user_name(name)).ok_or(Reason::User)
}

/// Whether a packet can state this user name.
#[must_use]
pub fn is_user_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && !br#""*+,/:;<=>?[\]|"#.contains(&byte);
    (1..=USER_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn read_message(kind: Kind, text: &str, nat: Option<&str>) -> Result<(Allow, Message), Reason> {
    let message = decode_text(text).ok_or(Reason::Message)?;
    let (address, rest) = message.split_once(',').ok_or(Reason::Message)?;
    let allow = match address.parse::<Ipv4Addr>() {
        Ok(address) if address.is_unspecified() => Allow::Source,
        Ok(address) => Allow::Address(address),
        Err(_) => return Err(Reason::Address),
    };
    let target = nat.map(read_target).transpose()?;
    let message = match (kind, target) {
        (Kind::Command, _) if is_command(rest) => Message::Command(rest.into()),
        (Kind::Command, _) => return Err(Reason::Command),
        (Kind::Nat { .. }, Some(target)) => Message::Nat(read_ports(rest)?, target),
        (Kind::LocalNat { .. }, Some(target)) => Message::LocalNat(read_ports(rest)?, target),
        (Kind::Access { .. }, _) => Message::Access(read_ports(rest)?),
        (Kind::Nat { .. } | Kind::LocalNat { .. }, None) => return Err(Reason::Fields),
    };
    Ok((allow, message))
}

/// Whether a packet can ask for this command.
#[must_use]
pub fn is_command(text: &str) -> bool {
    // The message also has an address of at least 7 bytes and a comma.
    let longest = MESSAGE_TEXT_MAX * 3 / 4 - 8;
    (1..=longest).contains(&text.len()) && !text.contains(char::is_control)
}

fn read_ports(text: &str) -> Result<Vec<Port>, Reason> {
    text.split(',')
        .map(|port| {
            let (protocol, number) = port.split_once('/').ok_or(Reason::Ports)?;
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                _ => return Err(Reason::Ports),
            };
            let number = port_number(number).ok_or(Reason::Ports)?;
            Ok(Port { protocol, number })
        })
        .collect()
}

/// A host and a port. A host of digits and dots is an address, and only one without leading zeros.
fn read_target(text: &str) -> Result<Target, Reason> {
    let text = decode_text(text).ok_or(Reason::Nat)?;
    let (host, port) = text.split_once(',').ok_or(Reason::Nat)?;
    if !is_target_host(host) {
        return Err(Reason::Nat);
    }
    Ok(Target {
        host: host.into(),
        port: port_number(port).ok_or(Reason::Nat)?,
    })
}

/// Whether a packet can state this host of a NAT target.
#[must_use]
pub fn is_target_host(host: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'!'..=b'~') && !br#"/?"'\,"#.contains(&byte);
    let is_numeric = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let address = host.parse::<Ipv4Addr>();
    !host.is_empty()
        && host.bytes().all(allowed)
        && (!is_numeric || address.is_ok_and(|address| !address.is_unspecified()))
}

fn read_timeout(text: &str) -> Result<u32, Reason> {
    decimal(text, 5)
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|seconds| *seconds <= TIMEOUT_MAX_S)
        .ok_or(Reason::Timeout)
}

fn decode_text(text: &str) -> Option<String> {
    if text.len() > MESSAGE_TEXT_MAX {
        return None;
    }
    String::from_utf8(decode(text.as_bytes())?).ok()
}

fn port_number(text: &str) -> Option<NonZeroU16> {
    let number = decimal(text, 5)?;
    NonZeroU16::new(u16::try_from(number).ok()?)
}

/// A number of digits only, without a leading zero.
fn decimal(text: &str, digits_max: usize) -> Option<u64> {
    let canonical = (1..=digits_max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// Writes the plaintext of a request. Refuses what [`read`] would refuse or read as another request.
pub(crate) fn write(request: &Request, random: u64) -> Result<String, Reason> {
    let random = random % 10_u64.pow(16);
    let mut plain = format!(
        "{random:016}:{}:{}:{VERSION}:{}:{}",
        encode(request.user.as_bytes()),
        request.timestamp_s,
        request.type_number(),
        encode(request.message_text().as_bytes()),
    );
    if let Some(target) = request.target() {
        let nat = encode(format!("{target}").as_bytes());
        write!(plain, ":{nat}").map_err(|_| Reason::Nat)?;
    }
    if let Some(timeout_s) = request.timeout_s {
        write!(plain, ":{timeout_s}").map_err(|_| Reason::Timeout)?;
    }
    let digest = digest::sha256(&plain);
    write!(plain, ":{digest}").map_err(|_| Reason::Digest)?;
    if read(plain.as_bytes())?.request != *request {
        return Err(Reason::Message);
    }
    Ok(plain)
}
