//! The expressions of a rule in a table of iptables, so that iptables lists it as one of its own. Pure.
//!
//! Sizes and fields are those of linux/netfilter/x_tables.h and its siblings.

use super::expressions::{self, Expression};
use crate::adapters::netlink::attributes::Attributes;
use crate::core::host_rules::AcceptRule;
use crate::model::address::Family;

/// The kernel wants the length of each match to be a multiple of this.
const ALIGNMENT: usize = 8;
const COMMENT_LEN: usize = 256;
const SCTP_CHUNKS_LEN: usize = 256;
const SCTP_DESTINATION_PORTS: u32 = 2;

/// `-p tcp -m tcp --dport 22 -m mark --mark V/M -m comment --comment TEXT -j ACCEPT`.
pub(super) fn accept(rule: AcceptRule) -> Vec<Expression> {
    let service = rule.service;
    let [load, is_protocol] = expressions::protocol(service.protocol());
    let (name, info) = match service.range() {
        Some(range) => ports(service.protocol_name(), range),
        None if service.protocol_name() == "icmpv6" => ("icmp6", echo_request(Family::V6)),
        None => ("icmp", echo_request(Family::V4)),
    };
    let mark = [rule.mark.value, rule.mark.mask, 0].map(u32::to_ne_bytes);
    let mut comment = rule.comment().into_bytes();
    comment.resize(COMMENT_LEN, 0);
    vec![
        load,
        is_protocol,
        xt_match(name, 0, info),
        xt_match("mark", 1, mark.concat()),
        xt_match("comment", 0, comment),
        expressions::counter(),
        expressions::accept(),
    ]
}

fn ports(protocol: &'static str, (first, last): (u16, u16)) -> (&'static str, Vec<u8>) {
    let to = [first, last].map(u16::to_ne_bytes).concat();
    let any = [0, u16::MAX].map(u16::to_ne_bytes).concat();
    let info = if protocol == "sctp" {
        let chunk_flags = [[0xff, 0, 0]; 4].concat();
        [
            &to[..],
            &[0; 4],
            &[0; SCTP_CHUNKS_LEN],
            &[0; 4],
            &chunk_flags,
            &[0; 4],
            &SCTP_DESTINATION_PORTS.to_ne_bytes(),
            &[0; 4],
        ]
        .concat()
    } else {
        [any, to, vec![0; 4]].concat()
    };
    (protocol, info)
}

fn echo_request(family: Family) -> Vec<u8> {
    vec![family.pick(8, 128), 0, 0xff, 0]
}

fn xt_match(name: &str, revision: u32, mut info: Vec<u8>) -> Expression {
    info.resize(info.len().next_multiple_of(ALIGNMENT), 0);
    let data = Attributes::new()
        .text(1, name)
        .number(2, revision)
        .bytes(3, &info);
    expressions::named("match", &data)
}
