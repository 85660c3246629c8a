//! Intermediate key values, for the vector test only. Behind a feature that only tests enable.

use crate::derive::{KeyMaterial, UserKeys, extract};
use crate::limits::KEY_LEN;
use crate::name::GateName;

/// The input key material (section 2).
pub fn ikm(material: &KeyMaterial) -> &[u8] {
    material.bytes()
}

/// HKDF's pseudo-random key (section 2).
pub fn prk(gate: &GateName, material: &KeyMaterial) -> [u8; KEY_LEN] {
    extract(gate, material).0
}

/// The keys for hint, seal and mac (section 2).
pub fn keys(keys: &UserKeys) -> [&[u8; KEY_LEN]; 3] {
    [&keys.hint_key().0, keys.seal_key(), keys.mac_key()]
}
