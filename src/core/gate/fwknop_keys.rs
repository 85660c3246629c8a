//! The keys of users who knock with fwknop's clients: whose packet is this?
//!
//! Nothing in such a packet says whose it is, so each user's key is tried. That costs one mac for each user. A thread of
//! its own can do it, because the keys change with the config only.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postern_fwknop::{Key, Packet, Reason};

use crate::model::service::Wanted;

/// The greatest clock difference, as in fwknop's server. Its time counts in whole seconds.
pub(crate) const FWKNOP_WINDOW: Duration = Duration::from_secs(120);

/// The most users of this kind: a packet is tried with the keys of all.
pub const FWKNOP_USERS_MAX: usize = 1024;

/// A user who knocks with a client of fwknop.
#[derive(Debug)]
pub struct FwknopUser {
    /// The user's index among the gate's users.
    pub user: usize,
    pub key: Key,
    /// The user name that packets must state; `None`: any.
    pub username: Option<String>,
    /// What a command opens, by its exact text.
    pub commands: BTreeMap<String, Wanted>,
}

/// All users of this kind, for any thread.
#[derive(Clone, Default)]
pub struct FwknopUsers(Arc<Vec<FwknopUser>>);

/// A packet whose mac is right, or whose user has no mac and whose content is; and the row of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FwknopRow(pub(super) usize);

impl FwknopUsers {
    pub(super) fn new(users: Vec<FwknopUser>) -> Self {
        // the keys stay in place: a copy of them would not be wiped
        Self(Arc::new(users))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a payload can be a packet of one of these users. Costs no cryptography.
    #[must_use]
    pub fn may_be(&self, payload: &[u8]) -> bool {
        !self.is_empty() && postern_fwknop::looks_like(payload)
    }

    /// The first user whose key verifies the packet. A user without a mac is asked by decrypting, after all others.
    ///
    /// # Errors
    /// What is wrong for the user who came nearest: a mac that is right says more than a wrong one.
    pub fn find(&self, payload: &[u8]) -> Result<FwknopRow, Reason> {
        let packet = Packet::parse(payload)?;
        let rows = || self.0.iter().enumerate();
        let with_mac = rows().filter(|(_, user)| user.key.has_mac());
        let without = rows().filter(|(_, user)| !user.key.has_mac());
        let mut nearest = Reason::Blocks;
        for (row, user) in with_mac {
            match user.key.verify(&packet) {
                Ok(_) => return Ok(FwknopRow(row)),
                Err(reason) => nearest = nearest.max(reason),
            }
        }
        for (row, user) in without {
            let opened = user
                .key
                .verify(&packet)
                .and_then(|verified| user.key.open(&verified));
            match opened {
                Ok(_) => return Ok(FwknopRow(row)),
                Err(reason) => nearest = nearest.max(reason),
            }
        }
        Err(nearest)
    }

    pub(crate) fn get(&self, FwknopRow(row): FwknopRow) -> Option<&FwknopUser> {
        self.0.get(row)
    }
}

impl fmt::Debug for FwknopUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FwknopUsers({})", self.0.len())
    }
}
