//! Seals what this gate publishes, and opens what the gates of its name publish.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::{FleetKey, Publication};

use super::content::Said;
use super::refusal::Refusal;
use crate::core::claims::SEALED_MAX;
use crate::core::order;

/// The keys of a gate that shares grants: one seals, all open.
#[derive(Debug)]
pub struct FleetKeys {
    first: FleetKey,
    others: Vec<FleetKey>,
}

impl FleetKeys {
    /// `None` without a key. The first one seals.
    pub fn new(keys: impl IntoIterator<Item = FleetKey>) -> Option<Self> {
        let mut keys = keys.into_iter();
        Some(Self {
            first: keys.next()?,
            others: keys.collect(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Sealing {
    keys: FleetKeys,
    run: [u8; 16],
    last: u64,
}

/// A publication with who sent it.
#[derive(Debug)]
pub(super) struct Opened {
    pub run: [u8; 16],
    pub number: u64,
    pub said: Said,
}

impl Sealing {
    pub(super) fn new(keys: FleetKeys, run: [u8; 16]) -> Self {
        Self { keys, run, last: 0 }
    }

    pub(super) fn run(&self) -> &[u8; 16] {
        &self.run
    }

    /// The number and the sealed text; `None` if it is too long to be published.
    pub(super) fn seal(&mut self, said: &Said) -> Option<(u64, String)> {
        let text = serde_json::to_vec(said).ok()?;
        self.last = self.last.checked_add(1)?;
        let sealed = self.keys.first.seal(&self.run, self.last, &text);
        let sealed = STANDARD.encode(sealed);
        (sealed.len() <= SEALED_MAX).then_some((self.last, sealed))
    }

    pub(super) fn open(&self, sealed: &str) -> Result<Opened, Refusal> {
        if sealed.len() > SEALED_MAX {
            return Err(Refusal::Seal);
        }
        let bytes = STANDARD.decode(sealed).map_err(|_| Refusal::Seal)?;
        let keys = [&self.keys.first].into_iter().chain(&self.keys.others);
        let mut opened = keys.filter_map(|key| key.open(&bytes));
        let Publication { run, number, text } = opened.next().ok_or(Refusal::Seal)?;
        // Its names come into the log.
        let said = order::decode(&text).map_err(|_| Refusal::Unreadable)?;
        Ok(Opened { run, number, said })
    }

    pub(super) fn name(&self, of: &[u8]) -> [u8; 16] {
        self.keys.first.name(of)
    }
}
