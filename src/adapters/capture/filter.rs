//! The classic BPF program that the kernel runs on every packet before it costs user space anything.
//!
//! It lets through UDP to a knock port, roughly of a knock's length, not our own outgoing packets; must not judge more than
//! that. Lengths that are wrong but near pass, so that step 1 of PROTOCOL section 6 can count them under their own reason.
//!
//! For a cooked packet socket only. Everything is addressed by network header, which is right on every link type.

use std::io;

use socket2::SockFilter;

use crate::model::settings::PORTS_MAX;

/// Longest UDP payload that passes; a knock has 132 to 516 bytes.
pub const PAYLOAD_PASSED: u32 = 600;

const UDP_HEADER: u32 = 8;
/// What the kernel hands over of a packet that passes: the longest headers (IPv4 with all options) and the payload.
pub const SNAP: u32 = 60 + UDP_HEADER + PAYLOAD_PASSED;

// linux/filter.h: where an absolute load finds the network header and what the kernel knows of the packet.
const NETWORK_HEADER: u32 = 0xfff0_0000;
const PROTOCOL: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
// linux/if_packet.h, linux/if_ether.h, RFC 791, RFC 8200
const OUTGOING: u32 = 4;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const PROTOCOL_UDP: u32 = 17;
const MORE_FRAGMENTS_OR_OFFSET: u32 = 0x3fff;
const IPV6_HEADER: u32 = 40;

// linux/bpf_common.h: operations, each class, width and mode or'ed together.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_AT_X: u16 = 0x48;
const X_CONSTANT: u16 = 0x01;
const X_IPV4_HEADER_LEN: u16 = 0xb1;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// The program for these knock ports.
///
/// # Errors
/// `InvalidInput` for no port or more than [`PORTS_MAX`].
pub fn program(ports: &[u16]) -> io::Result<Vec<SockFilter>> {
    if ports.is_empty() || ports.len() > PORTS_MAX {
        let why = format!(
            "{} knock ports; the kernel filter takes 1 to {PORTS_MAX}",
            ports.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(assemble(&steps(ports))
        .into_iter()
        .map(|op| SockFilter::new(op.code, op.yes, op.no, op.k))
        .collect())
}

/// Where a step goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Ipv6,
    Udp,
    Pass,
    Drop,
}

/// One step; `here` is what others jump to it by.
struct Step {
    here: Option<To>,
    code: u16,
    k: u32,
    yes: To,
    no: To,
}

fn steps(ports: &[u16]) -> Vec<Step> {
    let at = |here, code, k, yes, no| Step {
        here: Some(here),
        code,
        k,
        yes,
        no,
    };
    let check = |code, k, yes, no| Step {
        here: None,
        code,
        k,
        yes,
        no,
    };
    let load = |code, k| Step {
        here: None,
        code,
        k,
        yes: To::Next,
        no: To::Next,
    };
    let mut steps = vec![
        load(LOAD_WORD, PACKET_TYPE),
        check(IF_EQUAL, OUTGOING, To::Drop, To::Next),
        // the kernel's word for the family first, then the packet's own: other protocols may start with the same nibble
        load(LOAD_WORD, PROTOCOL),
        check(IF_EQUAL, ETHERTYPE_IPV6, To::Ipv6, To::Next),
        check(IF_EQUAL, ETHERTYPE_IPV4, To::Next, To::Drop),
        load(LOAD_BYTE, NETWORK_HEADER),
        check(IF_AT_LEAST, 0x45, To::Next, To::Drop),
        check(IF_GREATER, 0x4f, To::Drop, To::Next),
        load(LOAD_BYTE, NETWORK_HEADER + 9),
        check(IF_EQUAL, PROTOCOL_UDP, To::Next, To::Drop),
        load(LOAD_HALF, NETWORK_HEADER + 6),
        check(IF_ANY_BIT, MORE_FRAGMENTS_OR_OFFSET, To::Drop, To::Next),
        load(X_IPV4_HEADER_LEN, NETWORK_HEADER),
        check(JUMP, 0, To::Udp, To::Udp),
        at(To::Ipv6, LOAD_BYTE, NETWORK_HEADER, To::Next, To::Next),
        load(AND, 0xf0),
        check(IF_EQUAL, 0x60, To::Next, To::Drop),
        load(LOAD_BYTE, NETWORK_HEADER + 6),
        check(IF_EQUAL, PROTOCOL_UDP, To::Next, To::Drop),
        load(X_CONSTANT, IPV6_HEADER),
        at(
            To::Udp,
            LOAD_HALF_AT_X,
            NETWORK_HEADER + 4,
            To::Next,
            To::Next,
        ),
        check(IF_AT_LEAST, UDP_HEADER + 1, To::Next, To::Drop),
        check(IF_GREATER, UDP_HEADER + PAYLOAD_PASSED, To::Drop, To::Next),
        load(LOAD_HALF_AT_X, NETWORK_HEADER + 2),
    ];
    steps.extend(
        ports
            .iter()
            .map(|port| check(IF_EQUAL, u32::from(*port), To::Pass, To::Next)),
    );
    steps.push(at(To::Drop, RETURN, 0, To::Next, To::Next));
    steps.push(at(To::Pass, RETURN, SNAP, To::Next, To::Next));
    steps
}

/// One instruction, as the kernel wants it.
struct Op {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

/// Turns names into distances. The program has at most 42 steps, so that every distance fits into its byte.
fn assemble(steps: &[Step]) -> Vec<Op> {
    let distance = |from: usize, to: To| -> u8 {
        let place = steps
            .iter()
            .position(|step| step.here == Some(to))
            .unwrap_or(from + 1);
        u8::try_from(place.saturating_sub(from + 1)).unwrap_or(u8::MAX)
    };
    let encode = |(from, step): (usize, &Step)| match step.code {
        JUMP => Op {
            code: JUMP,
            yes: 0,
            no: 0,
            k: u32::from(distance(from, step.yes)),
        },
        code => Op {
            code,
            yes: distance(from, step.yes),
            no: distance(from, step.no),
            k: step.k,
        },
    };
    steps.iter().enumerate().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_lands_on_a_step_and_none_goes_back() {
        for count in [1, 2, PORTS_MAX] {
            let steps = steps(&vec![62201; count]);
            let program = assemble(&steps);
            assert!(program.len() <= 42, "{} steps", program.len());
            for (place, (op, step)) in program.iter().zip(&steps).enumerate() {
                for (to, distance) in [(step.yes, op.yes), (step.no, op.no)] {
                    let distance = if op.code == JUMP {
                        op.k as usize
                    } else {
                        usize::from(distance)
                    };
                    let landing = steps.get(place + 1 + distance);
                    let right = if to == To::Next {
                        distance == 0
                    } else {
                        landing.is_some_and(|step| step.here == Some(to))
                    };
                    assert!(right, "step {place} of {count} ports");
                }
            }
        }
    }

    #[test]
    fn no_port_and_too_many_ports_are_refused() {
        assert!(program(&[]).is_err());
        assert!(program(&[1; PORTS_MAX + 1]).is_err());
        assert!(program(&[1; PORTS_MAX]).is_ok());
    }
}
