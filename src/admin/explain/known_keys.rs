//! Finds the key that made a packet. It needs no hint, because the mac does not depend on the time.
//!
//! Tries the keys of all users at this gate, rotated-out ones too, then the gates that the client may have meant.

use std::cell::OnceCell;

use postern_proto::{GateName, KeyMaterial, Packet, UserKeys};

use crate::adapters::config::OldKey;
use crate::model::time::Timestamp;

#[derive(Debug)]
pub(super) struct KnownKeys {
    here: Vec<KeyHere>,
    disabled: Vec<(String, UserKeys)>,
    materials: Vec<KeyMaterial>,
    names: Vec<GateName>,
    /// One list for each name, with a key for each user. Derived when the first packet needs them.
    elsewhere: OnceCell<Vec<Vec<UserKeys>>>,
}

#[derive(Debug)]
struct KeyHere {
    user: usize,
    keys: UserKeys,
    until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Maker<'a> {
    pub(super) user: usize,
    pub(super) keys: &'a UserKeys,
    pub(super) until: Option<Timestamp>,
    pub(super) other_gate: Option<&'a GateName>,
}

impl KnownKeys {
    /// `own` is the gate name of each user's keys, in their order, and `names` are others that a client may have in its profile.
    pub(super) fn new(
        gate: &GateName,
        own: &[GateName],
        materials: Vec<KeyMaterial>,
        old: &[OldKey],
        disabled: impl Iterator<Item = (String, UserKeys)>,
        names: Vec<GateName>,
    ) -> Self {
        let key = |user, material, until| KeyHere {
            user,
            keys: UserKeys::derive(own.get(user).unwrap_or(gate), material),
            until,
        };
        let present = materials.iter().enumerate();
        let present = present.map(|(user, material)| key(user, material, None));
        let old = old.iter();
        let old = old.map(|old| key(old.user, &old.material, Some(old.until)));
        Self {
            here: present.chain(old).collect(),
            disabled: disabled.collect(),
            materials,
            names,
            elsewhere: OnceCell::new(),
        }
    }

    pub(super) fn user_of(&self, row: usize) -> Option<usize> {
        self.here.get(row).map(|key| key.user)
    }

    pub(super) fn disabled(&self, packet: &Packet<'_>) -> Option<&str> {
        let mut keys = self.disabled.iter();
        keys.find(|(_, keys)| keys.verify(packet))
            .map(|(user, _)| user.as_str())
    }

    pub(super) fn names(&self) -> &[GateName] {
        &self.names
    }

    /// The key that made this packet. The rows that the hint names are tried first.
    pub(super) fn maker(
        &self,
        packet: &Packet<'_>,
        hinted: impl Iterator<Item = usize>,
    ) -> Option<Maker<'_>> {
        let here = self.maker_here(packet, hinted.chain(0..self.here.len()));
        here.or_else(|| {
            let mut elsewhere = self.names.iter().zip(self.elsewhere());
            elsewhere.find_map(|(name, keys)| {
                let user = keys.iter().position(|keys| keys.verify(packet))?;
                Some(Maker {
                    user,
                    keys: keys.get(user)?,
                    until: None,
                    other_gate: Some(name),
                })
            })
        })
    }

    /// The key among these rows that made this packet for this gate.
    pub(super) fn maker_here(
        &self,
        packet: &Packet<'_>,
        rows: impl Iterator<Item = usize>,
    ) -> Option<Maker<'_>> {
        let mut keys = rows.filter_map(|row| self.here.get(row));
        let key = keys.find(|key| key.keys.verify(packet))?;
        Some(Maker {
            user: key.user,
            keys: &key.keys,
            until: key.until,
            other_gate: None,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.here.len()
    }

    fn elsewhere(&self) -> &[Vec<UserKeys>] {
        self.elsewhere.get_or_init(|| {
            let keys_at = |name| {
                let materials = self.materials.iter();
                materials
                    .map(|material| UserKeys::derive(name, material))
                    .collect()
            };
            self.names.iter().map(keys_at).collect()
        })
    }
}
