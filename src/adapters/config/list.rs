//! The users of a config as an administrator asks for them: who, in which file, with what kind of key, in which state.
//!
//! Holds no secret: of key pairs only the public half is kept.

use std::path::PathBuf;

use postern_proto::{CodeKey, PublicKey};

use super::fields::Fields;
use super::old::Old;
use super::page::Page;
use super::user::Secret;
use crate::model::policy::Policy;
use crate::model::time::Timestamp;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name, and all that the user may open.
    pub policy: Policy,
    /// The file that the user stands in.
    pub file: PathBuf,
    /// The line there, from 1.
    pub line: usize,
    /// Whether that file is this user's alone, with no `[[user]]` in it.
    pub own_file: bool,
    /// What the user is known by.
    pub key: KeyKind,
    /// Whether a one-time code is asked for, too.
    pub totp: bool,
    /// Whether the user is disabled.
    pub disabled: bool,
    /// The key of before and the moment from which on it does not count any more.
    pub old: Option<(KeyKind, Timestamp)>,
}

/// What a user is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// A key that client and gate share.
    Shared,
    /// The same, in a file of its own.
    SharedFile(PathBuf),
    /// A key pair.
    Pair {
        /// The client's half.
        public: PublicKey,
        /// Whether a pre-shared key is mixed in.
        psk: bool,
    },
}

impl Listed {
    /// As it stands on the page.
    pub(super) fn of(page: &Page<'_>, fields: &Fields<'_>, read: &Read) -> Self {
        let Read {
            policy,
            secret,
            code,
            old,
            disabled,
            own_file,
        } = read;
        let file = match secret {
            Secret::Shared(_) => fields
                .get("key_file")
                .and_then(|path| super::bounds::key_path(page.path, path.get_ref().as_str()?).ok()),
            Secret::Pair(..) => None,
        };
        Self {
            policy: policy.clone(),
            file: page.path.to_owned(),
            line: page.place(fields.span.start).0,
            own_file: *own_file,
            key: file.map_or_else(|| KeyKind::of(secret), KeyKind::SharedFile),
            totp: code.is_some(),
            disabled: *disabled,
            old: old
                .as_ref()
                .map(|old| (KeyKind::of(&old.secret), old.until)),
        }
    }
}

/// A user of whom all was read and nothing refused.
pub(super) struct Read {
    pub(super) policy: Policy,
    pub(super) secret: Secret,
    pub(super) code: Option<CodeKey>,
    pub(super) old: Option<Old>,
    pub(super) disabled: bool,
    pub(super) own_file: bool,
}

impl KeyKind {
    fn of(secret: &Secret) -> Self {
        match secret {
            Secret::Shared(_) => Self::Shared,
            Secret::Pair(public, preshared) => Self::Pair {
                public: *public,
                psk: preshared.is_some(),
            },
        }
    }

    /// As people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Shared => "shared key",
            Self::SharedFile(_) => "shared key in a file",
            Self::Pair { psk: false, .. } => "key pair",
            Self::Pair { psk: true, .. } => "key pair with psk",
        }
    }
}
