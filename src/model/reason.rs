//! The closed list of reasons: why a datagram was dropped, why a knock was refused, and a counter for each.
//!
//! The gate decides with them, the log prints them, status counts them and the tests ask for them; nobody has a list of his own.

use std::fmt;

use postern_proto::Malformed;
use serde::{Deserialize, Serialize};

/// Why a datagram was not authenticated, or not fresh: PROTOCOL section 6, steps 1 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drop {
    /// Step 1: not between 132 and 516 bytes.
    Length,
    /// Step 2: no user has this hint now.
    UnknownHint,
    /// Step 3: no user under this hint made the mac.
    BadMac,
    /// Step 4: the sealed part does not open.
    BadSeal,
    /// Step 5: the body breaks a rule of section 5.
    Malformed(Malformed),
    /// Step 6: the timestamp is of another step than the hint.
    StepMismatch,
    /// Step 7: made longer ago than the window.
    TooOld,
    /// Step 7: made further in the future than the window.
    TooNew,
    /// Step 8: seen before.
    Replay,
    /// Step 8: the same bytes within a second.
    Duplicate,
}

/// Why an authenticated knock was refused: steps 9 to 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Step 9: the address lies outside the user's `networks`.
    Networks,
    /// Step 9: the network is wider than `max_prefix`.
    Prefix,
    /// Step 9: `grant_to` wants the other kind of address.
    GrantTo,
    /// Step 9: the target is not among the user's `targets`, or stands beside a service that forwards by itself.
    Target,
    /// Step 9: target, or the host of a forward, and allow address are of different families.
    Family,
    /// Step 9: a service is not among the user's `services`.
    Service,
    /// Step 9: a named service that this gate does not know.
    UnknownService,
    /// Step 9: the user's knocks need a one-time code, and this one has none that counts.
    Code(CodeFault),
    /// Step 9, at the monitor only: the duration is past the maximum (the gate clips it).
    Duration,
    /// The monitor only: no such user.
    User,
    /// Step 10: the user's quota is used up.
    Quota,
    /// Step 11: the mark could not be put on stable storage.
    Store,
    /// Step 12: the firewall did not do it.
    Firewall,
}

/// What is wrong with the one-time code of a user who must send one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeFault {
    /// There is none.
    Missing,
    /// It is not the one of this time.
    Wrong,
    /// It was right, and has been accepted before, or a later one has.
    Used,
    /// Too many wrong ones came before it, so it was not looked at.
    Blocked,
}

/// Either kind of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Dropped.
    Drop(Drop),
    /// Refused.
    Refuse(Rule),
}

impl Drop {
    /// The reason's name in the specification, in logs and in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::UnknownHint => "unknown-hint",
            Self::BadMac => "bad-mac",
            Self::BadSeal => "bad-seal",
            Self::Malformed(_) => "malformed",
            Self::StepMismatch => "step-mismatch",
            Self::TooOld => "too-old",
            Self::TooNew => "too-new",
            Self::Replay => "replay",
            Self::Duplicate => "duplicate",
        }
    }

    /// The step of PROTOCOL section 6 that it fails at.
    pub const fn step(self) -> u8 {
        match self {
            Self::Length => 1,
            Self::UnknownHint => 2,
            Self::BadMac => 3,
            Self::BadSeal => 4,
            Self::Malformed(_) => 5,
            Self::StepMismatch => 6,
            Self::TooOld | Self::TooNew => 7,
            Self::Replay | Self::Duplicate => 8,
        }
    }

    /// The rule of section 5 that a malformed body broke.
    pub fn rule(self) -> Option<&'static str> {
        match self {
            Self::Malformed(rule) => Some(rule.as_str()),
            _ => None,
        }
    }
}

impl Rule {
    /// The rule's name in logs and in counters; where it is a key of the config, that key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Networks => "networks",
            Self::Prefix => "max_prefix",
            Self::GrantTo => "grant_to",
            Self::Target => "targets",
            Self::Family => "family",
            Self::Service => "services",
            Self::UnknownService => "unknown-service",
            Self::Code(_) => "code",
            Self::Duration => "max_duration",
            Self::User => "unknown-user",
            Self::Quota => "quota",
            Self::Store => "store",
            Self::Firewall => "firewall",
        }
    }

    /// The step of PROTOCOL section 6 that it stands at.
    pub const fn step(self) -> u8 {
        match self {
            Self::Quota => 10,
            Self::Store => 11,
            Self::Firewall => 12,
            _ => 9,
        }
    }

    /// What the rule says, as a sentence for the log.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Networks => "the address lies outside the user's networks",
            Self::Prefix => "the network is wider than the user's max_prefix",
            Self::GrantTo => "the user's grant_to does not allow this kind of address",
            Self::Target => {
                "the target is not among the user's targets, or stands beside a service that forwards by itself"
            }
            Self::Family => "the host behind the gate and the allow address are not of one family",
            Self::Service => "a service is not among the user's services",
            Self::UnknownService => "a named service is not defined at this gate",
            Self::Code(CodeFault::Missing) => {
                "the user's knocks need a one-time code, and this one has none"
            }
            Self::Code(CodeFault::Wrong) => {
                "the one-time code is wrong, or the clock of what made it is"
            }
            Self::Code(CodeFault::Used) => {
                "the one-time code, or a later one, has been used, and each counts once"
            }
            Self::Code(CodeFault::Blocked) => {
                "too many wrong one-time codes came from this user, so none is looked at for now"
            }
            Self::Duration => "the duration is past the user's max_duration",
            Self::User => "the monitor knows no such user",
            Self::Quota => "the user's quota is used up",
            Self::Store => "the mark could not be stored, so nothing is granted",
            Self::Firewall => "the firewall did not open it",
        }
    }
}

impl CodeFault {
    /// The fault's name in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Used => "used",
            Self::Blocked => "blocked",
        }
    }
}

impl Reason {
    /// The step of PROTOCOL section 6 that says no.
    pub const fn step(self) -> u8 {
        match self {
            Self::Drop(reason) => reason.step(),
            Self::Refuse(rule) => rule.step(),
        }
    }

    /// How many there are.
    pub const COUNT: usize = 25 + Malformed::ALL.len();

    /// Its place in [`Reason::all`].
    pub fn index(self) -> usize {
        match self {
            Self::Drop(Drop::Length) => 0,
            Self::Drop(Drop::UnknownHint) => 1,
            Self::Drop(Drop::BadMac) => 2,
            Self::Drop(Drop::BadSeal) => 3,
            Self::Drop(Drop::StepMismatch) => 4,
            Self::Drop(Drop::TooOld) => 5,
            Self::Drop(Drop::TooNew) => 6,
            Self::Drop(Drop::Replay) => 7,
            Self::Drop(Drop::Duplicate) => 8,
            Self::Refuse(Rule::Networks) => 9,
            Self::Refuse(Rule::Prefix) => 10,
            Self::Refuse(Rule::GrantTo) => 11,
            Self::Refuse(Rule::Target) => 12,
            Self::Refuse(Rule::Family) => 13,
            Self::Refuse(Rule::Service) => 14,
            Self::Refuse(Rule::UnknownService) => 15,
            Self::Refuse(Rule::Code(fault)) => 16 + fault as usize,
            Self::Refuse(Rule::Duration) => 20,
            Self::Refuse(Rule::User) => 21,
            Self::Refuse(Rule::Quota) => 22,
            Self::Refuse(Rule::Store) => 23,
            Self::Refuse(Rule::Firewall) => 24,
            Self::Drop(Drop::Malformed(rule)) => 25 + rule as usize,
        }
    }

    /// Every reason once.
    pub fn all() -> impl Iterator<Item = Self> {
        const DROPS: [Drop; 9] = [
            Drop::Length,
            Drop::UnknownHint,
            Drop::BadMac,
            Drop::BadSeal,
            Drop::StepMismatch,
            Drop::TooOld,
            Drop::TooNew,
            Drop::Replay,
            Drop::Duplicate,
        ];
        const RULES: [Rule; 16] = [
            Rule::Networks,
            Rule::Prefix,
            Rule::GrantTo,
            Rule::Target,
            Rule::Family,
            Rule::Service,
            Rule::UnknownService,
            Rule::Code(CodeFault::Missing),
            Rule::Code(CodeFault::Wrong),
            Rule::Code(CodeFault::Used),
            Rule::Code(CodeFault::Blocked),
            Rule::Duration,
            Rule::User,
            Rule::Quota,
            Rule::Store,
            Rule::Firewall,
        ];
        let malformed = Malformed::ALL.iter().map(|rule| Drop::Malformed(*rule));
        DROPS
            .into_iter()
            .map(Self::Drop)
            .chain(RULES.into_iter().map(Self::Refuse))
            .chain(malformed.map(Self::Drop))
    }
}

/// `drop replay`, `drop malformed (padding)`, `refuse quota`, `refuse code (used)`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop(reason) => match reason.rule() {
                Some(rule) => write!(f, "drop {} ({rule})", reason.name()),
                None => write!(f, "drop {}", reason.name()),
            },
            Self::Refuse(rule @ Rule::Code(fault)) => {
                write!(f, "refuse {} ({})", rule.name(), fault.name())
            }
            Self::Refuse(rule) => write!(f, "refuse {}", rule.name()),
        }
    }
}

/// How often each reason was given, and how many knocks were admitted. As a message, a list: admitted, then [`Reason::all`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<u64>", try_from = "Vec<u64>")]
pub struct Counters {
    /// Knocks that passed every step up to the quota.
    pub admitted: u64,
    given: [u64; Reason::COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            admitted: 0,
            given: [0; Reason::COUNT],
        }
    }
}

impl From<Counters> for Vec<u64> {
    fn from(counters: Counters) -> Self {
        std::iter::once(counters.admitted)
            .chain(counters.given)
            .collect()
    }
}

impl TryFrom<Vec<u64>> for Counters {
    type Error = &'static str;

    fn try_from(list: Vec<u64>) -> Result<Self, Self::Error> {
        let (admitted, given) = list.split_first().ok_or("there are no counters")?;
        Ok(Self {
            admitted: *admitted,
            given: given.try_into().map_err(|_| "not one counter a reason")?,
        })
    }
}

impl Counters {
    /// Counts one more.
    pub fn count(&mut self, reason: Reason) {
        self.add(reason, 1);
    }

    /// Counts so many more.
    pub fn add(&mut self, reason: Reason, more: u64) {
        if let Some(counter) = self.given.get_mut(reason.index()) {
            *counter = counter.saturating_add(more);
        }
    }

    /// How often this reason was given.
    pub fn of(&self, reason: Reason) -> u64 {
        self.given.get(reason.index()).copied().unwrap_or_default()
    }

    /// Every reason with its counter.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::all().map(|reason| (reason, self.of(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let places: Vec<usize> = Reason::all().map(Reason::index).collect();
        assert_eq!(places, (0..Reason::COUNT).collect::<Vec<_>>());
        let mut counters = Counters::default();
        for reason in Reason::all() {
            counters.count(reason);
        }
        assert!(counters.iter().all(|(_, n)| n == 1));
    }

    #[test]
    fn counters_come_through_a_message_only_with_one_number_for_each_reason() {
        let mut counters = Counters {
            admitted: 7,
            ..Counters::default()
        };
        counters.count(Reason::Refuse(Rule::Quota));
        let text = serde_json::to_string(&counters).unwrap();
        assert_eq!(serde_json::from_str::<Counters>(&text).unwrap(), counters);
        for wrong in [
            "[]",
            "[1]",
            &text.replace('[', "[0,"),
            &text.replacen("7,", "", 1),
            &text.replace('7', "-7"),
            "null",
        ] {
            assert!(serde_json::from_str::<Counters>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_two_reasons_are_said_alike() {
        let mut said: Vec<String> = Reason::all().map(|reason| reason.to_string()).collect();
        said.sort();
        said.dedup();
        assert_eq!(said.len(), Reason::COUNT);
    }
}
