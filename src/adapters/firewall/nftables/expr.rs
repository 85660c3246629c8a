//! The expressions that rules are made of, as the kernel takes them: load into a register, compare, look up, give a verdict.
//!
//! Owns registers, offsets and constants of the kernel's interface (linux/netfilter/nf_tables.h), and nothing of what the rules are for. Pure.

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute,
    Lookup, Meta, MetaKey, Operator, Payload, Register, Verdict, VerdictAttribute,
};

use super::sets::{Field, RANK_MIDDLE, Set};

/// An expression as it stands in a rule's list.
pub(super) type Expr = ListAttribute<ExpressionAttribute>;

pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;
pub(super) const UDP: u8 = 17;

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Of the sixteen 4-byte registers; keys are put together from here on.
const FIRST_REGISTER: u32 = 8;
const SCRATCH: Register = Register::Reg1;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_ESTABLISHED: u32 = 2;
const CT_ESTABLISHED_OR_RELATED: u32 = CT_ESTABLISHED | 4;
/// The status bit of a connection whose destination was translated.
const CT_STATUS_DNAT: u32 = 1 << 5;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
const NAT_DNAT: u32 = 1;
const ECHO_REQUEST: [(u8, u8); 2] = [(1, 8), (58, 128)];

pub(super) fn family(v6: bool) -> [Expr; 2] {
    meta_is(
        MetaKey::Nfproto,
        if v6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 },
    )
}

pub(super) fn protocol(number: u8) -> [Expr; 2] {
    meta_is(MetaKey::L4Proto, number)
}

fn meta_is(key: MetaKey, value: u8) -> [Expr; 2] {
    [meta(key, SCRATCH), compare(Operator::Equal, &[value])]
}

/// The destination port lies in the range.
pub(super) fn port(first: u16, last: u16) -> Vec<Expr> {
    let load = payload(TRANSPORT_HEADER, 2, 2, SCRATCH);
    if first == last {
        return vec![load, compare(Operator::Equal, &first.to_be_bytes())];
    }
    vec![
        load,
        compare(Operator::GreatherThanEqual, &first.to_be_bytes()),
        compare(Operator::LessThanEqual, &last.to_be_bytes()),
    ]
}

/// ICMP of this family, and of it only the echo request: to filter the rest would break path MTU discovery, and in IPv6 finding neighbours.
pub(super) fn echo_request(v6: bool) -> Vec<Expr> {
    let [v4, six] = ECHO_REQUEST;
    let (number, kind) = if v6 { six } else { v4 };
    let mut exprs = protocol(number).to_vec();
    exprs.extend([
        payload(TRANSPORT_HEADER, 0, 1, SCRATCH),
        compare(Operator::Equal, &[kind]),
    ]);
    exprs
}

/// The packet's target lies in the network.
pub(super) fn target_in(network: ipnet::IpNet) -> Vec<Expr> {
    let (v6, offset) = (
        network.addr().is_ipv6(),
        if network.addr().is_ipv6() { 24 } else { 16 },
    );
    let octets = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (mask, first) = (octets(network.netmask()), octets(network.network()));
    let mut exprs = family(v6).to_vec();
    exprs.push(payload(
        NETWORK_HEADER,
        offset,
        if v6 { 16 } else { 4 },
        SCRATCH,
    ));
    exprs.push(masked(&mask));
    exprs.push(compare(Operator::Equal, &first));
    exprs
}

/// The connection is known, or belongs to one that is.
pub(super) fn established() -> [Expr; 3] {
    [
        ct(CT_STATE),
        masked(&CT_ESTABLISHED_OR_RELATED.to_ne_bytes()),
        compare(Operator::NotEqual, &[0; 4]),
    ]
}

/// The connection is not known: the packet would open it.
pub(super) fn not_established() -> [Expr; 2] {
    [
        ct(CT_STATE),
        compare(Operator::NotEqual, &CT_ESTABLISHED.to_ne_bytes()),
    ]
}

/// The connection came to another address, or another port, than the packet goes to now.
pub(super) fn translated() -> [Expr; 3] {
    [
        ct(CT_STATUS),
        masked(&CT_STATUS_DNAT.to_ne_bytes()),
        compare(Operator::NotEqual, &[0; 4]),
    ]
}

/// The packet is for an address of this host.
pub(super) fn to_this_host() -> [Expr; 2] {
    let kind = other(
        "fib",
        &[
            (1, SCRATCH.into()),
            (2, FIB_RESULT_ADDRTYPE),
            (3, FIB_DADDR),
        ],
    );
    [kind, compare(Operator::Equal, &RTN_LOCAL.to_ne_bytes())]
}

/// Sends the connection to where the map says, if it says anything.
pub(super) fn lead_by(map: Set) -> Vec<Expr> {
    let data = map.data_fields().unwrap_or_default();
    let mut exprs = key_of(map);
    exprs.push(lookup(map, Some(FIRST_REGISTER)));
    let family = if map.v6() { NFPROTO_IPV6 } else { NFPROTO_IPV4 };
    let mut attributes = vec![(1, NAT_DNAT), (2, family.into()), (3, FIRST_REGISTER)];
    if let [address, _port] = data {
        attributes.push((5, FIRST_REGISTER + address.padded_len() / 4));
    }
    exprs.push(other("nat", &attributes));
    exprs
}

/// Gives the connection the gate's own address as its source.
pub(super) fn masquerade() -> Expr {
    other("masq", &[])
}

/// The packet is in the set.
pub(super) fn in_set(set: Set) -> Vec<Expr> {
    let mut exprs = key_of(set);
    exprs.push(lookup(set, None));
    exprs
}

fn lookup(set: Set, to: Option<u32>) -> Expr {
    let mut parts = vec![
        Lookup::Set(set.name().to_owned()),
        Lookup::SourceRegister(Register::from(FIRST_REGISTER)),
    ];
    parts.extend(to.map(|register| Lookup::DestinationRegister(Register::from(register))));
    Expressions::Lookup(parts).into()
}

/// Loads the key by which the packet is looked up.
fn key_of(set: Set) -> Vec<Expr> {
    let mut exprs = Vec::new();
    let mut register = FIRST_REGISTER;
    for field in set.fields() {
        let here = Register::from(register);
        match field {
            Field::Source4 => exprs.push(payload(NETWORK_HEADER, 12, 4, here)),
            Field::Source6 => exprs.push(payload(NETWORK_HEADER, 8, 16, here)),
            Field::Target4 => exprs.push(payload(NETWORK_HEADER, 16, 4, here)),
            Field::Target6 => exprs.push(payload(NETWORK_HEADER, 24, 16, here)),
            Field::Protocol => exprs.push(meta(MetaKey::L4Proto, here)),
            Field::Port => exprs.push(payload(TRANSPORT_HEADER, 2, 2, here)),
            // a constant, in a form that nft can list and load again: it knows none alone in a key
            Field::Rank | Field::Number => {
                exprs.extend([
                    meta(MetaKey::Mark, here),
                    bitwise(here, &[0; 4], &RANK_MIDDLE.to_be_bytes()),
                ]);
            }
        }
        register += field.padded_len() / 4;
    }
    exprs
}

/// Counts packets, for `nft list`.
pub(super) fn counter() -> Expr {
    other("counter", &[])
}

pub(super) fn accept() -> Expr {
    verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_ACCEPT))])
}

pub(super) fn drop() -> Expr {
    verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_DROP))])
}

pub(super) fn jump(chain: &str) -> Expr {
    verdict(vec![
        VerdictAttribute::Code(Verdict::Jump),
        VerdictAttribute::Chain(chain.to_owned()),
    ])
}

fn verdict(attributes: Vec<VerdictAttribute>) -> Expr {
    immediate(Register::Verdict, DataAttribute::Verdict(attributes))
}

fn immediate(to: Register, data: DataAttribute) -> Expr {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(to),
        Immediate::Data(data),
    ])
    .into()
}

fn ct(key: u32) -> Expr {
    other("ct", &[(2, key), (1, SCRATCH.into())])
}

fn meta(key: MetaKey, to: Register) -> Expr {
    Expressions::Meta(vec![Meta::DestinationRegister(to), Meta::Key(key)]).into()
}

fn payload(base: u32, offset: u32, length: u32, to: Register) -> Expr {
    Expressions::Payload(vec![
        Payload::DestinationRegister(to),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
    .into()
}

fn compare(operator: Operator, value: &[u8]) -> Expr {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(SCRATCH),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value.to_vec())),
    ])
    .into()
}

fn masked(mask: &[u8]) -> Expr {
    bitwise(SCRATCH, mask, &vec![0; mask.len()])
}

fn bitwise(register: Register, mask: &[u8], xor: &[u8]) -> Expr {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(register),
        Bitwise::DestinationRegister(register),
        Bitwise::Length(u32::try_from(mask.len()).unwrap_or_default()),
        Bitwise::Mask(DataAttribute::Value(mask.to_vec())),
        Bitwise::Xor(DataAttribute::Value(xor.to_vec())),
    ])
    .into()
}

/// An expression that the library has no words for; all its attributes are 32-bit numbers.
fn other(name: &str, attributes: &[(u16, u32)]) -> Expr {
    let attributes = attributes
        .iter()
        .map(|(kind, value)| DefaultNla::new(*kind, value.to_be_bytes().to_vec()))
        .collect();
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_puts_each_field_where_the_key_has_it() {
        let exprs = in_set(Set::ForwardNetworks6);
        let Some(ListAttribute::Element(lookup)) = exprs.last() else {
            panic!("{exprs:?}")
        };
        assert!(format!("{lookup:?}").contains("forward_networks6"));
        let registers: Vec<u32> = exprs
            .iter()
            .map(|expr| match expr {
                ListAttribute::Element(parts) => match &parts[1] {
                    ExpressionAttribute::Data(Expressions::Payload(parts)) => match &parts[0] {
                        Payload::DestinationRegister(register) => u32::from(*register),
                        other => panic!("{other:?}"),
                    },
                    ExpressionAttribute::Data(Expressions::Meta(parts)) => match &parts[0] {
                        Meta::DestinationRegister(register) => u32::from(*register),
                        other => panic!("{other:?}"),
                    },
                    _ => 0,
                },
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(registers, [8, 12, 16, 17, 18, 0, 0]);
    }

    #[test]
    fn the_port_of_a_translation_is_taken_from_behind_the_address_in_its_register() {
        for (map, port) in [(Set::Nat4, "[0, 0, 0, 9]"), (Set::Lead6, "[0, 0, 0, 12]")] {
            let text = format!("{:?}", lead_by(map).last().unwrap());
            assert!(text.contains(port), "{text}");
        }
        assert!(!format!("{:?}", lead_by(Set::Keep4).last().unwrap()).contains("[0, 0, 0, 9]"));
    }

    #[test]
    fn the_target_of_a_packet_is_masked_by_the_network_it_is_compared_with() {
        let text = format!("{:?}", target_in("10.1.2.3/8".parse().unwrap()));
        assert!(
            text.contains("Mask(Value([255, 0, 0, 0]))")
                && text.contains("Data(Value([10, 0, 0, 0]))"),
            "{text}"
        );
    }
}
