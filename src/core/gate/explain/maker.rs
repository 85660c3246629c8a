//! Whose key made a packet, whatever its hint says: the mac does not depend on the time.
//!
//! Tries every user's keys at this gate, those of before and of disabled users too, and after that the gates that a client may
//! have meant.

use postern_proto::{GateName, KeyMaterial, Packet, UserKeys};

use super::super::Gate;

/// Keys of the gate's users as they would be at other gates.
#[derive(Debug)]
pub(super) struct Rings {
    materials: Vec<KeyMaterial>,
    names: Vec<GateName>,
    /// One a name, each with a key a user; made when the first packet asks for them.
    rings: Vec<Vec<UserKeys>>,
    /// Who is disabled, with the keys of this gate.
    disabled: Vec<(String, UserKeys)>,
}

/// Who made a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    /// The row of keys; behind the users' present ones stand those of before.
    pub(super) user: usize,
    /// By number; `None`: with the key at this gate.
    ring: Option<usize>,
}

impl Rings {
    pub(super) fn new(materials: Vec<KeyMaterial>, names: Vec<GateName>) -> Self {
        Self {
            materials,
            names,
            rings: Vec::new(),
            disabled: Vec::new(),
        }
    }

    /// These users are disabled; their keys are looked at last.
    pub(super) fn add_disabled(&mut self, user: String, keys: UserKeys) {
        self.disabled.push((user, keys));
    }

    /// The disabled user whose key made this packet's mac.
    pub(super) fn disabled(&self, packet: &Packet<'_>) -> Option<&str> {
        self.disabled
            .iter()
            .find(|(_, keys)| keys.verify(packet))
            .map(|(user, _)| user.as_str())
    }

    /// The names that are tried.
    pub(super) fn names(&self) -> &[GateName] {
        &self.names
    }

    /// Whose key made this packet's mac, and at which gate.
    pub(super) fn maker(&mut self, gate: &Gate, packet: &Packet<'_>) -> Option<Maker> {
        let mut hinted = gate
            .hints
            .find(packet.hint())
            .into_iter()
            .flatten()
            .map(|(user, _)| user);
        let here = |user: &usize| {
            gate.users
                .mac_key(*user)
                .is_some_and(|key| key.verify(packet))
        };
        if let Some(user) = hinted
            .find(here)
            .or_else(|| (0..gate.users.rows()).find(here))
        {
            return Some(Maker { user, ring: None });
        }
        if self.rings.len() < self.names.len() {
            self.rings = self
                .names
                .iter()
                .map(|name| {
                    self.materials
                        .iter()
                        .map(|material| UserKeys::derive(name, material))
                        .collect()
                })
                .collect();
        }
        self.rings.iter().enumerate().find_map(|(ring, keys)| {
            let user = keys.iter().position(|keys| keys.verify(packet))?;
            Some(Maker {
                user,
                ring: Some(ring),
            })
        })
    }

    /// The other gate whose name the key goes by.
    pub(super) fn other_name(&self, maker: &Maker) -> Option<&GateName> {
        self.names.get(maker.ring?)
    }

    /// The keys at that other gate.
    pub(super) fn other_keys(&self, maker: &Maker) -> Option<&UserKeys> {
        self.rings.get(maker.ring?)?.get(maker.user)
    }
}
