//! The token that the administrator sends to a client.

use std::time::Duration;

use postern_proto::limits::{KEY_LEN, MAX_SERVICES};
use postern_proto::{GateName, PresharedKey, PrivateKey, PublicKey, SharedKey};
use zeroize::Zeroizing;

use super::line::{FieldReader, Fields, LineError, LineKind, canonical, open};
use super::name::is_profile_name;
use super::tag;
use crate::model::endpoint::Endpoint;
use crate::model::grant_to::GrantTo;
use crate::model::quota::Quota;
use crate::model::service::Wanted;
use crate::model::user_name::is_user_name;

pub(crate) const ADDRESSES_MAX: usize = 4;
/// The most services of a profile: what one knock can carry.
pub(crate) const SERVICES_MAX: usize = MAX_SERVICES;

/// The kinds that have a field of their own: `Observed` has its tag, `Either` has none.
const IN_WORDS: [GrantTo; 2] = [GrantTo::Claimed, GrantTo::Same];

/// Everything that a client's profile needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// The user's name at the gate.
    pub user: String,
    /// The gate's name.
    pub gate: GateName,
    /// Where knocks go, 1 to `ADDRESSES_MAX`.
    pub addresses: Vec<Endpoint>,
    /// What to ask for, 1 to `SERVICES_MAX`.
    pub services: Vec<Wanted>,
    /// For how long to ask, in whole seconds; `None` for the gate's default.
    pub duration: Option<Duration>,
    /// Which address the gate allows.
    pub grant_to: GrantTo,
    /// How many knocks the gate admits in a time.
    pub quota: Quota,
    /// Whether each knock needs a one-time code.
    pub code: bool,
    /// The client's name for the profile.
    pub profile: Option<String>,
    /// The key.
    pub key: TokenKey,
}

/// The key of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenKey {
    /// A key that client and gate share.
    Shared(SharedKey),
    /// A key pair that the gate made.
    Pair {
        /// The client's private key.
        own: PrivateKey,
        /// The gate's public key.
        gate: PublicKey,
        /// A pre-shared key to mix in.
        psk: Option<PresharedKey>,
    },
    /// A key pair that the client made.
    Enrolled {
        /// The client's public key, which identifies its private key.
        own: PublicKey,
        /// The gate's public key.
        gate: PublicKey,
        /// A pre-shared key to mix in.
        psk: Option<PresharedKey>,
    },
}

impl Token {
    /// Whether it contains a key.
    pub fn is_secret(&self) -> bool {
        !matches!(self.key, TokenKey::Enrolled { psk: None, .. })
    }

    /// Writes the line, which is as secret as the token.
    pub fn to_line(&self) -> Result<Zeroizing<String>, LineError> {
        for (count, most, what) in [
            (self.addresses.len(), ADDRESSES_MAX, "address"),
            (self.services.len(), SERVICES_MAX, "services"),
        ] {
            if !(1..=most).contains(&count) {
                return Err(LineError::Content(what));
            }
        }
        let mut fields = Fields::new();
        fields.add(tag::USER, "user", self.user.as_bytes())?;
        fields.add(tag::GATE, "gate", self.gate.as_str().as_bytes())?;
        fields.list(tag::ADDRESS, "address", &self.addresses)?;
        fields.list(tag::SERVICE, "services", &self.services)?;
        if let Some(duration) = self.duration {
            let seconds =
                u32::try_from(duration.as_secs()).map_err(|_| LineError::Content("duration"))?;
            fields.add(tag::DURATION, "duration", &seconds.to_be_bytes())?;
        }
        if self.grant_to == GrantTo::Observed {
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
        // Older clients refuse tags that they do not know, so the usual values are left out.
        if IN_WORDS.contains(&self.grant_to) {
            fields.add(tag::GRANT_TO, "grant_to", self.grant_to.name().as_bytes())?;
        }
        if self.quota != Quota::default() {
            fields.list(tag::QUOTA, "quota", [&self.quota])?;
        }
        fields.into_line(if self.is_secret() {
            LineKind::Secret
        } else {
            LineKind::Token
        })
    }

    /// Reads a line and ignores white space in it.
    pub fn from_line(text: &str) -> Result<Self, LineError> {
        let (kind, bytes) = open(text)?;
        if kind == LineKind::Request {
            return Err(LineError::NotAToken);
        }
        let fields = FieldReader::new(&bytes)?;
        let flag = |tag, name| {
            let present = fields.optional(tag, |bytes| bytes.is_empty().then_some(()), name);
            present.map(|present| present.is_some())
        };
        let token = Self {
            user: fields
                .text(tag::USER, is_user_name, "user")?
                .ok_or(LineError::Content("user"))?,
            gate: fields.one(tag::GATE, gate_name, "gate")?,
            addresses: fields.many(tag::ADDRESS, ADDRESSES_MAX, "address")?,
            services: fields.many(tag::SERVICE, SERVICES_MAX, "services")?,
            duration: fields.optional(tag::DURATION, duration, "duration")?,
            grant_to: grant_to(&fields, flag(tag::SOURCE_ONLY, "allow")?)?,
            quota: fields
                .optional(tag::QUOTA, quota, "quota")?
                .unwrap_or_default(),
            code: flag(tag::CODE, "code")?,
            profile: fields.text(tag::PROFILE, is_profile_name, "profile")?,
            key: key(&fields)?,
        };
        if token.is_secret() == (kind == LineKind::Secret) {
            Ok(token)
        } else {
            Err(LineError::Content("kind"))
        }
    }
}

fn add_pair(
    fields: &mut Fields,
    gate: &PublicKey,
    psk: Option<&PresharedKey>,
) -> Result<(), LineError> {
    fields.add(tag::GATE_KEY, "gate's key", gate.as_bytes())?;
    psk.map_or(Ok(()), |psk| fields.secret(tag::PSK, &psk.to_base64()))
}

fn key(fields: &FieldReader<'_>) -> Result<TokenKey, LineError> {
    let bytes = |bytes: &[u8]| <[u8; KEY_LEN]>::try_from(bytes).ok().map(Zeroizing::new);
    let secret = |tag: u8| fields.optional(tag, bytes, "key");
    let gate = || fields.public_key(tag::GATE_KEY);
    let psk = || -> Result<_, LineError> {
        Ok(secret(tag::PSK)?.map(|bytes| PresharedKey::from_bytes(*bytes)))
    };
    let has = |tag| fields.has(tag);
    match (
        secret(tag::SHARED_KEY)?,
        secret(tag::PRIVATE_KEY)?,
        has(tag::PUBLIC_KEY),
    ) {
        (Some(bytes), None, false) if !has(tag::GATE_KEY) && !has(tag::PSK) => {
            Ok(TokenKey::Shared(SharedKey::from_bytes(*bytes)))
        }
        (None, Some(bytes), false) => Ok(TokenKey::Pair {
            own: PrivateKey::from_bytes(*bytes),
            gate: gate()?,
            psk: psk()?,
        }),
        (None, None, true) => Ok(TokenKey::Enrolled {
            own: fields.public_key(tag::PUBLIC_KEY)?,
            gate: gate()?,
            psk: psk()?,
        }),
        _ => Err(LineError::Content("key")),
    }
}

fn grant_to(fields: &FieldReader<'_>, source_only: bool) -> Result<GrantTo, LineError> {
    let named = |bytes: &[u8]| {
        let mut all = IN_WORDS.into_iter();
        all.find(|kind| kind.name().as_bytes() == bytes)
    };
    match fields.optional(tag::GRANT_TO, named, "grant_to")? {
        Some(_) if source_only => Err(LineError::Content("grant_to")),
        Some(kind) => Ok(kind),
        None if source_only => Ok(GrantTo::Observed),
        None => Ok(GrantTo::Either),
    }
}

fn quota(bytes: &[u8]) -> Option<Quota> {
    let quota = canonical(bytes)?;
    (quota != Quota::default()).then_some(quota)
}

/// Terminals show the name, so it must not contain control characters.
fn gate_name(bytes: &[u8]) -> Option<GateName> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = !text.contains(char::is_control);
    is_plain.then(|| GateName::new(text).ok())?
}

fn duration(bytes: &[u8]) -> Option<Duration> {
    let seconds = u32::from_be_bytes(bytes.try_into().ok()?);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}
