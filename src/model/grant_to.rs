//! Which address a grant may go to: `grant_to` of a user.

use serde::{Deserialize, Serialize};

/// Which address a grant may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantTo {
    /// Only the address inside the knock, which nobody on the way can change. A client that asked for it may have got a lie.
    Claimed,
    /// Only the source address of the packet.
    Observed,
    /// Only the address inside the knock, and only if the packet came from it.
    Same,
    /// The one that the knock asks for.
    #[default]
    Either,
}

impl GrantTo {
    #[cfg(feature = "daemon")]
    pub(crate) const ALL: [Self; 4] = [Self::Claimed, Self::Observed, Self::Same, Self::Either];

    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Observed => "observed",
            Self::Same => "same",
            Self::Either => "either",
        }
    }
}
