//! How a config is read.

use super::parts::PART;

/// Bytes of stack to wipe, several times what reading a config or setting up a gate with it uses. What is wiped stays in memory, and a
/// release build uses 16 kB.
pub(crate) const STACK: usize = if cfg!(debug_assertions) {
    256 << 10
} else {
    64 << 10
};

const USERS_MAX: usize = 2_000_000;

/// What differs from caller to caller.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) listing: bool,
    /// Whether the keys are returned. The monitor only checks them.
    pub(super) keeps_keys: bool,
    /// Whether names and keys are compared with those of all others.
    pub(super) compares: bool,
    /// Bytes of a part of a long file.
    pub(super) part: usize,
    pub(super) most_users: usize,
}

impl How {
    pub(super) const DEFAULT: Self = Self {
        listing: false,
        keeps_keys: true,
        compares: true,
        part: PART,
        most_users: USERS_MAX,
    };
}
