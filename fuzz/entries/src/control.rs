//! Any bytes as a line on the control socket: a question to the engine, or an answer to `posternd status` and the like.
//!
//! What decodes is encoded and decoded to itself.

use std::fmt::Debug;

use postern::adapters::control::{Answer, Question};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub fn run(data: &[u8]) {
    read::<Question>(data);
    read::<Answer>(data);
}

/// Whether the bytes are a line of this type.
pub fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) -> bool {
    let Ok(line) = serde_json::from_slice::<T>(data) else {
        return false;
    };
    let written = serde_json::to_vec(&line).expect("what was read can be written");
    assert!(!written.contains(&b'\n'), "one line: {line:?}");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, line);
    true
}
