//! What a packet asks for (README.md, section 3).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use core::num::NonZeroU16;

/// What the sender of a packet sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The user name that the client states. It is not authenticated: the key says who the user is.
    pub user: String,
    /// When the packet was made, in seconds since the Unix epoch. The caller decides whether it is stale.
    pub timestamp_s: u64,
    /// Who is let in.
    pub allow: Allow,
    /// What it is let in to, or what is run.
    pub message: Message,
    /// How long, in seconds; `None` if the client leaves it to the server. Commands have none.
    pub timeout_s: Option<u32>,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allow {
    /// The source address of the packet; `0.0.0.0` in the message.
    Source,
    /// This address.
    Address(Ipv4Addr),
}

/// The part of a request that depends on its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Run this text as a command. Type 0.
    Command(String),
    /// Open these ports. Types 1 and 3.
    Access(Vec<Port>),
    /// Forward these outer ports to another host. Types 2 and 4.
    Nat(Vec<Port>, Target),
    /// Forward these outer ports to the server itself, which the client names as it likes. Types 5 and 6.
    LocalNat(Vec<Port>, Target),
}

impl Message {
    /// The ports that it names, none for a command.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        match self {
            Self::Command(_) => &[],
            Self::Access(ports) | Self::Nat(ports, _) | Self::LocalNat(ports, _) => ports,
        }
    }
}

/// A port to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Its number.
    pub number: NonZeroU16,
}

/// The protocols whose ports a packet can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where forwarded connections go. The packet's author writes it: compare it with what the user may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host as the client writes it: an address or a name.
    pub host: String,
    /// The port.
    pub port: NonZeroU16,
}

impl Target {
    /// The host, if it is an IPv4 address.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.host.parse().ok()
    }
}

impl Request {
    /// The type, 0 to 6.
    #[must_use]
    pub fn type_number(&self) -> u8 {
        match (&self.message, self.timeout_s) {
            (Message::Command(_), _) => 0,
            (Message::Access(_), None) => 1,
            (Message::Nat(..), None) => 2,
            (Message::Access(_), Some(_)) => 3,
            (Message::Nat(..), Some(_)) => 4,
            (Message::LocalNat(..), None) => 5,
            (Message::LocalNat(..), Some(_)) => 6,
        }
    }

    /// The message as text: `203.0.113.7,tcp/22`.
    #[must_use]
    pub fn message_text(&self) -> String {
        match &self.message {
            Message::Command(text) => alloc::format!("{},{text}", self.allow),
            message => {
                let mut text = alloc::format!("{}", self.allow);
                for port in message.ports() {
                    text.push_str(&alloc::format!(",{port}"));
                }
                text
            }
        }
    }

    /// The NAT target, if the type has one.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match &self.message {
            Message::Nat(_, target) | Message::LocalNat(_, target) => Some(target),
            Message::Command(_) | Message::Access(_) => None,
        }
    }
}

/// A packet that a key has opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it asks for.
    pub request: Request,
    /// Its random number: 16 digits.
    pub random: String,
    /// The protocol version that the client states, not interpreted.
    pub version: String,
    /// The field `server_auth`, decoded and not interpreted.
    pub server_auth: Option<Vec<u8>>,
    /// All fields before the digest, as they were encrypted.
    pub encoded: String,
    /// The digest over them, as it was encrypted.
    pub digest: String,
    /// The hash of the digest.
    pub digest_kind: DigestKind,
}

/// The hash of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestKind {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256, the client's default.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-512.
    Sha3_512,
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("0.0.0.0"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol}/{}", self.number)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.host, self.port)
    }
}
