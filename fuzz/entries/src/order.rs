//! Any bytes as a message between engine and monitor (invariants 5 and 8): a hostile engine can send what it likes.
//!
//! What decodes is encoded and decoded to itself, however it was written before.

use std::fmt::Debug;

use postern::core::order::{MESSAGE_MAX, Order, Report, Start, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub fn run(data: &[u8]) {
    read::<Order>(data);
    read::<Report>(data);
    read::<Start>(data);
}

/// Whether the bytes are a message of this type.
pub fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) -> bool {
    let Ok(message) = decode::<T>(data) else {
        return false;
    };
    assert!(data.len() <= MESSAGE_MAX);
    // The shortest way to write it may still be longer than the way it came, and then too long.
    let Ok(written) = encode(&message) else {
        return true;
    };
    assert_eq!(
        decode::<T>(&written).as_ref(),
        Ok(&message),
        "{}",
        String::from_utf8_lossy(&written)
    );
    assert_eq!(encode(&message), Ok(written), "one way to write it");
    true
}
