//! The form of a line: `postern-KIND-1.` and base64url (RFC 4648, section 5, without padding) of fields and, at the end, four bytes of
//! the SHA-256 of all before them.
//!
//! A field is `tag u8 ‖ length u8 ‖ value`, and tags ascend. What the fields mean is the module's above. Buffers are wiped.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern_proto::KeyText;
use postern_proto::limits::KEY_LEN;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{LINE_MAX, tag};

const CHECK_LEN: usize = 4;

/// Which line it is, by how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From the client to the administrator. Nothing in it is secret.
    Request,
    /// From the administrator to the client, for one who has a key already. Nothing in it is secret.
    Token,
    /// The same with a key in it: whoever reads it can knock.
    Secret,
}

/// Why a text is no such line. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotALine {
    /// It begins in another way.
    #[error("this is no enrolment line; copy all of it, from postern- to its end")]
    Kind,
    /// It is another kind of line.
    #[error("this is {}, not {}", .0.name(), .1)]
    Other(Kind, &'static str),
    /// It was made by another version.
    #[error(
        "this line is of another version of Postern; make it anew with this one, or update this one"
    )]
    Version,
    /// Characters are missing, too many or changed.
    #[error("this line is cut or mistyped; copy all of it, from postern- to its end")]
    Damaged,
    /// It is whole but says something that it may not say.
    #[error("this line was not made by Postern: its {0} can't be used; ask for a new one")]
    Content(&'static str),
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Request, Self::Token, Self::Secret];

    /// Which line this text begins like, if any.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim_start();
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

    /// All before the base64.
    fn prefix(self) -> String {
        format!("{}-1.", self.word())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Request => "a request",
            Self::Token | Self::Secret => "a token",
        }
    }
}

/// The fields of a line that is made; wiped.
pub(super) struct Fields(Zeroizing<Vec<u8>>);

impl Fields {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(LINE_MAX + CHECK_LEN)))
    }

    /// The buffer never grows, so that no copy of a key stays behind.
    pub(super) fn add(
        &mut self,
        tag: u8,
        what: &'static str,
        value: &[u8],
    ) -> Result<(), NotALine> {
        let len = u8::try_from(value.len()).map_err(|_| NotALine::Content(what))?;
        if self.0.len().saturating_add(value.len()).saturating_add(2) > LINE_MAX {
            return Err(NotALine::Content(what));
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
    ) -> Result<(), NotALine> {
        values
            .into_iter()
            .try_for_each(|value| self.add(tag, what, value.to_string().as_bytes()))
    }

    pub(super) fn secret(&mut self, tag: u8, key: &KeyText) -> Result<(), NotALine> {
        // One byte more than a key has: the decoder wants room for the padding.
        let mut bytes = Zeroizing::new([0; KEY_LEN + 1]);
        let len = STANDARD
            .decode_slice(&**key, bytes.as_mut_slice())
            .map_err(|_| NotALine::Content("key"))?;
        self.add(tag, "key", bytes.get(..len).unwrap_or_default())
    }

    pub(super) fn into_line(mut self, kind: Kind) -> Result<Zeroizing<String>, NotALine> {
        let check = check(kind, &self.0);
        self.0.extend_from_slice(&check);
        let mut line = Zeroizing::new(String::with_capacity(LINE_MAX.saturating_mul(2)));
        line.push_str(&kind.prefix());
        URL_SAFE_NO_PAD.encode_string(self.0.as_slice(), &mut line);
        if line.len() > LINE_MAX {
            Err(NotALine::Content("length"))
        } else {
            Ok(line)
        }
    }
}

/// The kind of a line and its fields, whose check is right.
pub(super) fn open(text: &str) -> Result<(Kind, Zeroizing<Vec<u8>>), NotALine> {
    let kind = Kind::of(text).ok_or(NotALine::Kind)?;
    if text.len() > LINE_MAX {
        return Err(NotALine::Damaged);
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
            return Err(NotALine::Version);
        }
        (None, _) => return Err(NotALine::Damaged),
    };
    let mut bytes = Zeroizing::new(vec![0; base64.len()]);
    let len = URL_SAFE_NO_PAD
        .decode_slice(base64, &mut bytes)
        .map_err(|_| NotALine::Damaged)?;
    bytes.truncate(len);
    let fields = len.checked_sub(CHECK_LEN).ok_or(NotALine::Damaged)?;
    let (content, told) = bytes.split_at_checked(fields).ok_or(NotALine::Damaged)?;
    if check(kind, content) != told {
        return Err(NotALine::Damaged);
    }
    bytes.truncate(fields);
    Ok((kind, bytes))
}

fn check(kind: Kind, fields: &[u8]) -> [u8; CHECK_LEN] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(kind.prefix())
        .chain_update(fields)
        .finalize()
        .into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

/// The fields of a line that is read.
pub(super) struct Read<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Read<'a> {
    /// To the last byte. Tags ascend; one comes again only where there may be many.
    pub(super) fn new(mut bytes: &'a [u8]) -> Result<Self, NotALine> {
        let mut fields: Vec<(u8, &[u8])> = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<2>() {
            let [tag, len] = *head;
            let (value, rest) = rest
                .split_at_checked(len.into())
                .ok_or(NotALine::Content("end"))?;
            let follows = fields.last().is_none_or(|(last, _)| {
                tag > *last || (tag == *last && [tag::ADDRESS, tag::SERVICE].contains(&tag))
            });
            if !follows || !(tag::FIRST..=tag::LAST).contains(&tag) {
                return Err(NotALine::Content("order"));
            }
            fields.push((tag, value));
            bytes = rest;
        }
        if bytes.is_empty() {
            Ok(Self(fields))
        } else {
            Err(NotALine::Content("end"))
        }
    }

    pub(super) fn only(&self, tags: &[u8]) -> Result<(), NotALine> {
        if self.0.iter().all(|(tag, _)| tags.contains(tag)) {
            Ok(())
        } else {
            Err(NotALine::Content("order"))
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
    ) -> Result<Option<T>, NotALine> {
        let value = self.0.iter().find(|(found, _)| *found == tag);
        value
            .map(|(_, bytes)| read(bytes).ok_or(NotALine::Content(what)))
            .transpose()
    }

    pub(super) fn one<T>(
        &self,
        tag: u8,
        read: impl Fn(&'a [u8]) -> Option<T>,
        what: &'static str,
    ) -> Result<T, NotALine> {
        self.optional(tag, read, what)?
            .ok_or(NotALine::Content(what))
    }

    /// Values whose text is written in the one way that they write themselves.
    pub(super) fn many<T: FromStr + Display>(
        &self,
        tag: u8,
        most: usize,
        what: &'static str,
    ) -> Result<Vec<T>, NotALine> {
        let read = |bytes: &[u8]| -> Option<T> {
            let text = std::str::from_utf8(bytes).ok()?;
            text.parse()
                .ok()
                .filter(|value: &T| value.to_string() == text)
        };
        let values = self
            .0
            .iter()
            .filter(|(found, _)| *found == tag)
            .map(|(_, bytes)| read(bytes).ok_or(NotALine::Content(what)));
        let values: Vec<T> = values.collect::<Result<_, _>>()?;
        if (1..=most).contains(&values.len()) {
            Ok(values)
        } else {
            Err(NotALine::Content(what))
        }
    }
}
