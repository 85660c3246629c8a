//! The vector files as Rust values (README.md section 7). An unknown or a missing field fails the test.

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;

use postern_proto::{
    Action, Allow, Code, Item, KeyMaterial, PresharedKey, PrivateKey, Protocol, PublicKey, Request,
    Service, ServiceName, SharedKey,
};
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) key: Key,
    pub(crate) gate_name: String,
    pub(crate) timestamp_ms: u64,
    pub(crate) nonce: Hex,
    pub(crate) request: Option<Fields>,
    pub(crate) z: Option<Hex>,
    pub(crate) ikm: Hex,
    pub(crate) prk: Hex,
    pub(crate) k_hint: Hex,
    pub(crate) k_seal: Hex,
    pub(crate) k_mac: Hex,
    pub(crate) step: u64,
    pub(crate) hint: Hex,
    pub(crate) body: Hex,
    pub(crate) sealed: Hex,
    pub(crate) mac: Hex,
    pub(crate) mark: Hex,
    pub(crate) packet_hex: Hex,
    pub packet_base64: String,
    #[serde(rename = "gate")]
    pub(crate) _gate: serde::de::IgnoredAny,
    pub(crate) outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Key {
    Shared {
        shared_key: Hex,
    },
    Pair {
        client_private: Hex,
        client_public: Hex,
        gate_private: Hex,
        gate_public: Hex,
        psk: Option<Hex>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    pub(crate) reason: Option<String>,
    pub(crate) rule: Option<String>,
    #[serde(rename = "verdict")]
    pub(crate) _verdict: String,
    #[serde(rename = "step")]
    pub(crate) _step: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fields {
    action: String,
    allow: String,
    duration_s: u32,
    target: String,
    items: Vec<ItemFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum ItemFields {
    Service { protocol: u8, first: u16, last: u16 },
    Name(String),
    Code(String),
    Skipped { kind: u8, value: Hex },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(serde::de::Error::custom(format!(
                "{text:?} is not lower-case hex"
            ))),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(serde::de::Error::custom("half a byte"));
        };
        pairs
            .iter()
            .map(|&[high, low]| Ok(digit(high)? << 4 | digit(low)?))
            .collect::<Result<_, _>>()
            .map(Hex)
    }
}

impl Hex {
    pub(crate) fn array<const N: usize>(&self) -> [u8; N] {
        self.0
            .as_slice()
            .try_into()
            .expect("the field has its length")
    }
}

impl Key {
    /// What client and gate derive the user's keys from; a pair's from both ends, which must agree.
    pub(crate) fn material(&self) -> [KeyMaterial; 2] {
        match self {
            Self::Shared { shared_key } => {
                [0, 1].map(|_| KeyMaterial::shared(&SharedKey::from_bytes(shared_key.array())))
            }
            Self::Pair {
                client_private,
                client_public,
                gate_private,
                gate_public,
                psk,
            } => {
                let client = PrivateKey::from_bytes(client_private.array());
                let gate = PrivateKey::from_bytes(gate_private.array());
                let public =
                    [client_public, gate_public].map(|key| PublicKey::from_bytes(key.array()));
                assert_eq!([client.public(), gate.public()], public);
                let psk = psk
                    .as_ref()
                    .map(|psk| PresharedKey::from_bytes(psk.array()));
                [
                    KeyMaterial::pair_at_client(&client, &public[1], psk.as_ref())
                        .expect("a sound pair"),
                    KeyMaterial::pair_at_gate(&gate, &public[0], psk.as_ref())
                        .expect("a sound pair"),
                ]
            }
        }
    }
}

impl Fields {
    pub(crate) fn request(&self, timestamp_ms: u64) -> Request {
        let (allowed, prefix) = self.allow.split_once('/').expect("a prefix");
        let prefix = prefix.parse().expect("a number");
        Request {
            action: match self.action.as_str() {
                "open" => Action::Open,
                "close" => Action::Close,
                other => panic!("unknown action {other}"),
            },
            allow: match allowed {
                "source" => Allow::Source { prefix },
                address => Allow::Network {
                    address: ipv6(address),
                    prefix,
                },
            },
            timestamp_ms,
            duration_s: self.duration_s,
            target: (self.target != "gate").then(|| ipv6(&self.target)),
            items: self.items.iter().map(ItemFields::item).collect(),
        }
    }
}

impl ItemFields {
    fn item(&self) -> Item {
        match self {
            Self::Service {
                protocol,
                first,
                last,
            } => {
                let protocol = Protocol::from_number(*protocol).expect("a known protocol");
                Item::Service(Service::new(protocol, *first, *last).expect("sound ports"))
            }
            Self::Name(name) => Item::Name(ServiceName::new(name).expect("a sound name")),
            Self::Code(digits) => Item::Code(Code::new(digits).expect("a sound code")),
            Self::Skipped { kind, value } => Item::Skipped {
                kind: *kind,
                value: value.0.clone(),
            },
        }
    }
}

fn ipv6(text: &str) -> Ipv6Addr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no address in IPv6 space"))
}

/// Every vector in the folder, by name. An empty or a missing folder is a failure.
pub(crate) fn read_all() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no vector", folder.display());
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vector {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let vector: Vector =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let expected = Some(vector.name.as_str());
    assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), expected);
    assert!(
        !vector.about.is_empty(),
        "{} says what it is about",
        vector.name
    );
    vector
}
