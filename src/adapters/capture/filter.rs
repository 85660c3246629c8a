//! The classic BPF program that the kernel runs on every packet before user space sees it.
//!
//! It lets through UDP to a knock port with about the length of a knock, unless this host sent it. Slightly wrong
//! lengths pass, so that the gate counts them under their own reason (`proto/README.md`, section 6, step 1).
//!
//! It is for cooked packet sockets. Offsets from the network header are right on every link type.

use std::io;

use socket2::SockFilter;

use super::assembler::{Label, Line, assemble};
use crate::model::datagram::PACKET_MAX;
use crate::model::settings::PORTS_MAX;

/// Longest UDP payload that passes; a knock has 132 to 516 bytes, a packet of fwknop 140 to 1500.
pub const PAYLOAD_PASSED: u32 = PACKET_MAX as u32;

const UDP_HEADER: u32 = 8;
/// Bytes of a passed packet that the kernel hands over: the longest headers (IPv4 with all options) and the payload.
pub const SNAP: u32 = 60 + UDP_HEADER + PAYLOAD_PASSED;

// linux/filter.h: offsets at which an absolute load finds the network header and the packet's metadata
pub(super) const NETWORK_HEADER: u32 = 0xfff0_0000;
pub(super) const PROTOCOL: u32 = 0xffff_f000;
pub(super) const PACKET_TYPE: u32 = 0xffff_f000 + 4;
// linux/if_packet.h, linux/if_ether.h, RFC 791, RFC 8200
pub(super) const OUTGOING: u32 = 4;
pub(super) const ETHERTYPE_IPV4: u32 = 0x0800;
pub(super) const ETHERTYPE_IPV6: u32 = 0x86dd;
pub(super) const PROTOCOL_UDP: u32 = 17;
pub(super) const MORE_FRAGMENTS_OR_OFFSET: u32 = 0x3fff;
pub(super) const IPV6_HEADER: u32 = 40;

// linux/bpf_common.h: class, width and mode of an operation
pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const LOAD_HALF: u16 = 0x28;
pub(super) const LOAD_BYTE: u16 = 0x30;
pub(super) const LOAD_HALF_AT_X: u16 = 0x48;
pub(super) const X_CONSTANT: u16 = 0x01;
pub(super) const X_IPV4_HEADER_LEN: u16 = 0xb1;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_GREATER: u16 = 0x25;
pub(super) const IF_AT_LEAST: u16 = 0x35;
pub(super) const IF_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

struct Instruction {
    code: u16,
    operand: u32,
    if_true: Option<Label>,
    if_false: Option<Label>,
}

/// The program for these knock ports.
pub fn program(ports: &[u16]) -> io::Result<Vec<SockFilter>> {
    if ports.is_empty() || ports.len() > PORTS_MAX {
        let count = ports.len();
        let why = format!("{count} knock ports; the kernel filter takes 1 to {PORTS_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(assemble(&lines(ports), |instruction, distance| {
        let Instruction { code, operand, .. } = *instruction;
        let short = |label: Option<Label>| {
            label.map_or(0, |label| u8::try_from(distance(label)).unwrap_or(u8::MAX))
        };
        match (code, instruction.if_true) {
            (JUMP, Some(label)) => {
                let distance = u32::try_from(distance(label)).unwrap_or(u32::MAX);
                SockFilter::new(JUMP, 0, 0, distance)
            }
            (_, if_true) => {
                SockFilter::new(code, short(if_true), short(instruction.if_false), operand)
            }
        }
    }))
}

fn lines(ports: &[u16]) -> Vec<Line<Instruction>> {
    let instruction = |code, operand, if_true, if_false| {
        Line::Instruction(Instruction {
            code,
            operand,
            if_true,
            if_false,
        })
    };
    let plain = |code, operand| instruction(code, operand, None, None);
    let jump_if = |code, operand, label| instruction(code, operand, Some(label), None);
    let drop_unless = |code, operand| instruction(code, operand, None, Some(Label::Drop));
    let mut lines = vec![
        plain(LOAD_WORD, PACKET_TYPE),
        jump_if(IF_EQUAL, OUTGOING, Label::Drop),
        // the kernel's protocol first: packets of other protocols may start like an IP header
        plain(LOAD_WORD, PROTOCOL),
        jump_if(IF_EQUAL, ETHERTYPE_IPV6, Label::Ipv6),
        drop_unless(IF_EQUAL, ETHERTYPE_IPV4),
        plain(LOAD_BYTE, NETWORK_HEADER),
        drop_unless(IF_AT_LEAST, 0x45),
        jump_if(IF_GREATER, 0x4f, Label::Drop),
        plain(LOAD_BYTE, NETWORK_HEADER + 9),
        drop_unless(IF_EQUAL, PROTOCOL_UDP),
        plain(LOAD_HALF, NETWORK_HEADER + 6),
        jump_if(IF_ANY_BIT, MORE_FRAGMENTS_OR_OFFSET, Label::Drop),
        plain(X_IPV4_HEADER_LEN, NETWORK_HEADER),
        jump_if(JUMP, 0, Label::Udp),
        Line::Label(Label::Ipv6),
        plain(LOAD_BYTE, NETWORK_HEADER),
        plain(AND, 0xf0),
        drop_unless(IF_EQUAL, 0x60),
        plain(LOAD_BYTE, NETWORK_HEADER + 6),
        drop_unless(IF_EQUAL, PROTOCOL_UDP),
        plain(X_CONSTANT, IPV6_HEADER),
        Line::Label(Label::Udp),
        plain(LOAD_HALF_AT_X, NETWORK_HEADER + 4),
        drop_unless(IF_AT_LEAST, UDP_HEADER + 1),
        jump_if(IF_GREATER, UDP_HEADER + PAYLOAD_PASSED, Label::Drop),
        plain(LOAD_HALF_AT_X, NETWORK_HEADER + 2),
    ];
    lines.extend(
        ports
            .iter()
            .map(|port| jump_if(IF_EQUAL, u32::from(*port), Label::Pass)),
    );
    lines.extend([
        Line::Label(Label::Drop),
        plain(RETURN, 0),
        Line::Label(Label::Pass),
        plain(RETURN, SNAP),
    ]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_count_is_limited() {
        assert!(program(&[]).is_err());
        assert!(program(&[1; PORTS_MAX + 1]).is_err());
        // every distance must fit into a byte
        let longest = program(&[1; PORTS_MAX]).unwrap();
        assert!(longest.len() <= 42, "{} instructions", longest.len());
    }
}
