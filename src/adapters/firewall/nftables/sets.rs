//! The sets of the table: their names, and the fields of their keys.
//!
//! Rules look up the keys that elements are stored under, so both take the layout from here. Pure.

use crate::model::address::Family;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Set {
    pub(super) side: Side,
    pub(super) kind: Kind,
    pub(super) family: Family,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Side {
    Gate,
    Forward,
    /// To a port of the gate that leads to another port of the gate.
    Local,
    /// To a port of the gate that is redirected to a host behind it.
    Redirect,
    /// To a host behind the gate, after the redirection.
    Redirected,
    /// The same, if the host must see the gate's address as the source.
    Masquerade,
    /// None: the set stores the grants themselves.
    Record,
    /// All packets, before rules that a file may hold look at them.
    Live,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Exact,
    /// One source address, for echo requests.
    Icmp,
    Range,
    /// From a port to a host and its port, for every source.
    PortMap,
    /// From a port range to a host, for every source.
    PortRangeMap,
    Numbers,
    /// No source: all packets of these protocols.
    Protocols,
}

/// A field of a key. Each fills whole 4-byte words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Source,
    Target,
    /// In the last byte of its word, so that a saved table opens nothing when it is loaded again: `nft` lists only the first
    /// byte, which is zero, and loads the rule without the change of byte order.
    Protocol,
    Port,
    Rank,
    Number,
}

/// The rank that every rule looks up in a set of ranges.
///
/// The kernel refuses an element whose first or last corner lies inside another element, but grants do overlap:
/// one user may be let in from 10.0.0.0/8 and another from 10.0.0.0/16. So each range has one more dimension,
/// from `RANK_MIDDLE - n` to `RANK_MIDDLE + n`, with a number `n` that only grows. Its corners lie outside all
/// earlier ranges, and a look-up in the middle finds every range.
///
/// The number is the same in both byte orders, because `nft` swaps the bytes of a mark when it loads a listing.
pub(super) const RANK_MIDDLE: u32 = 0x8000_0080;

/// Limit of elements in the record: twice the grants that the ledger keeps. A full set refuses the next one (ENFILE).
const RECORDS_MAX: u32 = 1 << 17;

const SETS: [(Side, Kind, &str); 16] = [
    (Side::Gate, Kind::Exact, "grants"),
    (Side::Gate, Kind::Range, "networks"),
    (Side::Gate, Kind::Icmp, "icmp"),
    (Side::Forward, Kind::Exact, "forward"),
    (Side::Forward, Kind::Range, "forward_networks"),
    (Side::Forward, Kind::Icmp, "forward_icmp"),
    (Side::Local, Kind::Exact, "local"),
    (Side::Local, Kind::Range, "local_networks"),
    (Side::Redirect, Kind::Exact, "nat"),
    (Side::Redirect, Kind::Range, "led"),
    (Side::Redirect, Kind::PortMap, "lead"),
    (Side::Redirect, Kind::PortRangeMap, "keep"),
    (Side::Redirected, Kind::Exact, "through"),
    (Side::Redirected, Kind::Range, "through_networks"),
    (Side::Masquerade, Kind::Exact, "masquerade"),
    (Side::Masquerade, Kind::Range, "masquerade_networks"),
];

impl Set {
    /// The grants themselves; no rule reads it.
    pub(super) const RECORD: Self = Self::new(Side::Record, Kind::Numbers, Family::V4);
    /// Of the other table: see `live`.
    pub(super) const LIVE: Self = Self::new(Side::Live, Kind::Protocols, Family::V4);

    pub(super) const fn new(side: Side, kind: Kind, family: Family) -> Self {
        Self { side, kind, family }
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        let both = |(side, kind, _)| Family::BOTH.map(|family| Self::new(side, kind, family));
        SETS.into_iter().flat_map(both).chain([Self::RECORD])
    }

    /// Those of the other table: grants of single addresses and ports, and [`Self::LIVE`].
    pub(super) fn all_live() -> impl Iterator<Item = Self> {
        let is_single =
            |set: &Self| matches!(set.side, Side::Gate | Side::Forward) && !set.has_rank();
        let grants = Self::all().filter(is_single);
        grants.chain([Self::RECORD, Self::LIVE])
    }

    pub(super) fn name(self) -> String {
        if self == Self::LIVE {
            return "live".to_owned();
        }
        let found = SETS
            .iter()
            .find(|(side, kind, _)| (*side, *kind) == (self.side, self.kind));
        found.map_or_else(
            || "record".to_owned(),
            |(_, _, name)| format!("{name}{}", self.family.pick(4, 6)),
        )
    }

    pub(super) fn fields(self) -> &'static [Field] {
        use Field::{Number, Port, Protocol, Rank, Source, Target};
        let has_target = matches!(
            self.side,
            Side::Forward | Side::Redirected | Side::Masquerade
        );
        match (self.kind, has_target) {
            (Kind::Exact, false) => &[Source, Protocol, Port],
            (Kind::Exact, true) => &[Source, Target, Protocol, Port],
            (Kind::Range, false) => &[Source, Protocol, Port, Rank],
            (Kind::Range, true) => &[Source, Target, Protocol, Port, Rank],
            (Kind::Icmp, false) => &[Source, Protocol],
            (Kind::Icmp, true) => &[Source, Target, Protocol],
            (Kind::PortMap | Kind::PortRangeMap, _) => &[Protocol, Port],
            (Kind::Numbers, _) => &[Number, Number, Number],
            // a second field, because nft keeps the byte order of a single one
            (Kind::Protocols, _) => &[Protocol, Rank],
        }
    }

    /// The fields that a map returns; none for a set.
    pub(super) fn data_fields(self) -> &'static [Field] {
        match (self.side, self.kind) {
            (Side::Redirect, Kind::Exact | Kind::PortMap) => &[Field::Target, Field::Port],
            (Side::Redirect, Kind::PortRangeMap) => &[Field::Target],
            _ => &[],
        }
    }

    pub(super) fn is_map(self) -> bool {
        !self.data_fields().is_empty()
    }

    /// Whether its ranges have a rank. The kernel copies such a set for every change, so exact grants have sets of
    /// their own: opening one must not take longer with many grants (`benches/nftables.rs`).
    pub(super) fn has_rank(self) -> bool {
        self.kind == Kind::Range
    }

    /// Whether its elements have two corners. Those without a rank never overlap.
    pub(super) fn has_intervals(self) -> bool {
        matches!(self.kind, Kind::Range | Kind::PortRangeMap)
    }

    /// The limit of its elements. Only the record has one, which bounds the others: the kernel allocates memory for
    /// as many elements as a limit names.
    pub(super) fn size(self) -> Option<u32> {
        (self == Self::RECORD).then_some(RECORDS_MAX)
    }

    /// Bytes of a field that count; the rest of its words are zero.
    pub(super) fn field_len(self, field: Field) -> u32 {
        match field {
            Field::Port => 2,
            Field::Protocol | Field::Rank | Field::Number => 4,
            Field::Source | Field::Target => self.family.pick(4, 16),
        }
    }

    pub(super) fn field_words(self, field: Field) -> u32 {
        self.field_len(field).div_ceil(4)
    }

    pub(super) fn len_of(self, fields: &[Field]) -> u32 {
        let words: u32 = fields.iter().map(|field| self.field_words(*field)).sum();
        words * 4
    }

    /// The type by which `nft list` prints these fields: six bits each.
    pub(super) fn nft_type_of(self, fields: &[Field]) -> u32 {
        fields.iter().fold(0, |all, field| {
            all << 6
                | match field {
                    Field::Source | Field::Target => self.family.pick(7, 8),
                    Field::Protocol => 12,
                    Field::Port => 13,
                    // a mark: the only plain 32-bit number that nft prints without more information
                    Field::Rank | Field::Number => 19,
                }
        })
    }
}
