//! The registers of nf_tables: which field of the packet each holds.

use super::bytes;

/// Registers of 4 bytes, in the kernel's count: the verdict, then the data.
const VERDICT_REGISTER: u32 = 0;
const REGISTER_BYTES: usize = 4;
const LAST_WIDE_REGISTER: u32 = 4;
const FIRST_NARROW_REGISTER: u32 = 8;

/// A field of the packet, or what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Payload {
        base: u32,
        offset: usize,
    },
    Meta(u32),
    Ct {
        key: u32,
        is_reply: bool,
    },
    Fib {
        result: u32,
        flags: u32,
    },
    Constant(Vec<u8>),
    /// Not understood.
    Opaque,
}

/// A field in registers: `field & mask ^ xor`.
#[derive(Debug, Clone)]
pub(super) struct Load {
    slot: usize,
    pub(super) length: usize,
    pub(super) field: Field,
    /// Empty: all bits.
    pub(super) mask: Vec<u8>,
    pub(super) xor: Vec<u8>,
    /// The bytes are a number in the machine's byte order.
    pub(super) is_native: bool,
}

#[derive(Debug, Default)]
pub(super) struct Registers(Vec<Load>);

/// `None` for the verdict.
fn slot(register: u32) -> Option<usize> {
    let slot = match register {
        VERDICT_REGISTER => return None,
        wide @ 1..=LAST_WIDE_REGISTER => wide * 4,
        narrow => narrow.checked_sub(FIRST_NARROW_REGISTER)?.checked_add(4)?,
    };
    usize::try_from(slot).ok()
}

pub(super) fn is_verdict(register: u32) -> bool {
    register == VERDICT_REGISTER
}

impl Registers {
    pub(super) fn load(&mut self, register: u32, length: usize, field: Field, is_native: bool) {
        self.store(
            register,
            Load {
                slot: 0,
                length,
                field,
                mask: Vec::new(),
                xor: Vec::new(),
                is_native,
            },
        );
    }

    fn store(&mut self, register: u32, load: Load) {
        let Some(slot) = slot(register) else { return };
        let end = |slot: usize, length: usize| slot + length.div_ceil(REGISTER_BYTES);
        self.0.retain(|other| {
            end(other.slot, other.length) <= slot || end(slot, load.length) <= other.slot
        });
        self.0.push(Load { slot, ..load });
    }

    pub(super) fn get(&self, register: u32) -> Option<&Load> {
        let slot = slot(register)?;
        self.0.iter().find(|load| load.slot == slot)
    }

    /// The fields of a concatenation, each with its place in the key.
    pub(super) fn key(&self, register: u32, length: usize) -> Option<Vec<(&Load, usize, usize)>> {
        let (mut parts, mut at, mut slot) = (Vec::new(), 0, slot(register)?);
        while at < length {
            let load = self.0.iter().find(|load| load.slot == slot)?;
            let end = length.min(at + load.length);
            parts.push((load, at, end));
            let words = load.length.div_ceil(REGISTER_BYTES).max(1);
            at += words * REGISTER_BYTES;
            slot += words;
        }
        Some(parts)
    }

    pub(super) fn mask(&mut self, from: u32, to: u32, mask: &[u8], xor: &[u8]) {
        let Some(old) = self.get(from).cloned() else {
            return self.load(to, mask.len(), Field::Opaque, false);
        };
        let (old_mask, old_xor) = (old.mask(mask.len()), old.xor(mask.len()));
        self.store(
            to,
            Load {
                mask: bytes::and(&old_mask, mask),
                xor: bytes::xor(&bytes::and(&old_xor, mask), xor),
                ..old
            },
        );
    }

    /// Converts numbers between the byte orders. A short field fills its register, so a longer number ends with it.
    pub(super) fn swap(&mut self, from: u32, to: u32, length: Option<u32>) {
        if let Some(old) = self.get(from).cloned() {
            let is_native = !old.is_native;
            let length = length.and_then(|length| usize::try_from(length).ok());
            let length = length.map_or(old.length, |length| length.max(old.length));
            let field = if old.mask.is_empty() {
                old.field.clone()
            } else {
                Field::Opaque
            };
            self.store(
                to,
                Load {
                    is_native,
                    length,
                    field,
                    ..old
                },
            );
        }
    }

    pub(super) fn hide(&mut self, register: u32, length: usize) {
        self.load(register, length, Field::Opaque, false);
    }
}

impl Load {
    /// The same for a part of its bytes.
    pub(super) fn part(&self, length: usize, from: usize, to: usize) -> Self {
        let slice = |bytes: Vec<u8>| bytes.get(from..to).unwrap_or_default().to_vec();
        Self {
            mask: if self.mask.is_empty() {
                Vec::new()
            } else {
                slice(self.mask(length))
            },
            xor: slice(self.xor(length)),
            length: to.saturating_sub(from),
            ..self.clone()
        }
    }

    pub(super) fn mask(&self, length: usize) -> Vec<u8> {
        let mut mask = self.mask.clone();
        mask.resize(length, if self.mask.is_empty() { 0xff } else { 0 });
        mask
    }

    pub(super) fn xor(&self, length: usize) -> Vec<u8> {
        let mut xor = self.xor.clone();
        xor.resize(length, 0);
        xor
    }
}
