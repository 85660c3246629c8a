//! The users of a config as an administrator lists them. Holds no secret: of key pairs only the public half.

use std::path::PathBuf;

use postern_proto::{CodeKey, PublicKey};

use super::fields::Fields;
use super::key::UserKey;
use super::user_keys::PreviousKey;
use super::values;
use crate::model::policy::Policy;
use crate::model::time::Timestamp;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name, and what the user may open.
    pub policy: Policy,
    /// The file with the user's table.
    pub file: PathBuf,
    /// The line there, from 1.
    pub line: usize,
    /// Whether the file has only this user, without `[[user]]`.
    pub own_file: bool,
    /// The kind of key.
    pub key: KeyKind,
    /// Whether the user needs a one-time code.
    pub totp: bool,
    /// Whether the user is disabled.
    pub disabled: bool,
    /// The kind of the previous key, and when it ends.
    pub old: Option<(KeyKind, Timestamp)>,
}

/// The kind of a user's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// A key that client and gate share.
    Shared,
    /// A shared key in a file of its own.
    SharedFile(PathBuf),
    /// A key pair.
    Pair {
        /// The client's half.
        public: PublicKey,
        /// Whether a pre-shared key strengthens it.
        psk: bool,
    },
}

/// All values of one user, none refused.
pub(super) struct ReadUser {
    pub(super) policy: Policy,
    pub(super) key: UserKey,
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
            key: key_file.map_or_else(|| KeyKind::of(&user.key), KeyKind::SharedFile),
            totp: user.code.is_some(),
            disabled: user.disabled,
            old: old.map(|old| (KeyKind::of(&old.key), old.until)),
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

    /// For messages and lists.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Shared => "shared key",
            Self::SharedFile(_) => "shared key in a file",
            Self::Pair { psk: false, .. } => "key pair",
            Self::Pair { psk: true, .. } => "key pair with psk",
        }
    }
}
