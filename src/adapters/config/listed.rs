//! The users of a config as an administrator lists them. Holds no secret: of key pairs only the public half.

use std::path::PathBuf;

use postern_proto::{CodeKey, PublicKey};

use super::fields::Fields;
use super::fwknop_user::FwknopKeys;
use super::key::UserKey;
use super::user_keys::PreviousKey;
use super::values;
use crate::core::gate::SequenceKind;
use crate::model::policy::Policy;
use crate::model::time::Timestamp;
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) policy: Policy,
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    /// Whether the file has only this user, without `[[user]]`.
    pub(crate) own_file: bool,
    pub(crate) key: KeyKind,
    pub(crate) totp: bool,
    pub(crate) disabled: bool,
    /// The kind of the previous key, and when it ends.
    pub(crate) old: Option<(KeyKind, Timestamp)>,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Shared,
    SharedFile(PathBuf),
    Pair {
        public: PublicKey,
        psk: bool,
    },
    /// Knocks with a client of fwknop.
    Fwknop {
        hmac: bool,
    },
    /// Knocks with a port sequence.
    Sequence(SequenceName),
}

/// Kinds of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceName {
    Plain,
    OneTime,
    Keyed,
    Encrypted,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a key that moves out of a box leaves a copy in the heap"
)]
pub(super) enum Credential {
    Key(UserKey),
    Fwknop(FwknopKeys),
    Sequence(SequenceKind),
}

pub(super) struct ReadUser {
    pub(super) policy: Policy,
    pub(super) key: Credential,
    pub(super) code: Option<CodeKey>,
    pub(super) old: Option<PreviousKey>,
    pub(super) disabled: bool,
    pub(super) own_file: bool,
}

impl Listed {
    pub(super) fn of(fields: &Fields<'_>, user: &ReadUser) -> Self {
        let file = fields.file;
        let key_file = fields
            .get("key_file")
            .and_then(|path| path.get_ref().as_str());
        let key_file = key_file.and_then(|path| values::key_path(file.path, path).ok());
        let old = user.old.as_ref();
        Self {
            policy: user.policy.clone(),
            file: file.path.to_owned(),
            line: file.place(fields.start).0,
            own_file: user.own_file,
            key: key_file.map_or_else(|| user.key.kind(), KeyKind::SharedFile),
            totp: user.code.is_some(),
            disabled: user.disabled,
            old: old.map(|old| (KeyKind::of(&old.key), old.until)),
        }
    }
}

impl Credential {
    fn kind(&self) -> KeyKind {
        match self {
            Self::Key(key) => KeyKind::of(key),
            Self::Fwknop(keys) => KeyKind::Fwknop {
                hmac: keys.key.has_mac(),
            },
            Self::Sequence(kind) => KeyKind::Sequence(match kind {
                SequenceKind::Plain(_) => SequenceName::Plain,
                SequenceKind::OneTime(_) => SequenceName::OneTime,
                SequenceKind::Keyed { .. } => SequenceName::Keyed,
                SequenceKind::Encrypted { .. } => SequenceName::Encrypted,
            }),
        }
    }
}

impl KeyKind {
    fn of(key: &UserKey) -> Self {
        match key {
            UserKey::Shared(_) => Self::Shared,
            UserKey::Pair(public, preshared) => Self::Pair {
                public: *public,
                psk: preshared.is_some(),
            },
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Shared => "shared key",
            Self::SharedFile(_) => "shared key in a file",
            Self::Pair { psk: false, .. } => "key pair",
            Self::Pair { psk: true, .. } => "key pair with psk",
            Self::Fwknop { hmac: true } => "fwknop",
            Self::Fwknop { hmac: false } => "fwknop without HMAC",
            Self::Sequence(SequenceName::Plain) => {
                "sequence, readable and repeatable by anyone on the path"
            }
            Self::Sequence(SequenceName::OneTime) => "one-time sequences",
            Self::Sequence(SequenceName::Encrypted) => "encrypted sequence",
            Self::Sequence(SequenceName::Keyed) => "keyed sequence",
        }
    }
}
