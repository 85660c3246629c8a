//! The key `sequence` of a profile: the ports to hit in place of a packet. Reads no file.

use std::fmt;
use std::path::{Path, PathBuf};

use postern_fwknop::sequence::OFFSET;
use postern_proto::Protocol;
use postern_sequence::{Key, Shape};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::key::in_toml;
use crate::model::service::Ports;

/// A port to hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortHit {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// Which ports to hit.
pub enum SequenceSource {
    /// The same each time.
    Plain(Vec<PortHit>),
    /// They follow from a key and the time.
    Keyed {
        /// The key.
        key: Key,
        /// The range of ports, and how many hits.
        shape: Shape,
        /// The protocol of all hits.
        protocol: Protocol,
    },
    /// They carry an encrypted request, as in fwknop 1.9.
    Encrypted {
        /// Where the passphrase is.
        passphrase: Passphrase,
        /// The lowest port.
        offset: u16,
    },
}

/// A passphrase: in the config, or in a file.
pub enum Passphrase {
    /// In the config.
    Text(Zeroizing<String>),
    /// Alone in a file.
    File(PathBuf),
}

impl SequenceSource {
    pub(super) fn beside(mut self, folder: &Path) -> Self {
        if let Self::Encrypted {
            passphrase: Passphrase::File(path),
            ..
        } = &mut self
        {
            *path = folder.join(&path);
        }
        self
    }
}

impl fmt::Debug for SequenceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Keyed { .. } => "Keyed(..)",
            Self::Encrypted { .. } => "Encrypted(..)",
        })
    }
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a sequence, such as { key = \"…\", ports = \"20000-60000\", hits = 6 }"
)]
struct Table {
    #[serde(default, deserialize_with = "in_toml")]
    key: Option<Key>,
    ports: Option<PortRange>,
    hits: Option<usize>,
    passphrase: Option<Text>,
    passphrase_file: Option<PathBuf>,
    offset: Option<u16>,
}

const FORMS: &str = "write { key = \"…\", ports = \"20000-60000\", hits = 6 }, or { passphrase_file = \"…\", offset = 61000 }, or [\"tcp/7000\", …]";

impl Table {
    fn check(self) -> Result<SequenceSource, String> {
        let passphrase = match (self.passphrase, self.passphrase_file) {
            (Some(_), Some(_)) => {
                return Err("passphrase and passphrase_file are both there; keep one".to_owned());
            }
            (Some(Text(text)), None) => Some(Passphrase::Text(text)),
            (None, file) => file.map(Passphrase::File),
        };
        match (self.key, self.ports, self.hits, passphrase, self.offset) {
            (Some(key), Some(range), Some(hits), None, None) => {
                let PortRange(protocol, first, last) = range;
                let shape = Shape::new(first, last, hits);
                let cure = "write for example ports = \"20000-60000\" and hits = 6";
                Ok(SequenceSource::Keyed {
                    key,
                    shape: shape.map_err(|error| format!("{error}; {cure}"))?,
                    protocol,
                })
            }
            (None, None, None, Some(passphrase), offset) => Ok(SequenceSource::Encrypted {
                passphrase,
                offset: offset.unwrap_or(OFFSET),
            }),
            _ => Err(format!("this is no whole sequence; {FORMS}")),
        }
    }
}

impl<'de> Deserialize<'de> for SequenceSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SequenceVisitor)
    }
}

struct SequenceVisitor;

impl<'de> Visitor<'de> for SequenceVisitor {
    type Value = SequenceSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a sequence; {FORMS}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, hits: A) -> Result<SequenceSource, A::Error> {
        let hits = Vec::<PortHit>::deserialize(SeqAccessDeserializer::new(hits))?;
        if (1..=postern_sequence::HITS_MAX).contains(&hits.len()) {
            Ok(SequenceSource::Plain(hits))
        } else {
            let what = "a sequence must have 1 to 32 hits; write [\"tcp/7000\", …]";
            Err(A::Error::custom(what))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<SequenceSource, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(table))?;
        table.check().map_err(A::Error::custom)
    }
}

/// Leaves no copy of the text behind.
struct Text(Zeroizing<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a passphrase in quotes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A protocol, and the first and last port.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct PortRange(Protocol, u16, u16);

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let full = if text.contains('/') {
            text.clone()
        } else {
            format!("tcp/{text}")
        };
        range(&full).ok_or_else(|| {
            let cure = "write a range of TCP ports, like \"20000-60000\", or \"udp/20000-60000\"";
            format!("\"{text}\" is not a range of ports; {cure}")
        })
    }
}

fn range(text: &str) -> Option<PortRange> {
    let ports: Ports = text.parse().ok()?;
    let (first, last) = ports.range()?;
    let protocol = Protocol::from_number(ports.protocol())?;
    matches!(protocol, Protocol::Tcp | Protocol::Udp).then_some(PortRange(protocol, first, last))
}

impl<'de> Deserialize<'de> for PortHit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = range(&text).filter(|PortRange(_, first, last)| first == last);
        let found = found.map(|PortRange(protocol, port, _)| Self { protocol, port });
        let cure = "write one port of TCP or UDP, like tcp/7000 or udp/9000";
        found.ok_or_else(|| D::Error::custom(format!("\"{text}\" is not a hit; {cure}")))
    }
}
