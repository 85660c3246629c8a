//! The closed list of reasons: why the gate drops a datagram or refuses a knock.
//!
//! The two tables below, `Drop::row` and `Rule::row`, are the only list: the gate decides by these values,
//! `counters` counts them, logs and metrics print their names. Steps are those of `proto/README.md`, section 6.

use std::fmt;

use postern_fwknop::Reason as Fault;
use postern_proto::Malformed;
use serde::{Deserialize, Serialize};

/// Why a datagram is dropped: it is not authenticated or not fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drop {
    Length,
    UnknownHint,
    BadMac,
    BadSeal,
    /// The timestamp is of another step than the hint.
    StepMismatch,
    TooOld,
    TooNew,
    Replay,
    /// The same bytes again within a second.
    Duplicate,
    /// The body breaks a rule of the format.
    Malformed(Malformed),
    /// It looks like a packet of fwknop, and too many others waited to be tried with the users' keys.
    FwknopBusy,
    /// It looks like a packet of fwknop, and no user's key opens it or it breaks a rule of that format.
    Fwknop(Fault),
    /// A packet to a port of a sequence is not the next hit, and no first one.
    WrongHit,
}

/// Why an authenticated knock is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The user's time is over.
    Expired,
    /// The packet comes from elsewhere. Only the gate refuses it: an order does not say where a packet came from.
    From,
    Networks,
    Prefix,
    GrantTo,
    Target,
    Family,
    Service,
    UnknownService,
    /// A packet of fwknop asks to forward a port to where no service of the user leads.
    Nat,
    /// A packet of fwknop asks for a command that is not among the user's commands.
    Command,
    /// A packet of fwknop states another user name than the user must.
    Username,
    /// A packet of fwknop was sent to another address of the gate than the user must. Only the gate refuses it.
    Destination,
    Code(CodeFault),
    /// Longer than `max_duration`. Only the monitor refuses it: the gate shortens the duration.
    Duration,
    /// No such user. Only the monitor refuses it.
    User,
    /// The user has too many grants. Only the monitor refuses it: it knows which are open.
    MaxGrants,
    Quota,
    Store,
    /// The user has used as many encrypted sequences as are remembered.
    UsedSequences,
    /// Whether another gate admitted the knock nobody can tell now.
    Coordinator,
    Firewall,
}

/// What is wrong with a one-time code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeFault {
    Missing,
    Wrong,
    Used,
    Blocked,
}

/// Why a knock is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Drop(Drop),
    Refuse(Rule),
}

/// Among the counters, the first rule of a malformed body, and the first fault of a packet of fwknop, and hits of sequences.
const RULED: usize = 32;
const FWKNOP: usize = RULED + Malformed::ALL.len() + 1;
const WRONG_HIT: usize = FWKNOP + Fault::ALL.len();
const COORDINATOR: usize = WRONG_HIT + 1;
const USED_SEQUENCES: usize = COORDINATOR + 1;

impl Drop {
    const fn row(self) -> (usize, u8, &'static str) {
        match self {
            Self::Length => (0, 1, "length"),
            Self::UnknownHint => (1, 2, "unknown-hint"),
            Self::BadMac => (2, 3, "bad-mac"),
            Self::BadSeal => (3, 4, "bad-seal"),
            Self::StepMismatch => (4, 6, "step-mismatch"),
            Self::TooOld => (5, 7, "too-old"),
            Self::TooNew => (6, 7, "too-new"),
            Self::Replay => (7, 8, "replay"),
            Self::Duplicate => (8, 8, "duplicate"),
            Self::Malformed(rule) => (RULED + rule as usize, 5, "malformed"),
            Self::FwknopBusy => (FWKNOP - 1, 2, "fwknop-busy"),
            Self::Fwknop(fault) => (FWKNOP + fault as usize, fwknop_step(fault), "fwknop"),
            Self::WrongHit => (WRONG_HIT, 2, "wrong-hit"),
        }
    }

    /// The name in the specification, in logs and in metrics.
    pub const fn name(self) -> &'static str {
        self.row().2
    }

    pub const fn step(self) -> u8 {
        self.row().1
    }

    /// The rule of the format that a malformed body or a packet of fwknop breaks.
    pub fn rule(self) -> Option<&'static str> {
        match self {
            Self::Malformed(rule) => Some(rule.as_str()),
            Self::Fwknop(fault) => Some(fault.as_str()),
            _ => None,
        }
    }
}

/// The step of `proto/README.md` that corresponds to a check of fwknop's format.
const fn fwknop_step(fault: Fault) -> u8 {
    match fault {
        Fault::Length | Fault::FirstByte | Fault::Alphabet | Fault::Blocks => 1,
        Fault::Mac => 3,
        Fault::SpareBits
        | Fault::ModeEcb
        | Fault::ModeCfb
        | Fault::ModeOfb
        | Fault::ModeCtr
        | Fault::Key => 4,
        _ => 5,
    }
}

impl Rule {
    /// Place among the counters, step, name, sentence. A name that is a config key is that key.
    #[rustfmt::skip]
    const fn row(self) -> (usize, u8, &'static str, &'static str) {
        match self {
            Self::Expired => (9, 9, "expired", "the user has expired"),
            Self::From => (10, 9, "from", "the packet comes from outside the user's from"),
            Self::Networks => (11, 9, "networks", "the address lies outside the user's networks"),
            Self::Prefix => (12, 9, "max_prefix", "the network is wider than the user's max_prefix"),
            Self::GrantTo => (13, 9, "grant_to", "the user's grant_to does not allow this kind of address"),
            Self::Target => (14, 9, "targets", "the target is not among the user's targets, or a service of the knock forwards by itself"),
            Self::Family => (15, 9, "family", "the allow address and the host behind the gate are of different families"),
            Self::Service => (16, 9, "services", "a service is not among the user's services"),
            Self::UnknownService => (17, 9, "unknown-service", "a named service is not defined at this gate"),
            Self::Code(CodeFault::Missing) => (18, 9, "code", "the user needs a one-time code, and the knock has none"),
            Self::Code(CodeFault::Wrong) => (19, 9, "code", "the one-time code is wrong, or the clock of the device that made it is"),
            Self::Code(CodeFault::Used) => (20, 9, "code", "the one-time code, or a later one, was used before; each is valid once"),
            Self::Code(CodeFault::Blocked) => (21, 9, "code", "the user sent too many wrong one-time codes; codes are not checked for now"),
            Self::Duration => (22, 9, "max_duration", "the duration exceeds the user's max_duration"),
            Self::User => (23, 9, "unknown-user", "the monitor has no such user"),
            Self::MaxGrants => (24, 9, "max_grants", "the user has as many grants as max_grants allows"),
            Self::Quota => (25, 10, "quota", "the user's quota is used up"),
            Self::Nat => (28, 9, "forward", "no service of the user forwards this port to this host and port"),
            Self::Command => (29, 9, "commands", "the command is not among the user's commands"),
            Self::Username => (30, 9, "username", "the packet states another user name than the user's username"),
            Self::Destination => (31, 9, "destination", "the packet was sent to an address outside the user's destination"),
            Self::Store => (26, 11, "store", "the mark could not be stored"),
            Self::UsedSequences => (USED_SEQUENCES, 11, "used-sequences", "the user has used 4,096 encrypted sequences, and no more are remembered; give the user another name and passphrase"),
            Self::Coordinator => (COORDINATOR, 11, "coordinator", "the coordinator did not answer, so another gate may have admitted the knock"),
            Self::Firewall => (27, 12, "firewall", "the firewall did not open the grant"),
        }
    }

    pub const fn name(self) -> &'static str {
        self.row().2
    }

    pub const fn step(self) -> u8 {
        self.row().1
    }

    pub const fn sentence(self) -> &'static str {
        self.row().3
    }
}

impl CodeFault {
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
    /// How many there are.
    pub const COUNT: usize = USED_SEQUENCES + 1;

    pub const fn step(self) -> u8 {
        match self {
            Self::Drop(reason) => reason.step(),
            Self::Refuse(rule) => rule.step(),
        }
    }

    /// Its place in [`Reason::all`].
    pub const fn index(self) -> usize {
        match self {
            Self::Drop(reason) => reason.row().0,
            Self::Refuse(rule) => rule.row().0,
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
        const RULES: [Rule; 23] = [
            Rule::Expired,
            Rule::From,
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
            Rule::MaxGrants,
            Rule::Quota,
            Rule::Store,
            Rule::Firewall,
            Rule::Nat,
            Rule::Command,
            Rule::Username,
            Rule::Destination,
        ];
        let malformed = Malformed::ALL.iter().map(|rule| Drop::Malformed(*rule));
        DROPS
            .into_iter()
            .map(Self::Drop)
            .chain(RULES.into_iter().map(Self::Refuse))
            .chain(malformed.map(Self::Drop))
            .chain([Self::Drop(Drop::FwknopBusy)])
            .chain(Fault::ALL.map(|fault| Self::Drop(Drop::Fwknop(fault))))
            .chain([Self::Drop(Drop::WrongHit)])
            .chain([Rule::Coordinator, Rule::UsedSequences].map(Self::Refuse))
    }
}

/// `drop replay`, `drop malformed (padding)`, `refuse quota`, `refuse code (used)`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, name, detail) = match self {
            Self::Drop(reason) => ("drop", reason.name(), reason.rule()),
            Self::Refuse(rule @ Rule::Code(fault)) => ("refuse", rule.name(), Some(fault.name())),
            Self::Refuse(rule) => ("refuse", rule.name(), None),
        };
        write!(f, "{verdict} {name}")?;
        detail.map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let places: Vec<usize> = Reason::all().map(Reason::index).collect();
        assert_eq!(places, (0..Reason::COUNT).collect::<Vec<_>>());
        let mut names: Vec<String> = Reason::all().map(|reason| reason.to_string()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Reason::COUNT);
    }
}
