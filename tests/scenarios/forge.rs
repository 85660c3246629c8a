//! Packets that no client makes, sealed with alice's keys by the fuzzers' own code.

use postern::model::time::Timestamp;
use postern_proto::{Hint, Malformed, Step};

pub(crate) use postern_fuzz_entries::packet;

/// A right body: open tcp/22 for the source.
pub(crate) fn body(now: Timestamp) -> Vec<u8> {
    let mut body = vec![0; 64];
    body[..3].copy_from_slice(&[1, 1, 128]);
    body[4..12].copy_from_slice(&now.as_millis().to_be_bytes());
    body[48..55].copy_from_slice(&[1, 5, 6, 0, 22, 0, 22]);
    body
}

pub(crate) fn sealed(step: Step, nonce: u8, body: &[u8]) -> Vec<u8> {
    let Hint(hint) = packet::hint(step);
    packet::seal_under(hint, [nonce; 12], body)
}

pub(crate) fn mac_over_what_does_not_open(now: Timestamp) -> Vec<u8> {
    let mut bytes = sealed(Step::of(now.as_millis()), 1, &body(now));
    bytes[60] ^= 1;
    let mac = packet::mac(&bytes);
    bytes[20..52].copy_from_slice(&mac);
    bytes
}

/// A body that breaks this rule and no earlier one.
pub(crate) fn body_that_breaks(rule: Malformed) -> Vec<u8> {
    let body = body(crate::world::START);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = body.clone();
        changed.resize(changed.len().max(at + bytes.len()), 0);
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let services = |count: u8| {
        (0..count)
            .flat_map(|n| [1, 5, 6, 0, n + 1, 0, n + 1])
            .collect::<Vec<u8>>()
    };
    match rule {
        Malformed::Version => with(0, &[2]),
        Malformed::Action => with(1, &[3]),
        Malformed::AllowPrefix => with(2, &[129]),
        Malformed::Reserved => with(3, &[1]),
        Malformed::HostBits => with(
            2,
            &[
                [120, 0].as_slice(),
                &body[4..16],
                &[0; 10],
                &[0xff, 0xff, 192, 0, 2, 7],
            ]
            .concat(),
        ),
        Malformed::ItemTruncated => with(55, &[3, 8, b'1', b'2', b'3', b'4', b'5', b'6', b'7']),
        Malformed::Padding => with(63, &[1]),
        Malformed::ServiceLength => with(55, &[1, 4, 6, 0, 23, 0]),
        Malformed::ServiceProtocol => with(55, &[1, 5, 7, 0, 23, 0, 23]),
        Malformed::ServicePorts => with(55, &[1, 5, 6, 0, 23, 0, 22]),
        Malformed::NameLength => with(55, &[2, 0]),
        Malformed::NameCharacters => with(55, &[2, 3, b'W', b'e', b'b']),
        Malformed::CodeLength => with(55, &[3, 5, b'1', b'2', b'3', b'4', b'5']),
        Malformed::CodeDigits => with(55, &[3, 6, b'1', b'2', b'3', b'4', b'5', b'x']),
        Malformed::UnknownItem => with(55, &[4, 1, 9]),
        Malformed::DuplicateItem => with(55, &[1, 5, 6, 0, 22, 0, 22]),
        Malformed::TooManyServices => with(48, &services(17)),
        Malformed::TooManyCodes => with(
            48,
            &[
                &services(1)[..],
                &[3, 6, 49, 49, 49, 49, 49, 49],
                &[3, 6, 50, 50, 50, 50, 50, 50],
            ]
            .concat(),
        ),
        Malformed::NoService => with(48, &[0; 7]),
    }
}
