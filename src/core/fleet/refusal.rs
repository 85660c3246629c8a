//! Why a publication of another gate is not carried out.

use crate::model::reason::Rule;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No key of this gate opens it: forged, cut, or of another fleet.
    Seal,
    /// It was sealed with the key, and cannot be read.
    Unreadable,
    /// A heartbeat that is old, or older than one that came before.
    Stale,
    /// A heartbeat of a clock that is too far ahead of this gate's.
    Clock,
    /// Another gate sends heartbeats in this gate's name.
    Twin,
    /// The grant has ended, by this gate's clock.
    Ended,
    /// The grant was closed after it was made.
    Closed,
    /// There is no room for more grants of other gates.
    Full,
    /// This gate's policy for the user.
    Policy(Rule),
}

impl Refusal {
    pub fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Unreadable => "unreadable",
            Self::Stale => "stale",
            Self::Clock => "clock",
            Self::Twin => "member",
            Self::Ended => "ended",
            Self::Closed => "closed",
            Self::Full => "full",
            Self::Policy(rule) => rule.name(),
        }
    }

    pub fn sentence(self) -> &'static str {
        match self {
            Self::Seal => "no fleet key of this gate opens it",
            Self::Unreadable => "it is sealed with the fleet key and cannot be read",
            Self::Stale => "the heartbeat is old",
            Self::Clock => "its clock is more than 90s ahead of this gate's",
            Self::Twin => "another gate has this gate's cluster.member; give each its own",
            Self::Ended => "the grant has ended, by this gate's clock",
            Self::Closed => "the grant was closed",
            Self::Full => "there is no room for more grants of other gates",
            Self::Policy(rule) => rule.sentence(),
        }
    }
}

/// What is refused, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    /// `None` if it could not be opened.
    pub member: Option<String>,
    /// Of a grant.
    pub user: Option<String>,
}
