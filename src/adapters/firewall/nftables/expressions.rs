//! The expressions of rules: load into a register, compare, look up, give a verdict. Pure.
//!
//! Numbers are those of linux/netfilter/nf_tables.h.

use ipnet::IpNet;

use super::sets::{Field, RANK_MIDDLE, Set};
use crate::adapters::firewall::{LOGGED_AT_ONCE, LOGGED_BYTES, LOGGED_EACH_SECOND};
use crate::adapters::netlink::attributes::{Attributes, octets};
use crate::model::address::Family;
use crate::model::packet_mark::PacketMark;

pub(super) type Expression = Attributes;

pub(super) const UDP: u8 = 17;
pub(super) const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
pub(super) const NF_ACCEPT: u32 = 1;

const NF_DROP: u32 = 0;
const NFT_JUMP: u32 = -3_i32 as u32;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const VERDICT_REGISTER: u32 = 0;
const SCRATCH: u32 = 1;
/// The first of sixteen 4-byte registers, in which keys are put together.
const FIRST_REGISTER: u32 = 8;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
const META_MARK: u32 = 3;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
const HTON: u32 = 1;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_PORT: u32 = 12;
const ORIGINAL: u8 = 0;
const CT_ESTABLISHED: u32 = 2;
const CT_RELATED: u32 = 4;
const TCP_FLAGS_OFFSET: u32 = 13;
const FIN_SYN_RST_ACK: u8 = 0x17;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
/// The status bit of a connection whose destination was translated.
const CT_STATUS_DNAT: u32 = 1 << 5;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
const NAT_DNAT: u32 = 1;

pub(super) fn family_number(family: Family) -> u8 {
    family.pick(2, 10)
}

pub(super) fn of_family(family: Family) -> [Expression; 2] {
    [
        meta(META_FAMILY, SCRATCH),
        compare(EQUAL, &[family_number(family)]),
    ]
}

pub(super) fn protocol(number: u8) -> [Expression; 2] {
    [meta(META_PROTOCOL, SCRATCH), compare(EQUAL, &[number])]
}

pub(super) fn port(first: u16, last: u16) -> Vec<Expression> {
    let load = payload(TRANSPORT_HEADER, 2, 2, SCRATCH);
    if first == last {
        return vec![load, compare(EQUAL, &first.to_be_bytes())];
    }
    let [from, to] = [(AT_LEAST, first), (AT_MOST, last)]
        .map(|(operator, port)| compare(operator, &port.to_be_bytes()));
    vec![load, from, to]
}

/// The length in the UDP header is within the range.
pub(super) fn udp_length(first: u16, last: u16) -> [Expression; 3] {
    [
        payload(TRANSPORT_HEADER, 4, 2, SCRATCH),
        compare(AT_LEAST, &first.to_be_bytes()),
        compare(AT_MOST, &last.to_be_bytes()),
    ]
}

/// The packet is an echo request of this family. Other ICMP stays out: without it, path MTU discovery and IPv6
/// neighbour discovery break.
pub(super) fn echo_request(family: Family) -> Vec<Expression> {
    let (number, kind) = family.pick((1, 8), (58, 128));
    let load = payload(TRANSPORT_HEADER, 0, 1, SCRATCH);
    let [meta, is_protocol] = protocol(number);
    vec![meta, is_protocol, load, compare(EQUAL, &[kind])]
}

pub(super) fn target_in(network: IpNet) -> Vec<Expression> {
    let family = Family::of_network(network);
    let (offset, length) = family.pick((16, 4), (24, 16));
    let mut expressions = of_family(family).to_vec();
    expressions.extend([
        payload(NETWORK_HEADER, offset, length, SCRATCH),
        mask(&octets(network.netmask())),
        compare(EQUAL, &octets(network.network())),
    ]);
    expressions
}

/// The port that the connection was made to, within the range, whatever was translated since.
pub(super) fn port_of_sender(first: u16, last: u16) -> Vec<Expression> {
    let mut expressions = port(first, last);
    if let Some(load) = expressions.first_mut() {
        *load = original_port(SCRATCH);
    }
    expressions
}

fn original_port(to: u32) -> Expression {
    let data = Attributes::new()
        .number(1, to)
        .number(2, CT_PORT)
        .bytes(3, &[ORIGINAL]);
    named("ct", &data)
}

/// Packets of known connections, and ICMP errors about them. Other related packets would open a new connection, such as one that
/// a helper of the kernel expects.
///
/// To the kernel a packet that asks for a new TCP connection is established too if its addresses and ports are those of
/// a connection that it has not forgotten.
pub(super) fn established() -> [Vec<Expression>; 4] {
    let in_state = |state: u32| {
        [
            ct(CT_STATE),
            mask(&state.to_ne_bytes()),
            compare(NOT_EQUAL, &[0; 4]),
        ]
    };
    let other_protocol = [meta(META_PROTOCOL, SCRATCH), compare(NOT_EQUAL, &[TCP])];
    [
        [&tcp_request(NOT_EQUAL)[..], &in_state(CT_ESTABLISHED)].concat(),
        [&other_protocol[..], &in_state(CT_ESTABLISHED)].concat(),
        [&protocol(ICMP)[..], &in_state(CT_RELATED)].concat(),
        [&protocol(ICMPV6)[..], &in_state(CT_RELATED)].concat(),
    ]
}

/// The packet asks for a new TCP connection.
pub(super) fn opens_tcp() -> Vec<Expression> {
    tcp_request(EQUAL)
}

fn tcp_request(operator: u32) -> Vec<Expression> {
    only_syn_of(FIN_SYN_RST_ACK, operator)
}

pub(super) fn syn_without_ack() -> Vec<Expression> {
    only_syn_of(SYN_ACK, EQUAL)
}

/// Of these flags of a TCP segment only SYN is set.
fn only_syn_of(flags: u8, operator: u32) -> Vec<Expression> {
    let [meta, is_tcp] = protocol(TCP);
    let load = payload(TRANSPORT_HEADER, TCP_FLAGS_OFFSET, 1, SCRATCH);
    vec![
        meta,
        is_tcp,
        load,
        mask(&[flags]),
        compare(operator, &[SYN]),
    ]
}

/// The connection is not known: the packet would open it.
pub(super) fn not_established() -> [Expression; 2] {
    [
        ct(CT_STATE),
        compare(NOT_EQUAL, &CT_ESTABLISHED.to_ne_bytes()),
    ]
}

pub(super) fn translated() -> [Expression; 3] {
    [
        ct(CT_STATUS),
        mask(&CT_STATUS_DNAT.to_ne_bytes()),
        compare(NOT_EQUAL, &[0; 4]),
    ]
}

pub(super) fn to_this_host() -> [Expression; 2] {
    [
        kind_of_destination(),
        compare(EQUAL, &RTN_LOCAL.to_ne_bytes()),
    ]
}

/// A socket of this host receives the packet: the expression that reads from the socket ends the rule without one.
pub(super) fn has_socket() -> [Expression; 2] {
    const TRANSPARENT: u32 = 0;
    [
        expression("socket", &[(1, TRANSPARENT), (2, SCRATCH)]),
        compare(AT_MOST, &[1]),
    ]
}

pub(super) fn to_another_host() -> [Expression; 2] {
    [
        kind_of_destination(),
        compare(NOT_EQUAL, &RTN_LOCAL.to_ne_bytes()),
    ]
}

fn kind_of_destination() -> Expression {
    expression(
        "fib",
        &[(1, SCRATCH), (2, FIB_RESULT_ADDRTYPE), (3, FIB_DADDR)],
    )
}

/// The map has an element for the packet.
pub(super) fn in_map(map: Set) -> Vec<Expression> {
    let mut expressions = load_key(map, PortOf::Packet);
    expressions.push(lookup(map, Some(FIRST_REGISTER)));
    expressions
}

pub(super) fn redirect(map: Set) -> Vec<Expression> {
    let mut expressions = in_map(map);
    let family = u32::from(family_number(map.family));
    let mut numbers = vec![(1, NAT_DNAT), (2, family), (3, FIRST_REGISTER)];
    if let [address, _port] = map.data_fields() {
        numbers.push((5, FIRST_REGISTER + map.field_words(*address)));
    }
    expressions.push(expression("nat", &numbers));
    expressions
}

/// Leads the packet to this port of the gate.
pub(super) fn to_own_port(port: u16) -> [Expression; 2] {
    let value = Attributes::new().bytes(1, &port.to_be_bytes());
    let load = Attributes::new()
        .number(1, FIRST_REGISTER)
        .nested(2, &value);
    [
        named("immediate", &load),
        expression("redir", &[(1, FIRST_REGISTER)]),
    ]
}

pub(super) fn masquerade() -> Expression {
    expression("masq", &[])
}

pub(super) fn in_set(set: Set, port: PortOf) -> Vec<Expression> {
    let mut expressions = load_key(set, port);
    expressions.push(lookup(set, None));
    expressions
}

fn lookup(set: Set, to: Option<u32>) -> Expression {
    let data = Attributes::new()
        .text(1, &set.name())
        .number(2, FIRST_REGISTER);
    match to {
        Some(register) => named("lookup", &data.number(3, register)),
        None => named("lookup", &data),
    }
}

/// Which port a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortOf {
    Packet,
    /// The one that the packet was sent to, before somebody translated it.
    Sender,
}

fn load_key(set: Set, port: PortOf) -> Vec<Expression> {
    let mut expressions = Vec::new();
    let mut register = FIRST_REGISTER;
    for field in set.fields() {
        let length = set.field_len(*field);
        let address = |offset| payload(NETWORK_HEADER, offset, length, register);
        match field {
            Field::Source => expressions.push(address(set.family.pick(12, 8))),
            Field::Target => expressions.push(address(set.family.pick(16, 24))),
            Field::Protocol => expressions.extend([
                meta(META_PROTOCOL, register),
                expression(
                    "byteorder",
                    &[(1, register), (2, register), (3, HTON), (4, 4), (5, 4)],
                ),
            ]),
            Field::Port => expressions.push(match port {
                PortOf::Packet => payload(TRANSPORT_HEADER, 2, 2, register),
                PortOf::Sender => original_port(register),
            }),
            // a constant, in a form that nft can list and load again
            Field::Rank | Field::Number => expressions.extend([
                meta(META_MARK, register),
                bitwise(register, &[0; 4], &RANK_MIDDLE.to_be_bytes()),
            ]),
        }
        register += set.field_words(*field);
    }
    expressions
}

/// Sets the bits of the mask in the packet mark to the value.
pub(super) fn set_packet_mark(value: u32, mask: u32) -> [Expression; 3] {
    [
        meta(META_MARK, SCRATCH),
        bitwise(SCRATCH, &(!mask).to_ne_bytes(), &value.to_ne_bytes()),
        expression("meta", &[(2, META_MARK), (3, SCRATCH)]),
    ]
}

/// The packet mark has the value within the mask.
pub(super) fn has_packet_mark(mark: PacketMark) -> [Expression; 3] {
    [
        meta(META_MARK, SCRATCH),
        mask(&mark.mask.to_ne_bytes()),
        compare(EQUAL, &mark.value.to_ne_bytes()),
    ]
}

pub(super) fn counter() -> Expression {
    expression("counter", &[])
}

/// Sends the headers of some packets to a group of NFLOG: a few of each second.
pub(super) fn log_some(group: u16) -> [Expression; 2] {
    let limit = Attributes::new()
        .bytes(1, &u64::from(LOGGED_EACH_SECOND).to_be_bytes())
        .bytes(2, &1_u64.to_be_bytes())
        .number(3, LOGGED_AT_ONCE);
    let log = Attributes::new()
        .bytes(1, &group.to_be_bytes())
        .number(3, LOGGED_BYTES);
    [named("limit", &limit), named("log", &log)]
}

/// Sends each packet to a group of NFLOG at once, up to this length.
pub(super) fn log(group: u16, copied: u16) -> Expression {
    let log = Attributes::new()
        .bytes(1, &group.to_be_bytes())
        .number(3, u32::from(copied))
        .bytes(4, &1_u16.to_be_bytes());
    named("log", &log)
}

pub(super) fn accept() -> Expression {
    verdict(&Attributes::new().number(1, NF_ACCEPT))
}

pub(super) fn drop() -> Expression {
    verdict(&Attributes::new().number(1, NF_DROP))
}

pub(super) fn jump(chain: &str) -> Expression {
    verdict(&Attributes::new().number(1, NFT_JUMP).text(2, chain))
}

fn verdict(verdict: &Attributes) -> Expression {
    let data = Attributes::new()
        .number(1, VERDICT_REGISTER)
        .nested(2, &Attributes::new().nested(2, verdict));
    named("immediate", &data)
}

fn ct(key: u32) -> Expression {
    expression("ct", &[(2, key), (1, SCRATCH)])
}

fn meta(key: u32, to: u32) -> Expression {
    expression("meta", &[(1, to), (2, key)])
}

fn payload(header: u32, offset: u32, length: u32, to: u32) -> Expression {
    expression("payload", &[(1, to), (2, header), (3, offset), (4, length)])
}

fn compare(operator: u32, value: &[u8]) -> Expression {
    let data = Attributes::new()
        .number(1, SCRATCH)
        .number(2, operator)
        .nested(3, &Attributes::new().bytes(1, value));
    named("cmp", &data)
}

fn mask(mask: &[u8]) -> Expression {
    bitwise(SCRATCH, mask, &vec![0; mask.len()])
}

fn bitwise(register: u32, mask: &[u8], xor: &[u8]) -> Expression {
    let data = Attributes::new()
        .number(1, register)
        .number(2, register)
        .number(3, u32::try_from(mask.len()).unwrap_or_default())
        .nested(4, &Attributes::new().bytes(1, mask))
        .nested(5, &Attributes::new().bytes(1, xor));
    named("bitwise", &data)
}

fn expression(name: &str, numbers: &[(u16, u32)]) -> Expression {
    let mut data = Attributes::new();
    for (kind, value) in numbers {
        data = data.number(*kind, *value);
    }
    named(name, &data)
}

pub(super) fn named(name: &str, data: &Attributes) -> Expression {
    Attributes::new().text(1, name).nested(2, data)
}
