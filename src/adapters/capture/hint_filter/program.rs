//! The eBPF program that drops datagrams with a wrong length or an unknown hint, and copies of used packets, in the kernel.
//!
//! It is for cooked packet sockets, whose packets begin with the network header. It lets through what the classic
//! filter lets through if the packet also has a knock's length, a hint in the map, and is no used packet. It counts
//! packets that fail these checks, so that no reason goes uncounted (`proto/README.md`, section 6, steps 1, 2 and 8). If
//! some user knocks with a client of fwknop, packets with the length and the first byte of fwknop's need no hint.

use std::os::fd::{AsRawFd, BorrowedFd};

use postern_fwknop::limits::{FIRST_BYTES, PAYLOAD_MIN};
use postern_proto::limits::{HINT_LEN, MARK_LEN, NONCE_LEN, PACKET_MAX, PACKET_MIN};

use super::super::assembler::{self, Label, assemble};
use super::super::filter::SNAP;
use super::buckets::{ALL_PASS, NOT_FREE};
use super::kernel::{Buckets, Map};
use crate::model::datagram::PACKET_MAX as FWKNOP_MAX;

pub(super) const WRONG_LENGTH: u32 = 0;
pub(super) const UNKNOWN_HINT: u32 = 1;
pub(super) const DUPLICATE: u32 = 2;
pub(super) const REPLAY: u32 = 3;
pub(super) const COUNTERS: u32 = 4;

/// Where the bytes of a payload are that no other used packet has: a knock's mark. In a packet of fwknop these are 12
/// bytes of ciphertext under a random salt.
pub(super) const IDENTITY_AT: usize = HINT_LEN + NONCE_LEN;

/// Nanoseconds. As long as for the gate: `again` in `core::gate::replay`.
const DUPLICATE_WITHIN: i32 = 1_000_000_000;

const UDP_HEADER: i32 = 8;

// linux/bpf.h: registers. A call overwrites 1 to 5, its arguments, and keeps 6 to 9; 10 is the frame.
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

// linux/bpf_common.h, linux/bpf.h: class, width and mode, or class, source and operation
const LOAD_WORD: u8 = 0x61;
const LOAD_HALF: u8 = 0x69;
const LOAD_BYTE: u8 = 0x71;
const LOAD_DOUBLE: u8 = 0x79;
const LOAD_MAP: u8 = 0x18;
const STORE_WORD: u8 = 0x63;
const ATOMIC_ADD: u8 = 0xdb;
const SET: u8 = 0xb7;
const COPY: u8 = 0xbf;
const ADD: u8 = 0x07;
const SUBTRACT_REGISTER: u8 = 0x1f;
const AND: u8 = 0x57;
const OR: u8 = 0x47;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
const MULTIPLY: u8 = 0x27;
const BIG_ENDIAN: u8 = 0xdc;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
const IF_EQUAL: u8 = 0x15;
const IF_SAME: u8 = 0x1d;
const IF_NOT_EQUAL: u8 = 0x55;
const IF_GREATER: u8 = 0x25;
const IF_LESS: u8 = 0xa5;
const IF_ANY_BIT: u8 = 0x45;

// linux/bpf.h: helpers, the source register that makes a constant a map's descriptor, fields of __sk_buff
const MAP_LOOKUP: i32 = 1;
const MONOTONIC_TIME: i32 = 5;
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

// places on the stack, below the frame
const HEADERS: i16 = -40;
const HINT: i16 = -48;
const COUNTER_INDEX: i16 = -56;
const IDENTITY: i16 = -72;
const BUCKET_INDEX: i16 = -80;

/// An eBPF instruction. A jump has a label in place of an offset.
#[derive(Default)]
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    number: i32,
    jump: Option<Label>,
}

type Line = assembler::Line<Instruction>;

/// The program's maps. Without the last one, copies of used packets pass.
pub(super) struct Maps<'a> {
    pub(super) hints: &'a Map<Buckets>,
    pub(super) counters: BorrowedFd<'a>,
    pub(super) used: Option<BorrowedFd<'a>>,
}

/// The program for these knock ports, at least one, in the kernel's form: eight bytes an instruction.
pub(super) fn program(ports: &[u16], maps: &Maps<'_>, fwknop: bool) -> Vec<u64> {
    let lines = lines(ports, maps, fwknop);
    assemble(&lines, |instruction, distance| {
        let offset = instruction.jump.map_or(instruction.offset, |label| {
            i16::try_from(distance(label)).unwrap_or(i16::MAX)
        });
        let registers = if cfg!(target_endian = "little") {
            instruction.from << 4 | instruction.to
        } else {
            instruction.to << 4 | instruction.from
        };
        let [o0, o1] = offset.to_ne_bytes();
        let [n0, n1, n2, n3] = instruction.number.to_ne_bytes();
        u64::from_ne_bytes([instruction.code, registers, o0, o1, n0, n1, n2, n3])
    })
}

fn lines(ports: &[u16], maps: &Maps<'_>, fwknop: bool) -> Vec<Line> {
    let counters = maps.counters.as_raw_fd();
    let int = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let passed = i32::try_from(SNAP).unwrap_or(i32::MAX);
    let shortest = int(PACKET_MIN).saturating_add(UDP_HEADER);
    let longest = int(PACKET_MAX).saturating_add(UDP_HEADER);
    let [ipv4, ipv6] = [ETHERTYPE_IPV4, ETHERTYPE_IPV6].map(|number| i32::from(number.to_be()));
    let mut lines = vec![
        copy(PACKET, FIRST),
        load(LOAD_WORD, RESULT, PACKET, PACKET_TYPE),
        branch(IF_EQUAL, RESULT, OUTGOING, Label::Drop),
        // the kernel's protocol first: packets of other protocols may start like an IP header
        load(LOAD_WORD, RESULT, PACKET, PROTOCOL),
        branch(IF_EQUAL, RESULT, ipv6, Label::Ipv6),
        branch(IF_NOT_EQUAL, RESULT, ipv4, Label::Drop),
        with_number(SET, SECOND, 0),
    ];
    lines.extend(load_bytes(HEADERS, IPV4_HEADER, Label::Drop));
    lines.extend([
        load(LOAD_BYTE, UDP_AT, FRAME, HEADERS),
        branch(IF_LESS, UDP_AT, 0x45, Label::Drop),
        branch(IF_GREATER, UDP_AT, 0x4f, Label::Drop),
        load(LOAD_BYTE, RESULT, FRAME, HEADERS + 9),
        branch(IF_NOT_EQUAL, RESULT, PROTOCOL_UDP, Label::Drop),
        load(LOAD_HALF, RESULT, FRAME, HEADERS + 6),
        with_number(BIG_ENDIAN, RESULT, 16),
        branch(IF_ANY_BIT, RESULT, MORE_FRAGMENTS_OR_OFFSET, Label::Drop),
        with_number(AND, UDP_AT, 0x0f),
        with_number(SHIFT_LEFT, UDP_AT, 2),
        branch(JUMP, 0, 0, Label::Udp),
        Line::Label(Label::Ipv6),
        with_number(SET, SECOND, 0),
    ]);
    lines.extend(load_bytes(HEADERS, IPV6_HEADER, Label::Drop));
    lines.extend([
        load(LOAD_BYTE, RESULT, FRAME, HEADERS),
        with_number(AND, RESULT, 0xf0),
        branch(IF_NOT_EQUAL, RESULT, 0x60, Label::Drop),
        load(LOAD_BYTE, RESULT, FRAME, HEADERS + 6),
        branch(IF_NOT_EQUAL, RESULT, PROTOCOL_UDP, Label::Drop),
        with_number(SET, UDP_AT, IPV6_HEADER),
        Line::Label(Label::Udp),
        copy(SECOND, UDP_AT),
    ]);
    lines.extend(load_bytes(HEADERS, UDP_HEADER, Label::Drop));
    lines.extend([
        load(LOAD_HALF, LENGTH, FRAME, HEADERS + 4),
        with_number(BIG_ENDIAN, LENGTH, 16),
        load(LOAD_HALF, RESULT, FRAME, HEADERS + 2),
        with_number(BIG_ENDIAN, RESULT, 16),
    ]);
    for port in ports {
        lines.push(branch(IF_EQUAL, RESULT, i32::from(*port), Label::Hint));
    }
    lines.extend([
        branch(JUMP, 0, 0, Label::Drop),
        Line::Label(Label::Hint),
        with_number(ADD, UDP_AT, UDP_HEADER),
    ]);
    if fwknop {
        lines.extend([
            branch(
                IF_LESS,
                LENGTH,
                int(PAYLOAD_MIN).saturating_add(UDP_HEADER),
                Label::Knock,
            ),
            branch(
                IF_GREATER,
                LENGTH,
                int(FWKNOP_MAX).saturating_add(UDP_HEADER),
                Label::Knock,
            ),
            copy(SECOND, UDP_AT),
        ]);
        lines.extend(load_bytes(HINT, 1, Label::CountLength));
        lines.push(load(LOAD_BYTE, RESULT, FRAME, HINT));
        let first = FIRST_BYTES.map(|byte| branch(IF_EQUAL, RESULT, i32::from(byte), Label::Copy));
        lines.extend(first);
    }
    lines.extend([
        Line::Label(Label::Knock),
        branch(IF_LESS, LENGTH, shortest, Label::CountLength),
        branch(IF_GREATER, LENGTH, longest, Label::CountLength),
        copy(SECOND, UDP_AT),
    ]);
    lines.extend(load_bytes(HINT, int(HINT_LEN), Label::CountLength));
    lines.extend(find(maps.hints));
    lines.extend([
        branch(JUMP, 0, 0, Label::CountHint),
        Line::Label(Label::Copy),
    ]);
    if let Some(used) = maps.used {
        lines.extend([
            copy(SECOND, UDP_AT),
            with_number(ADD, SECOND, int(IDENTITY_AT)),
        ]);
        lines.extend(load_bytes(IDENTITY, int(MARK_LEN), Label::Pass));
        lines.extend(look_up(used.as_raw_fd(), IDENTITY));
        lines.extend([
            branch(IF_EQUAL, RESULT, 0, Label::Pass),
            load(LOAD_DOUBLE, LENGTH, RESULT, 0),
            with_number(CALL, 0, MONOTONIC_TIME),
            instruction(SUBTRACT_REGISTER, RESULT, LENGTH, 0, 0),
            with_number(SET, COUNTER, REPLAY.cast_signed()),
            branch(IF_GREATER, RESULT, DUPLICATE_WITHIN, Label::Count),
            with_number(SET, COUNTER, DUPLICATE.cast_signed()),
            branch(JUMP, 0, 0, Label::Count),
        ]);
    }
    lines.extend([
        Line::Label(Label::Pass),
        with_number(SET, RESULT, passed),
        with_number(EXIT, 0, 0),
        Line::Label(Label::CountLength),
        with_number(SET, COUNTER, WRONG_LENGTH.cast_signed()),
        branch(JUMP, 0, 0, Label::Count),
        Line::Label(Label::CountHint),
        with_number(SET, COUNTER, UNKNOWN_HINT.cast_signed()),
        Line::Label(Label::Count),
        instruction(STORE_WORD, FRAME, COUNTER, COUNTER_INDEX, 0),
    ]);
    lines.extend(look_up(counters, COUNTER_INDEX));
    lines.extend([
        branch(IF_EQUAL, RESULT, 0, Label::Drop),
        with_number(SET, FIRST, 1),
        instruction(ATOMIC_ADD, RESULT, FIRST, 0, 0),
        Line::Label(Label::Drop),
        with_number(SET, RESULT, 0),
        with_number(EXIT, 0, 0),
    ]);
    lines
}

fn load_bytes(to: i16, length: i32, or_else: Label) -> [Line; 6] {
    [
        copy(FIRST, PACKET),
        copy(THIRD, FRAME),
        with_number(ADD, THIRD, i32::from(to)),
        with_number(SET, FOURTH, length),
        with_number(CALL, 0, LOAD_BYTES),
        branch(IF_NOT_EQUAL, RESULT, 0, or_else),
    ]
}

/// Looks the hint up as `buckets` puts it there. The halves of a bucket are compared one by one.
fn find(hints: &Map<Buckets>) -> Vec<Line> {
    let mut lines = vec![
        load(LOAD_WORD, RESULT, FRAME, HINT),
        with_number(BIG_ENDIAN, RESULT, 32),
        with_number(MULTIPLY, RESULT, hints.length().cast_signed()),
        with_number(SHIFT_RIGHT, RESULT, 32),
        instruction(STORE_WORD, FRAME, RESULT, BUCKET_INDEX, 0),
    ];
    lines.extend(look_up(hints.descriptor().as_raw_fd(), BUCKET_INDEX));
    lines.extend([
        branch(IF_EQUAL, RESULT, 0, Label::CountHint),
        load(LOAD_WORD, SECOND, FRAME, HINT + 4),
        with_number(OR, SECOND, NOT_FREE.cast_signed()),
    ]);
    for place in (0..16).map(|place: i16| place * 4) {
        lines.push(load(LOAD_WORD, FIRST, RESULT, place));
        lines.push(Line::Instruction(Instruction {
            code: IF_SAME,
            to: FIRST,
            from: SECOND,
            jump: Some(Label::Copy),
            ..Instruction::default()
        }));
    }
    lines.push(branch(IF_EQUAL, FIRST, ALL_PASS.cast_signed(), Label::Copy));
    lines
}

fn look_up(map: i32, key: i16) -> [Line; 5] {
    [
        instruction(LOAD_MAP, FIRST, MAP_DESCRIPTOR, 0, map),
        // the second half of a 64-bit constant
        instruction(0, 0, 0, 0, 0),
        copy(SECOND, FRAME),
        with_number(ADD, SECOND, i32::from(key)),
        with_number(CALL, 0, MAP_LOOKUP),
    ]
}

fn copy(to: u8, from: u8) -> Line {
    instruction(COPY, to, from, 0, 0)
}

fn load(code: u8, to: u8, from: u8, offset: i16) -> Line {
    instruction(code, to, from, offset, 0)
}

fn with_number(code: u8, to: u8, number: i32) -> Line {
    instruction(code, to, 0, 0, number)
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Line {
    Line::Instruction(Instruction {
        code,
        to,
        from,
        offset,
        number,
        jump: None,
    })
}

fn branch(code: u8, register: u8, number: i32, label: Label) -> Line {
    Line::Instruction(Instruction {
        code,
        to: register,
        number,
        jump: Some(label),
        ..Instruction::default()
    })
}
