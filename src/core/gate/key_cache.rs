//! The keys of users whose hint came lately.
//!
//! The first packet with a hint costs a derivation, further ones do not. The room is fixed: anyone can send a hint that they saw
//! on the wire, and this must not take memory.

use postern_proto::{RootKey, UserKeys};

/// A row has one place. Rows that share one cost a derivation for each packet: as much hashing as one to three macs.
const PLACES: usize = 1024;

#[derive(Debug)]
pub(super) struct KeyCache {
    places: Vec<Option<(usize, UserKeys)>>,
    #[cfg(test)]
    pub(super) derived: usize,
}

impl Default for KeyCache {
    fn default() -> Self {
        Self {
            places: Vec::from_iter((0..PLACES).map(|_| None)),
            #[cfg(test)]
            derived: 0,
        }
    }
}

impl KeyCache {
    pub(super) fn get(&mut self, row: usize, root: &RootKey) -> Option<&UserKeys> {
        let place = self.places.get_mut(row % PLACES)?;
        if place.as_ref().is_none_or(|(kept, _)| *kept != row) {
            *place = Some((row, root.keys()));
            #[cfg(test)]
            {
                self.derived += 1;
            }
        }
        place.as_ref().map(|(_, keys)| keys)
    }
}

#[cfg(test)]
mod tests {
    use postern_proto::{GateName, KeyMaterial, SharedKey};

    use super::*;

    #[test]
    fn keys_are_derived_on_first_use() {
        let gate = GateName::new("gate.example.org").unwrap();
        let root = |row: usize| {
            let bytes = [u8::try_from(row % 251).unwrap(); 32];
            RootKey::extract(&gate, &KeyMaterial::shared(&SharedKey::from_bytes(bytes)))
        };
        let mut cache = KeyCache::default();
        for (row, derived) in [(7, 1), (7, 1), (8, 2), (7, 2), (7 + PLACES, 3), (7, 4)] {
            let keys = cache.get(row, &root(row)).unwrap();
            let hint = |keys: &UserKeys| keys.hint_key().hint(postern_proto::Step(1));
            assert_eq!(hint(keys), hint(&root(row).keys()), "{row}");
            assert_eq!(cache.derived, derived, "{row}");
        }
    }
}
