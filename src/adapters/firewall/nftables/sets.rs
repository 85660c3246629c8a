//! The sets of the table: what each is called, and which fields make its key.
//!
//! Owns the layout of every key, so that the rules that look one up and the elements that stand in it can't differ. Pure.

/// A set of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Set {
    /// One address to one port of the gate.
    Grants4,
    Grants6,
    /// A network, or a range of ports, of the gate.
    Networks4,
    Networks6,
    /// One address to one port of a host behind the gate.
    Forward4,
    Forward6,
    /// A network, or a range of ports, of a host behind the gate.
    ForwardNetworks4,
    ForwardNetworks6,
    /// One address to the gate's echo reply.
    Icmp4,
    Icmp6,
    /// One address to the echo reply of a host behind the gate.
    ForwardIcmp4,
    ForwardIcmp6,
    /// From one address and a port of the gate to a host behind it and its port.
    Nat4,
    Nat6,
    /// From a network, or to a range of ports of the gate: who is led, by one of the maps that follow.
    Led4,
    Led6,
    /// From a port of the gate to a host behind it and its port.
    Lead4,
    Lead6,
    /// From a range of ports of the gate to the same ports of a host behind it.
    Keep4,
    Keep6,
    /// What has come through a port of the gate, at a host behind it.
    Through4,
    Through6,
    ThroughNetworks4,
    ThroughNetworks6,
    /// The same, where the host sees the gate's address.
    Masquerade4,
    Masquerade6,
    MasqueradeNetworks4,
    MasqueradeNetworks6,
    /// The grants themselves, which no rule looks at.
    Record,
}

/// What an element of a set lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// To the gate itself.
    Gate,
    /// To a host behind the gate.
    Behind,
    /// To a port of the gate that leads elsewhere.
    Led,
    /// To a host behind the gate, by a port of the gate.
    Through,
    /// The same, with the gate's address as the source.
    Masquerade,
}

/// What a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Single addresses and ports.
    Exact,
    /// Single addresses alone.
    Icmp,
    /// Networks and ranges of ports.
    Ranges,
}

/// A field of a key; each fills whole 4-byte words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Source4,
    Source6,
    Target4,
    Target6,
    Protocol,
    Port,
    /// See [`RANK_MIDDLE`].
    Rank,
    /// A plain number.
    Number,
}

/// What every rule puts in for the rank when it looks up a set of ranges.
///
/// The kernel refuses an element whose first or last corner lies inside another one, but grants do overlap: a user may be let in from
/// 10.0.0.0/8 and another from 10.0.0.0/16. So each element of a set of ranges has one dimension more, which spans
/// `RANK_MIDDLE - n ..= RANK_MIDDLE + n` with a number `n` that only grows: its corners lie outside all that came before, while a
/// look-up, always in the middle, finds every one of them. A corner that lies outside in one dimension lies outside.
///
/// The number reads the same from both ends, because `nft` swaps the bytes of a mark when it loads what it has listed.
pub(super) const RANK_MIDDLE: u32 = 0x8000_0080;

/// Elements of the record at most: twice the grants that the ledger keeps. A full set refuses the next one (ENFILE).
const RECORDS_MAX: u32 = 1 << 17;

impl Set {
    pub(super) const ALL: [Self; 29] = [
        Self::Grants4,
        Self::Grants6,
        Self::Networks4,
        Self::Networks6,
        Self::Forward4,
        Self::Forward6,
        Self::ForwardNetworks4,
        Self::ForwardNetworks6,
        Self::Icmp4,
        Self::Icmp6,
        Self::ForwardIcmp4,
        Self::ForwardIcmp6,
        Self::Nat4,
        Self::Nat6,
        Self::Led4,
        Self::Led6,
        Self::Lead4,
        Self::Lead6,
        Self::Keep4,
        Self::Keep6,
        Self::Through4,
        Self::Through6,
        Self::ThroughNetworks4,
        Self::ThroughNetworks6,
        Self::Masquerade4,
        Self::Masquerade6,
        Self::MasqueradeNetworks4,
        Self::MasqueradeNetworks6,
        Self::Record,
    ];

    /// The set that an opening stands in. Ports are forwarded, ICMP is not.
    pub(super) fn of(kind: Kind, v6: bool, door: Door) -> Self {
        let (four, six) = match (door, kind) {
            (Door::Gate, Kind::Exact) => (Self::Grants4, Self::Grants6),
            (Door::Gate, Kind::Ranges) => (Self::Networks4, Self::Networks6),
            (Door::Gate, Kind::Icmp) => (Self::Icmp4, Self::Icmp6),
            (Door::Behind, Kind::Exact) => (Self::Forward4, Self::Forward6),
            (Door::Behind, Kind::Ranges) => (Self::ForwardNetworks4, Self::ForwardNetworks6),
            (Door::Behind, Kind::Icmp) => (Self::ForwardIcmp4, Self::ForwardIcmp6),
            (Door::Led, _) => (Self::Led4, Self::Led6),
            (Door::Through, Kind::Exact | Kind::Icmp) => (Self::Through4, Self::Through6),
            (Door::Through, Kind::Ranges) => (Self::ThroughNetworks4, Self::ThroughNetworks6),
            (Door::Masquerade, Kind::Exact | Kind::Icmp) => (Self::Masquerade4, Self::Masquerade6),
            (Door::Masquerade, Kind::Ranges) => {
                (Self::MasqueradeNetworks4, Self::MasqueradeNetworks6)
            }
        };
        if v6 { six } else { four }
    }

    /// What its elements let through; `None` for the record and for maps.
    pub(super) fn door(self) -> Option<Door> {
        match self {
            Self::Grants4
            | Self::Grants6
            | Self::Networks4
            | Self::Networks6
            | Self::Icmp4
            | Self::Icmp6 => Some(Door::Gate),
            Self::Forward4
            | Self::Forward6
            | Self::ForwardNetworks4
            | Self::ForwardNetworks6
            | Self::ForwardIcmp4
            | Self::ForwardIcmp6 => Some(Door::Behind),
            Self::Through4 | Self::Through6 | Self::ThroughNetworks4 | Self::ThroughNetworks6 => {
                Some(Door::Through)
            }
            Self::Masquerade4
            | Self::Masquerade6
            | Self::MasqueradeNetworks4
            | Self::MasqueradeNetworks6 => Some(Door::Masquerade),
            Self::Led4 | Self::Led6 => Some(Door::Led),
            Self::Nat4
            | Self::Nat6
            | Self::Lead4
            | Self::Lead6
            | Self::Keep4
            | Self::Keep6
            | Self::Record => None,
        }
    }

    /// The fields of what a map gives; `None` for a set.
    pub(super) fn data_fields(self) -> Option<&'static [Field]> {
        match self {
            Self::Nat4 | Self::Lead4 => Some(&[Field::Target4, Field::Port]),
            Self::Nat6 | Self::Lead6 => Some(&[Field::Target6, Field::Port]),
            Self::Keep4 => Some(&[Field::Target4]),
            Self::Keep6 => Some(&[Field::Target6]),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grants4 => "grants4",
            Self::Grants6 => "grants6",
            Self::Networks4 => "networks4",
            Self::Networks6 => "networks6",
            Self::Forward4 => "forward4",
            Self::Forward6 => "forward6",
            Self::ForwardNetworks4 => "forward_networks4",
            Self::ForwardNetworks6 => "forward_networks6",
            Self::Icmp4 => "icmp4",
            Self::Icmp6 => "icmp6",
            Self::ForwardIcmp4 => "forward_icmp4",
            Self::ForwardIcmp6 => "forward_icmp6",
            Self::Nat4 => "nat4",
            Self::Nat6 => "nat6",
            Self::Led4 => "led4",
            Self::Led6 => "led6",
            Self::Lead4 => "lead4",
            Self::Lead6 => "lead6",
            Self::Keep4 => "keep4",
            Self::Keep6 => "keep6",
            Self::Through4 => "through4",
            Self::Through6 => "through6",
            Self::ThroughNetworks4 => "through_networks4",
            Self::ThroughNetworks6 => "through_networks6",
            Self::Masquerade4 => "masquerade4",
            Self::Masquerade6 => "masquerade6",
            Self::MasqueradeNetworks4 => "masquerade_networks4",
            Self::MasqueradeNetworks6 => "masquerade_networks6",
            Self::Record => "record",
        }
    }

    /// The fields of a key, in order.
    pub(super) fn fields(self) -> &'static [Field] {
        use Field::{Number, Port, Protocol, Rank, Source4, Source6, Target4, Target6};
        match self {
            Self::Grants4 | Self::Nat4 => &[Source4, Protocol, Port],
            Self::Grants6 | Self::Nat6 => &[Source6, Protocol, Port],
            Self::Networks4 | Self::Led4 => &[Source4, Protocol, Port, Rank],
            Self::Networks6 | Self::Led6 => &[Source6, Protocol, Port, Rank],
            Self::Forward4 | Self::Through4 | Self::Masquerade4 => {
                &[Source4, Target4, Protocol, Port]
            }
            Self::Forward6 | Self::Through6 | Self::Masquerade6 => {
                &[Source6, Target6, Protocol, Port]
            }
            Self::ForwardNetworks4 | Self::ThroughNetworks4 | Self::MasqueradeNetworks4 => {
                &[Source4, Target4, Protocol, Port, Rank]
            }
            Self::ForwardNetworks6 | Self::ThroughNetworks6 | Self::MasqueradeNetworks6 => {
                &[Source6, Target6, Protocol, Port, Rank]
            }
            Self::Icmp4 => &[Source4],
            Self::Icmp6 => &[Source6],
            Self::ForwardIcmp4 => &[Source4, Target4],
            Self::ForwardIcmp6 => &[Source6, Target6],
            Self::Lead4 | Self::Lead6 | Self::Keep4 | Self::Keep6 => &[Protocol, Port],
            Self::Record => &[Number, Number, Number],
        }
    }

    /// Whether its elements are ranges. Adding one to such a set copies the set in the kernel, so the plain grants never go there.
    pub(super) fn ranges(self) -> bool {
        self.fields().contains(&Field::Rank)
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            _ if self.ranges() => Kind::Ranges,
            _ if self.fields().contains(&Field::Port) => Kind::Exact,
            _ => Kind::Icmp,
        }
    }

    /// Whether its elements have two corners. Those without a rank never overlap, and may be several grants' own.
    pub(super) fn intervals(self) -> bool {
        self.ranges() || matches!(self, Self::Keep4 | Self::Keep6)
    }

    pub(super) fn v6(self) -> bool {
        self.fields().contains(&Field::Source6)
            || self
                .data_fields()
                .is_some_and(|data| data.contains(&Field::Target6))
    }

    /// The number of this set within a batch.
    pub(super) fn id(self) -> u32 {
        self as u32 + 1
    }

    /// How many elements it may hold. Only the record says, which bounds the others with it: the kernel makes room at once for
    /// as many as are said, 16 MiB a set for a million.
    pub(super) fn size(self) -> Option<u32> {
        (self == Self::Record).then_some(RECORDS_MAX)
    }

    /// The length of a key in bytes.
    pub(super) fn key_len(self) -> u32 {
        padded_len(self.fields())
    }

    /// The type by which `nft list` prints keys.
    pub(super) fn key_type(self) -> u32 {
        nft_type(self.fields())
    }
}

/// The length of these fields in bytes.
pub(super) fn padded_len(fields: &[Field]) -> u32 {
    fields.iter().map(|field| field.padded_len()).sum()
}

/// Their type: six bits a field, the numbers of nft's own types.
pub(super) fn nft_type(fields: &[Field]) -> u32 {
    fields
        .iter()
        .fold(0, |all, field| all << 6 | field.nft_type())
}

impl Field {
    /// Bytes that count; the rest up to four are zero.
    pub(super) fn len(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Source4 | Self::Target4 | Self::Rank | Self::Number => 4,
            Self::Source6 | Self::Target6 => 16,
        }
    }

    pub(super) fn padded_len(self) -> u32 {
        self.len().next_multiple_of(4)
    }

    fn nft_type(self) -> u32 {
        match self {
            Self::Source4 | Self::Target4 => 7,
            Self::Source6 | Self::Target6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            // a mark: the only plain 32-bit number that nft prints without being told more
            Self::Rank | Self::Number => 19,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_lengths_and_types_that_nft_computes() {
        assert_eq!(Set::Grants4.key_len(), 12);
        assert_eq!(Set::Grants4.key_type(), (7 << 12) | (12 << 6) | 13);
        assert_eq!(Set::ForwardNetworks6.key_len(), 16 + 16 + 4 + 4 + 4);
        // the kernel takes 64 bytes of key and nft five fields of a type
        assert!(
            Set::ALL
                .iter()
                .all(|set| set.key_len() <= 64 && set.fields().len() <= 5)
        );
    }

    #[test]
    fn exact_grants_never_share_a_set_with_ranges() {
        for set in Set::ALL {
            if let Some(door) = set.door() {
                assert_eq!(Set::of(set.kind(), set.v6(), door), set);
            }
            assert_eq!(set.v6(), set.name().ends_with('6'), "{}", set.name());
        }
        assert!(!Set::Record.ranges());
    }

    #[test]
    fn the_rank_that_rules_look_up_is_the_same_in_either_order_of_bytes() {
        assert_eq!(RANK_MIDDLE, RANK_MIDDLE.swap_bytes());
    }
}
