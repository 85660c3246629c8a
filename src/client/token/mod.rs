//! What travels when a user is enrolled, one line each: a request with a client's public key, and a token with all that a profile needs.
//!
//! A line has a kind, which says whether a secret is inside, and a check, so that a mistyped or cut line is told as such. There is
//! exactly one way to write what a line says. Touches no file.

use std::time::Duration;

use postern_proto::limits::{KEY_LEN, MAX_SERVICES};
use postern_proto::{GateName, PresharedKey, PrivateKey, PublicKey, SharedKey};
use zeroize::Zeroizing;

use crate::model::endpoint::Endpoint;
use crate::model::policy::is_user_name;
use crate::model::service::Wanted;

mod line;
#[cfg(test)]
mod tests;

use line::{Fields, Read, open};
pub use line::{Kind, NotALine};

/// The longest line, in bytes, white space included.
pub const LINE_MAX: usize = 4096;
/// The most addresses of a gate.
pub const ADDRESSES_MAX: usize = 4;
/// The most services that a profile asks for: what one knock can carry.
pub const SERVICES_MAX: usize = MAX_SERVICES;

const PROFILE_NAME_MAX: usize = 32;

/// A client's request to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The client's public key.
    pub public_key: PublicKey,
    /// What the client calls the profile; comes back in the token.
    pub profile: Option<String>,
}

/// All that a client's profile needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// The user's name at the gate.
    pub user: String,
    /// The gate's name.
    pub gate: GateName,
    /// Where knocks go, 1 to [`ADDRESSES_MAX`].
    pub addresses: Vec<Endpoint>,
    /// What to ask for, 1 to [`SERVICES_MAX`].
    pub services: Vec<Wanted>,
    /// For how long to ask, in whole seconds; none for what the gate grants by default.
    pub duration: Option<Duration>,
    /// Whether the gate lets only the source of a knock in.
    pub source_only: bool,
    /// Whether each knock that opens needs a one-time code.
    pub code: bool,
    /// What the client called the profile in its request.
    pub profile: Option<String>,
    /// The key.
    pub key: TokenKey,
}

/// The key of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenKey {
    /// One that client and gate share.
    Shared(SharedKey),
    /// A key pair that was made at the gate.
    Pair {
        /// The client's private key.
        own: PrivateKey,
        /// The gate's public key.
        gate: PublicKey,
        /// Mixed in where it is there.
        psk: Option<PresharedKey>,
    },
    /// A key pair that the client has made: only public keys, unless a pre-shared key is mixed in.
    Enrolled {
        /// The client's public key, by which it finds the private one.
        own: PublicKey,
        /// The gate's public key.
        gate: PublicKey,
        /// Mixed in where it is there.
        psk: Option<PresharedKey>,
    },
}

mod tag {
    pub(super) const USER: u8 = 1;
    pub(super) const FIRST: u8 = USER;
    pub(super) const GATE: u8 = 2;
    pub(super) const ADDRESS: u8 = 3;
    pub(super) const SERVICE: u8 = 4;
    pub(super) const DURATION: u8 = 5;
    pub(super) const SOURCE_ONLY: u8 = 6;
    pub(super) const PROFILE: u8 = 7;
    pub(super) const SHARED_KEY: u8 = 8;
    pub(super) const PRIVATE_KEY: u8 = 9;
    pub(super) const PUBLIC_KEY: u8 = 10;
    pub(super) const GATE_KEY: u8 = 11;
    pub(super) const PSK: u8 = 12;
    pub(super) const CODE: u8 = 13;
    pub(super) const LAST: u8 = CODE;
}

/// Whether a profile may have this name: it becomes a section of the client's config and may become the name of a key's file.
pub fn is_profile_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts
        && text.len() <= PROFILE_NAME_MAX
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// What a gate is called without its domain, for a profile: `gate` for `gate.example.org`.
pub fn short_name(gate: &str) -> String {
    let first = gate.split('.').next().unwrap_or_default();
    let is_name = is_profile_name(first) && gate.parse::<std::net::IpAddr>().is_err();
    if is_name {
        first.to_owned()
    } else {
        "gate".to_owned()
    }
}

impl Request {
    /// The line.
    ///
    /// # Errors
    /// Where a value is too long.
    pub fn to_line(&self) -> Result<Zeroizing<String>, NotALine> {
        let mut fields = Fields::new();
        fields.list(tag::PROFILE, "profile", &self.profile)?;
        fields.add(tag::PUBLIC_KEY, "public key", self.public_key.as_bytes())?;
        fields.into_line(Kind::Request)
    }

    /// Reads a line; white space in it is passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_line(text: &str) -> Result<Self, NotALine> {
        let (kind, bytes) = open(text)?;
        if kind != Kind::Request {
            return Err(NotALine::Other(
                kind,
                "a request; a request is what postern enroll prints",
            ));
        }
        let read = Read::new(&bytes)?;
        read.only(&[tag::PROFILE, tag::PUBLIC_KEY])?;
        let profile = read.optional(
            tag::PROFILE,
            |bytes| text_if(bytes, is_profile_name),
            "profile",
        )?;
        Ok(Self {
            public_key: public_key(&read, tag::PUBLIC_KEY)?,
            profile,
        })
    }
}

impl Token {
    /// Whether a key is in it.
    pub fn is_secret(&self) -> bool {
        !matches!(self.key, TokenKey::Enrolled { psk: None, .. })
    }

    /// The line, which is as secret as the token.
    ///
    /// # Errors
    /// Where a value is too long, or a list.
    pub fn to_line(&self) -> Result<Zeroizing<String>, NotALine> {
        // What could not be read again is not written.
        for (count, most, what) in [
            (self.addresses.len(), ADDRESSES_MAX, "address"),
            (self.services.len(), SERVICES_MAX, "services"),
        ] {
            if !(1..=most).contains(&count) {
                return Err(NotALine::Content(what));
            }
        }
        let mut fields = Fields::new();
        fields.add(tag::USER, "user", self.user.as_bytes())?;
        fields.add(tag::GATE, "gate", self.gate.as_str().as_bytes())?;
        fields.list(tag::ADDRESS, "address", &self.addresses)?;
        fields.list(tag::SERVICE, "services", &self.services)?;
        if let Some(duration) = self.duration {
            let seconds =
                u32::try_from(duration.as_secs()).map_err(|_| NotALine::Content("duration"))?;
            fields.add(tag::DURATION, "duration", &seconds.to_be_bytes())?;
        }
        if self.source_only {
            fields.add(tag::SOURCE_ONLY, "allow", &[])?;
        }
        fields.list(tag::PROFILE, "profile", &self.profile)?;
        match &self.key {
            TokenKey::Shared(key) => fields.secret(tag::SHARED_KEY, &key.to_base64())?,
            TokenKey::Pair { own, gate, psk } => {
                fields.secret(tag::PRIVATE_KEY, &own.to_base64())?;
                add_pair(&mut fields, gate, psk.as_ref())?;
            }
            TokenKey::Enrolled { own, gate, psk } => {
                fields.add(tag::PUBLIC_KEY, "public key", own.as_bytes())?;
                add_pair(&mut fields, gate, psk.as_ref())?;
            }
        }
        if self.code {
            fields.add(tag::CODE, "code", &[])?;
        }
        fields.into_line(if self.is_secret() {
            Kind::Secret
        } else {
            Kind::Token
        })
    }

    /// Reads a line; white space in it is passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_line(text: &str) -> Result<Self, NotALine> {
        let (kind, bytes) = open(text)?;
        if kind == Kind::Request {
            return Err(NotALine::Other(
                kind,
                "a token; a token is what posternd user add prints",
            ));
        }
        let read = Read::new(&bytes)?;
        let flag = |tag, name| {
            read.optional(tag, |bytes| bytes.is_empty().then_some(()), name)
                .map(|there| there.is_some())
        };
        let token = Self {
            user: read.one(tag::USER, |bytes| text_if(bytes, is_user_name), "user")?,
            gate: read.one(tag::GATE, gate_name, "gate")?,
            addresses: read.many(tag::ADDRESS, ADDRESSES_MAX, "address")?,
            services: read.many(tag::SERVICE, SERVICES_MAX, "services")?,
            duration: read.optional(tag::DURATION, duration, "duration")?,
            source_only: flag(tag::SOURCE_ONLY, "allow")?,
            code: flag(tag::CODE, "code")?,
            profile: read.optional(
                tag::PROFILE,
                |bytes| text_if(bytes, is_profile_name),
                "profile",
            )?,
            key: key(&read)?,
        };
        if token.is_secret() == (kind == Kind::Secret) {
            Ok(token)
        } else {
            Err(NotALine::Content("kind"))
        }
    }
}

/// What pairs have beside the client's own key.
fn add_pair(
    fields: &mut Fields,
    gate: &PublicKey,
    psk: Option<&PresharedKey>,
) -> Result<(), NotALine> {
    fields.add(tag::GATE_KEY, "gate's key", gate.as_bytes())?;
    psk.map_or(Ok(()), |psk| fields.secret(tag::PSK, &psk.to_base64()))
}

fn key(read: &Read<'_>) -> Result<TokenKey, NotALine> {
    let secret = |tag: u8| {
        read.optional(
            tag,
            |bytes| <[u8; KEY_LEN]>::try_from(bytes).ok().map(Zeroizing::new),
            "key",
        )
    };
    let pair = || {
        Ok((
            public_key(read, tag::GATE_KEY)?,
            secret(tag::PSK)?.map(|bytes| PresharedKey::from_bytes(*bytes)),
        ))
    };
    match (
        secret(tag::SHARED_KEY)?,
        secret(tag::PRIVATE_KEY)?,
        read.has(tag::PUBLIC_KEY),
    ) {
        (Some(bytes), None, false) if !read.has(tag::GATE_KEY) && !read.has(tag::PSK) => {
            Ok(TokenKey::Shared(SharedKey::from_bytes(*bytes)))
        }
        (None, Some(bytes), false) => pair().map(|(gate, psk)| TokenKey::Pair {
            own: PrivateKey::from_bytes(*bytes),
            gate,
            psk,
        }),
        (None, None, true) => {
            let own = public_key(read, tag::PUBLIC_KEY)?;
            pair().map(|(gate, psk)| TokenKey::Enrolled { own, gate, psk })
        }
        _ => Err(NotALine::Content("key")),
    }
}

fn public_key(read: &Read<'_>, tag: u8) -> Result<PublicKey, NotALine> {
    read.one(
        tag,
        |bytes| bytes.try_into().ok().map(PublicKey::from_bytes),
        "public key",
    )
}

fn text_if(bytes: &[u8], is_right: fn(&str) -> bool) -> Option<String> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| is_right(text))
        .map(str::to_owned)
}

/// It is shown on terminals, so it may hold nothing that they take for a command.
fn gate_name(bytes: &[u8]) -> Option<GateName> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains(char::is_control))
        .and_then(|text| GateName::new(text).ok())
}

fn duration(bytes: &[u8]) -> Option<Duration> {
    let seconds = u32::from_be_bytes(bytes.try_into().ok()?);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}
