//! The eBPF program that drops in the kernel what no user's key can have made: its steps, and how they become instructions.
//!
//! For a cooked packet socket, whose packets begin with the network header. Lets through what the classic filter beside it
//! lets through, if it also has a knock's length and a hint that is in the map; counts what fails those two, so that no reason
//! goes uncounted (PROTOCOL section 6, steps 1 and 2). Must not judge more than that.

use std::os::fd::{AsRawFd, BorrowedFd};

use postern_proto::limits::{HINT_LEN, PACKET_MAX, PACKET_MIN};

use super::super::filter::SNAP;

/// Places in the array of counters.
pub(super) const WRONG_LENGTH: u32 = 0;
/// Places in the array of counters.
pub(super) const UNKNOWN_HINT: u32 = 1;
/// How many places the array of counters has.
pub(super) const COUNTERS: u32 = 2;

const UDP_HEADER: i32 = 8;

// linux/bpf.h: registers. 1 to 5 are a helper's arguments and lost in the call, 6 to 9 are kept, 10 is the frame.
const RESULT: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;
const FOURTH: u8 = 4;
const PACKET: u8 = 6;
const UDP_AT: u8 = 7;
const LENGTH: u8 = 8;
const COUNTER: u8 = 9;
const FRAME: u8 = 10;

// linux/bpf_common.h, linux/bpf.h: class, width and mode, or class, source and operation.
const LOAD_WORD: u8 = 0x61;
const LOAD_HALF: u8 = 0x69;
const LOAD_BYTE: u8 = 0x71;
const LOAD_MAP: u8 = 0x18;
const STORE_WORD: u8 = 0x63;
const ATOMIC_ADD: u8 = 0xdb;
const SET: u8 = 0xb7;
const COPY: u8 = 0xbf;
const ADD: u8 = 0x07;
const AND: u8 = 0x57;
const SHIFT_LEFT: u8 = 0x67;
const BIG_ENDIAN: u8 = 0xdc;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
const IF_EQUAL: u8 = 0x15;
const IF_NOT_EQUAL: u8 = 0x55;
const IF_GREATER: u8 = 0x25;
const IF_LESS: u8 = 0xa5;
const IF_ANY_BIT: u8 = 0x45;

// linux/bpf.h: helpers, the pseudo source register that makes a constant a map's descriptor, fields of __sk_buff
const MAP_LOOKUP: i32 = 1;
const LOAD_BYTES: i32 = 26;
const MAP_DESCRIPTOR: u8 = 1;
const PACKET_TYPE: i16 = 4;
const PROTOCOL: i16 = 16;

// linux/if_packet.h, linux/if_ether.h, RFC 791, RFC 8200
const OUTGOING: i32 = 4;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_UDP: i32 = 17;
const MORE_FRAGMENTS_OR_OFFSET: i32 = 0x3fff;
const IPV4_HEADER: i32 = 20;
const IPV6_HEADER: i32 = 40;

/// On the stack, below the frame: the headers, the hint, the place in an array.
const HEADERS: i16 = -40;
const HINT: i16 = -48;
const PLACE: i16 = -56;

/// Where a step goes on; also what others jump to it by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    Ipv6,
    Udp,
    Hint,
    CountLength,
    CountHint,
    Count,
    Drop,
}

/// One instruction, with the name of where it jumps to instead of a distance.
struct Step {
    here: Option<To>,
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    number: i32,
    jump: Option<To>,
}

/// The program for these knock ports, at least one, as the kernel takes it: eight bytes an instruction.
pub(super) fn program(ports: &[u16], hints: BorrowedFd<'_>, counters: BorrowedFd<'_>) -> Vec<u64> {
    assemble(&steps(ports, hints.as_raw_fd(), counters.as_raw_fd()))
}

fn steps(ports: &[u16], hints: i32, counters: i32) -> Vec<Step> {
    let passed = i32::try_from(SNAP).unwrap_or(i32::MAX);
    let shortest = i32::try_from(PACKET_MIN)
        .unwrap_or(i32::MAX)
        .saturating_add(UDP_HEADER);
    let longest = i32::try_from(PACKET_MAX)
        .unwrap_or(0)
        .saturating_add(UDP_HEADER);
    let hint_len = i32::try_from(HINT_LEN).unwrap_or(0);
    let mut steps = vec![
        copy(PACKET, FIRST),
        load(LOAD_WORD, RESULT, PACKET, PACKET_TYPE),
        branch(IF_EQUAL, RESULT, OUTGOING, To::Drop),
        // the kernel's word for the family first, then the packet's own: other protocols may start with the same nibble
        load(LOAD_WORD, RESULT, PACKET, PROTOCOL),
        branch(
            IF_EQUAL,
            RESULT,
            i32::from(ETHERTYPE_IPV6.to_be()),
            To::Ipv6,
        ),
        branch(
            IF_NOT_EQUAL,
            RESULT,
            i32::from(ETHERTYPE_IPV4.to_be()),
            To::Drop,
        ),
    ];
    steps.extend(load_bytes(None, 0, HEADERS, IPV4_HEADER, To::Drop));
    steps.extend([
        load(LOAD_BYTE, UDP_AT, FRAME, HEADERS),
        branch(IF_LESS, UDP_AT, 0x45, To::Drop),
        branch(IF_GREATER, UDP_AT, 0x4f, To::Drop),
        load(LOAD_BYTE, RESULT, FRAME, HEADERS + 9),
        branch(IF_NOT_EQUAL, RESULT, PROTOCOL_UDP, To::Drop),
        load(LOAD_HALF, RESULT, FRAME, HEADERS + 6),
        big_endian(RESULT),
        branch(IF_ANY_BIT, RESULT, MORE_FRAGMENTS_OR_OFFSET, To::Drop),
        number(AND, UDP_AT, 0x0f),
        number(SHIFT_LEFT, UDP_AT, 2),
        jump(To::Udp),
    ]);
    steps.extend(load_bytes(
        Some(To::Ipv6),
        0,
        HEADERS,
        IPV6_HEADER,
        To::Drop,
    ));
    steps.extend([
        load(LOAD_BYTE, RESULT, FRAME, HEADERS),
        number(AND, RESULT, 0xf0),
        branch(IF_NOT_EQUAL, RESULT, 0x60, To::Drop),
        load(LOAD_BYTE, RESULT, FRAME, HEADERS + 6),
        branch(IF_NOT_EQUAL, RESULT, PROTOCOL_UDP, To::Drop),
        number(SET, UDP_AT, IPV6_HEADER),
    ]);
    steps.extend(load_bytes_at(Some(To::Udp), HEADERS, UDP_HEADER, To::Drop));
    steps.extend([
        load(LOAD_HALF, LENGTH, FRAME, HEADERS + 4),
        big_endian(LENGTH),
        load(LOAD_HALF, RESULT, FRAME, HEADERS + 2),
        big_endian(RESULT),
    ]);
    steps.extend(
        ports
            .iter()
            .map(|port| branch(IF_EQUAL, RESULT, i32::from(*port), To::Hint)),
    );
    steps.push(jump(To::Drop));
    steps.push(Step {
        here: Some(To::Hint),
        ..branch(IF_LESS, LENGTH, shortest, To::CountLength)
    });
    steps.push(branch(IF_GREATER, LENGTH, longest, To::CountLength));
    steps.push(number(ADD, UDP_AT, UDP_HEADER));
    steps.extend(load_bytes_at(None, HINT, hint_len, To::CountLength));
    steps.extend(look_up(hints, HINT));
    steps.push(branch(IF_EQUAL, RESULT, 0, To::CountHint));
    steps.push(number(SET, RESULT, passed));
    steps.push(exit());
    steps.push(Step {
        here: Some(To::CountLength),
        ..number(SET, COUNTER, i32::try_from(WRONG_LENGTH).unwrap_or(0))
    });
    steps.push(jump(To::Count));
    steps.push(Step {
        here: Some(To::CountHint),
        ..number(SET, COUNTER, i32::try_from(UNKNOWN_HINT).unwrap_or(0))
    });
    steps.push(Step {
        here: Some(To::Count),
        ..store_word(PLACE, COUNTER)
    });
    steps.extend(look_up(counters, PLACE));
    steps.push(branch(IF_EQUAL, RESULT, 0, To::Drop));
    steps.push(number(SET, FIRST, 1));
    steps.push(Step {
        here: None,
        code: ATOMIC_ADD,
        to: RESULT,
        from: FIRST,
        offset: 0,
        number: 0,
        jump: None,
    });
    steps.push(Step {
        here: Some(To::Drop),
        ..number(SET, RESULT, 0)
    });
    steps.push(exit());
    steps
}

/// Bytes of the packet from a fixed place onto the stack.
fn load_bytes(here: Option<To>, from: i32, to: i16, length: i32, or_else: To) -> Vec<Step> {
    let mut steps = vec![number(SET, SECOND, from)];
    steps.extend(load_bytes_from_second(to, length, or_else));
    name_first(here, steps)
}

/// Bytes of the packet from where `UDP_AT` says.
fn load_bytes_at(here: Option<To>, to: i16, length: i32, or_else: To) -> Vec<Step> {
    let mut steps = vec![copy(SECOND, UDP_AT)];
    steps.extend(load_bytes_from_second(to, length, or_else));
    name_first(here, steps)
}

fn load_bytes_from_second(to: i16, length: i32, or_else: To) -> [Step; 6] {
    [
        copy(FIRST, PACKET),
        copy(THIRD, FRAME),
        number(ADD, THIRD, i32::from(to)),
        number(SET, FOURTH, length),
        call(LOAD_BYTES),
        branch(IF_NOT_EQUAL, RESULT, 0, or_else),
    ]
}

/// The value under a key on the stack; 0 where there is none.
fn look_up(map: i32, key: i16) -> [Step; 5] {
    let descriptor = Step {
        here: None,
        code: LOAD_MAP,
        to: FIRST,
        from: MAP_DESCRIPTOR,
        offset: 0,
        number: map,
        jump: None,
    };
    // The second half of a constant of 64 bits.
    let second_half = Step {
        here: None,
        code: 0,
        to: 0,
        from: 0,
        offset: 0,
        number: 0,
        jump: None,
    };
    [
        descriptor,
        second_half,
        copy(SECOND, FRAME),
        number(ADD, SECOND, i32::from(key)),
        call(MAP_LOOKUP),
    ]
}

fn name_first(here: Option<To>, mut steps: Vec<Step>) -> Vec<Step> {
    if let Some(first) = steps.first_mut() {
        first.here = here;
    }
    steps
}

fn copy(to: u8, from: u8) -> Step {
    Step {
        here: None,
        code: COPY,
        to,
        from,
        offset: 0,
        number: 0,
        jump: None,
    }
}

fn load(code: u8, to: u8, from: u8, offset: i16) -> Step {
    Step {
        here: None,
        code,
        to,
        from,
        offset,
        number: 0,
        jump: None,
    }
}

fn store_word(offset: i16, from: u8) -> Step {
    Step {
        here: None,
        code: STORE_WORD,
        to: FRAME,
        from,
        offset,
        number: 0,
        jump: None,
    }
}

fn number(code: u8, to: u8, number: i32) -> Step {
    Step {
        here: None,
        code,
        to,
        from: 0,
        offset: 0,
        number,
        jump: None,
    }
}

fn big_endian(register: u8) -> Step {
    number(BIG_ENDIAN, register, 16)
}

fn branch(code: u8, register: u8, number: i32, jump: To) -> Step {
    Step {
        here: None,
        code,
        to: register,
        from: 0,
        offset: 0,
        number,
        jump: Some(jump),
    }
}

fn jump(to: To) -> Step {
    Step {
        here: None,
        code: JUMP,
        to: 0,
        from: 0,
        offset: 0,
        number: 0,
        jump: Some(to),
    }
}

fn call(helper: i32) -> Step {
    number(CALL, 0, helper)
}

fn exit() -> Step {
    number(EXIT, 0, 0)
}

/// Turns names into distances and steps into the kernel's eight bytes, in this machine's order.
fn assemble(steps: &[Step]) -> Vec<u64> {
    let distance = |from: usize, to: To| -> i16 {
        let place = steps
            .iter()
            .position(|step| step.here == Some(to))
            .unwrap_or(from);
        i16::try_from(place.saturating_sub(from.saturating_add(1))).unwrap_or(i16::MAX)
    };
    let encode = |(from, step): (usize, &Step)| {
        let offset = step.jump.map_or(step.offset, |to| distance(from, to));
        let registers = if cfg!(target_endian = "little") {
            step.from << 4 | step.to
        } else {
            step.to << 4 | step.from
        };
        let [o0, o1] = offset.to_ne_bytes();
        let [n0, n1, n2, n3] = step.number.to_ne_bytes();
        u64::from_ne_bytes([step.code, registers, o0, o1, n0, n1, n2, n3])
    };
    steps.iter().enumerate().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::PORTS_MAX;

    #[test]
    fn every_jump_lands_on_the_step_of_its_name_and_none_goes_back() {
        for count in [1, PORTS_MAX] {
            let steps = steps(&vec![62201; count], 3, 4);
            for (place, step) in steps
                .iter()
                .enumerate()
                .filter(|(_, step)| step.jump.is_some())
            {
                let landing = steps
                    .iter()
                    .position(|other| other.here == step.jump)
                    .unwrap();
                assert!(landing > place, "step {place} of {count} ports");
            }
            assert!(steps.len() < 128, "{} steps", steps.len());
        }
    }
}
