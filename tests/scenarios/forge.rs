//! Packets that no client makes, sealed with alice's keys by the fuzzers' own code.

use postern::model::time::Timestamp;
use postern_proto::{Hint, Step};

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

/// A body whose last byte of padding is not zero.
pub(crate) fn body_with_padding(now: Timestamp) -> Vec<u8> {
    let mut body = body(now);
    body[63] = 1;
    body
}
