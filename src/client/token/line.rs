//! The format of a line: `postern-KIND-1.` and base64url (RFC 4648, section 5, without padding) of fields and a checksum.
//!
//! A field is `tag u8 ‖ length u8 ‖ value`, and tags ascend. The checksum is the first four bytes of the SHA-256 of all before
//! it. Buffers are wiped.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern_proto::limits::KEY_LEN;
use postern_proto::{KeyText, PublicKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::tag;

pub(crate) const LINE_MAX: usize = 4096;
const CHECK_LEN: usize = 4;

/// The kind of a line, from its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// From the client to the administrator. Nothing in it is secret.
    Request,
    /// From the administrator to a client that has a key. Nothing in it is secret.
    Token,
    /// A token with a key: anybody who reads it can knock.
    Secret,
}

/// Why a text is not such a line. Shows nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("this is no enrolment line; copy all of it, from postern- to its end")]
    Kind,
    #[error("this is a token, not a request; a request is what postern enroll prints")]
    NotARequest,
    #[error("this is a request, not a token; a token is what posternd user add prints")]
    NotAToken,
    #[error(
        "this line is of another version of Postern; make it again with this version, or update this one"
    )]
    Version,
    #[error("this line is cut or mistyped; copy all of it, from postern- to its end")]
    Damaged,
    #[error("Postern did not make this line: its {0} is invalid; ask for a new one")]
    Content(&'static str),
}

impl LineKind {
    pub(super) const ALL: [Self; 3] = [Self::Request, Self::Token, Self::Secret];

    /// The kind that the start of a text tells, if any.
    pub fn of(text: &str) -> Option<Self> {
        let text = bare(text);
        Self::ALL.into_iter().find(|kind| {
            text.strip_prefix(kind.word())
                .is_some_and(|rest| rest.starts_with('-'))
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Request => "postern-request",
            Self::Token => "postern-token",
            Self::Secret => "postern-secret",
        }
    }

    fn prefix(self) -> String {
        format!("{}-1.", self.word())
    }
}

pub(super) struct Fields(Zeroizing<Vec<u8>>);

impl Fields {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(LINE_MAX + CHECK_LEN)))
    }

    /// The buffer never grows, so that no copy of a key is left.
    pub(super) fn add(
        &mut self,
        tag: u8,
        what: &'static str,
        value: &[u8],
    ) -> Result<(), LineError> {
        let len = u8::try_from(value.len()).map_err(|_| LineError::Content(what))?;
        if self.0.len().saturating_add(value.len()).saturating_add(2) > LINE_MAX {
            return Err(LineError::Content(what));
        }
        self.0.extend_from_slice(&[tag, len]);
        self.0.extend_from_slice(value);
        Ok(())
    }

    pub(super) fn list<'v, T: Display + 'v>(
        &mut self,
        tag: u8,
        what: &'static str,
        values: impl IntoIterator<Item = &'v T>,
    ) -> Result<(), LineError> {
        values
            .into_iter()
            .try_for_each(|value| self.add(tag, what, value.to_string().as_bytes()))
    }

    pub(super) fn secret(&mut self, tag: u8, key: &KeyText) -> Result<(), LineError> {
        // One byte more than a key has: the decoder wants room for the padding.
        let mut bytes = Zeroizing::new([0; KEY_LEN + 1]);
        let len = STANDARD
            .decode_slice(&**key, bytes.as_mut_slice())
            .map_err(|_| LineError::Content("key"))?;
        self.add(tag, "key", bytes.get(..len).unwrap_or_default())
    }

    pub(super) fn into_line(mut self, kind: LineKind) -> Result<Zeroizing<String>, LineError> {
        let check = check(kind, &self.0);
        self.0.extend_from_slice(&check);
        let mut line = Zeroizing::new(String::with_capacity(LINE_MAX.saturating_mul(2)));
        line.push_str(&kind.prefix());
        URL_SAFE_NO_PAD.encode_string(self.0.as_slice(), &mut line);
        if line.len() > LINE_MAX {
            Err(LineError::Content("length"))
        } else {
            Ok(line)
        }
    }
}

/// Without space and a byte order mark before it.
fn bare(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

pub(super) fn open(text: &str) -> Result<(LineKind, Zeroizing<Vec<u8>>), LineError> {
    let text = bare(text);
    let kind = LineKind::of(text).ok_or(LineError::Kind)?;
    if text.len() > LINE_MAX {
        return Err(LineError::Damaged);
    }
    let mut line = Zeroizing::new(String::with_capacity(text.len()));
    text.split_ascii_whitespace()
        .for_each(|part| line.push_str(part));
    let version = line
        .strip_prefix(kind.word())
        .and_then(|rest| rest.split_once('.'))
        .map(|(version, _)| version);
    let base64 = match (line.strip_prefix(&kind.prefix()), version) {
        (Some(base64), _) => base64,
        (None, Some(other))
            if other.len() > 1 && other.bytes().skip(1).all(|byte| byte.is_ascii_digit()) =>
        {
            return Err(LineError::Version);
        }
        (None, _) => return Err(LineError::Damaged),
    };
    let mut bytes = Zeroizing::new(vec![0; base64.len()]);
    let len = URL_SAFE_NO_PAD
        .decode_slice(base64, &mut bytes)
        .map_err(|_| LineError::Damaged)?;
    bytes.truncate(len);
    let fields = len.checked_sub(CHECK_LEN).ok_or(LineError::Damaged)?;
    let (content, told) = bytes.split_at_checked(fields).ok_or(LineError::Damaged)?;
    if check(kind, content) != told {
        return Err(LineError::Damaged);
    }
    bytes.truncate(fields);
    Ok((kind, bytes))
}

fn check(kind: LineKind, fields: &[u8]) -> [u8; CHECK_LEN] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(kind.prefix())
        .chain_update(fields)
        .finalize()
        .into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

/// The value of a text that is written in its one way.
pub(super) fn canonical<T: FromStr + Display>(bytes: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value: T = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

pub(super) struct FieldReader<'a>(Vec<(u8, &'a [u8])>);

impl<'a> FieldReader<'a> {
    /// Splits all bytes into fields. Tags ascend; only those of lists may repeat.
    pub(super) fn new(mut bytes: &'a [u8]) -> Result<Self, LineError> {
        let mut fields: Vec<(u8, &[u8])> = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<2>() {
            let [tag, len] = *head;
            let (value, rest) = rest
                .split_at_checked(len.into())
                .ok_or(LineError::Content("end"))?;
            let follows = fields.last().is_none_or(|(last, _)| {
                tag > *last || (tag == *last && [tag::ADDRESS, tag::SERVICE].contains(&tag))
            });
            if !follows || !(tag::FIRST..=tag::LAST).contains(&tag) {
                return Err(LineError::Content("order"));
            }
            fields.push((tag, value));
            bytes = rest;
        }
        if bytes.is_empty() {
            Ok(Self(fields))
        } else {
            Err(LineError::Content("end"))
        }
    }

    pub(super) fn only(&self, tags: &[u8]) -> Result<(), LineError> {
        if self.0.iter().all(|(tag, _)| tags.contains(tag)) {
            Ok(())
        } else {
            Err(LineError::Content("order"))
        }
    }

    pub(super) fn has(&self, tag: u8) -> bool {
        self.0.iter().any(|(found, _)| *found == tag)
    }

    pub(super) fn optional<T>(
        &self,
        tag: u8,
        read: impl Fn(&'a [u8]) -> Option<T>,
        what: &'static str,
    ) -> Result<Option<T>, LineError> {
        let value = self.0.iter().find(|(found, _)| *found == tag);
        value
            .map(|(_, bytes)| read(bytes).ok_or(LineError::Content(what)))
            .transpose()
    }

    pub(super) fn one<T>(
        &self,
        tag: u8,
        read: impl Fn(&'a [u8]) -> Option<T>,
        what: &'static str,
    ) -> Result<T, LineError> {
        self.optional(tag, read, what)?
            .ok_or(LineError::Content(what))
    }

    pub(super) fn many<T: FromStr + Display>(
        &self,
        tag: u8,
        most: usize,
        what: &'static str,
    ) -> Result<Vec<T>, LineError> {
        let values = self
            .0
            .iter()
            .filter(|(found, _)| *found == tag)
            .map(|(_, bytes)| canonical(bytes).ok_or(LineError::Content(what)));
        let values: Vec<T> = values.collect::<Result<_, _>>()?;
        if (1..=most).contains(&values.len()) {
            Ok(values)
        } else {
            Err(LineError::Content(what))
        }
    }

    pub(super) fn public_key(&self, tag: u8) -> Result<PublicKey, LineError> {
        let key = |bytes: &[u8]| bytes.try_into().ok().map(PublicKey::from_bytes);
        self.one(tag, key, "public key")
    }

    pub(super) fn text(
        &self,
        tag: u8,
        check: fn(&str) -> bool,
        what: &'static str,
    ) -> Result<Option<String>, LineError> {
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok()?;
            check(text).then(|| text.to_owned())
        };
        self.optional(tag, text, what)
    }
}
