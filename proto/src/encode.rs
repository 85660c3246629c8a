//! Writing a request as a body (section 5).
//!
//! Refuses every request that the decoder would refuse, by the same rules, and every one that could be read back as
//! another. There is one way to write a request into a body of a given length.

use core::fmt;

use crate::decode::number;
use crate::item::Item;
use crate::limits::{BODY_HEAD_LEN, BODY_MAX, BODY_MIN, SERVICE_LEN, VERSION};
use crate::malformed::Malformed;
use crate::request::{Action, Allow, Request, check_complete, check_next};

impl Request {
    /// Bytes that it takes without padding. The shortest body has 64 all the same.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        BODY_HEAD_LEN + self.items.iter().map(|item| 2 + value_len(item)).sum::<usize>()
    }

    /// Writes it into a body of `out.len()` bytes, 64 to 448. `out` is left as it was when the request is refused.
    pub fn encode(&self, out: &mut [u8]) -> Result<(), EncodeError> {
        if !(BODY_MIN..=BODY_MAX).contains(&out.len()) {
            return Err(EncodeError::BodyLength);
        }
        if self.encoded_len() > out.len() {
            return Err(EncodeError::TooLong);
        }
        self.check()?;
        self.write(out)
    }

    fn check(&self) -> Result<(), EncodeError> {
        match self.allow {
            Allow::Source { prefix } => Allow::check_prefix(prefix)?,
            Allow::Network { address, prefix } => {
                if address.is_unspecified() {
                    return Err(EncodeError::Unspecified);
                }
                Allow::check_prefix(prefix)?;
                Allow::check_bits(address, prefix)?;
            }
        }
        if self.target.is_some_and(|target| target.is_unspecified()) {
            return Err(EncodeError::Unspecified);
        }
        for (index, item) in self.items.iter().enumerate() {
            check_item(item)?;
            check_next(self.items.get(..index).unwrap_or_default(), item)?;
        }
        check_complete(self.action, &self.items)?;
        Ok(())
    }

    fn write(&self, out: &mut [u8]) -> Result<(), EncodeError> {
        let action = match self.action {
            Action::Open => number::OPEN,
            Action::Close => number::CLOSE,
        };
        let (prefix, address) = match self.allow {
            Allow::Source { prefix } => (prefix, [0; 16]),
            Allow::Network { address, prefix } => (prefix, address.octets()),
        };
        let mut writer = Writer(out);
        writer.put(&[VERSION, action, prefix, 0])?;
        writer.put(&self.timestamp_ms.to_be_bytes())?;
        writer.put(&self.duration_s.to_be_bytes())?;
        writer.put(&address)?;
        writer.put(&self.target.map_or([0; 16], |target| target.octets()))?;
        for item in &self.items {
            write_item(item, &mut writer)?;
        }
        writer.fill_with_zeros();
        Ok(())
    }
}

fn value_len(item: &Item) -> usize {
    match item {
        Item::Service(_) => SERVICE_LEN,
        Item::Name(name) => name.as_str().len(),
        Item::Code(code) => code.as_str().len(),
        Item::Skipped { value, .. } => value.len(),
    }
}

/// What the types of an item leave open: a skipped one can hold anything.
fn check_item(item: &Item) -> Result<(), EncodeError> {
    match item {
        Item::Skipped { kind, .. } if *kind < number::SKIPPED_FIRST => Err(Malformed::UnknownItem.into()),
        Item::Skipped { value, .. } if value.len() > usize::from(u8::MAX) => Err(EncodeError::TooLong),
        _ => Ok(()),
    }
}

fn write_item(item: &Item, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    let length = u8::try_from(value_len(item)).map_err(|_| EncodeError::TooLong)?;
    match item {
        Item::Service(service) => {
            writer.put(&[number::SERVICE, length, service.protocol().number()])?;
            writer.put(&service.first().to_be_bytes())?;
            writer.put(&service.last().to_be_bytes())
        }
        Item::Name(name) => {
            writer.put(&[number::NAME, length])?;
            writer.put(name.as_str().as_bytes())
        }
        Item::Code(code) => {
            writer.put(&[number::CODE, length])?;
            writer.put(code.as_str().as_bytes())
        }
        Item::Skipped { kind, value } => {
            writer.put(&[*kind, length])?;
            writer.put(value)
        }
    }
}

/// Room not yet written.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let room = self.0.split_off_mut(..bytes.len()).ok_or(EncodeError::TooLong)?;
        room.copy_from_slice(bytes);
        Ok(())
    }

    fn fill_with_zeros(self) {
        self.0.fill(0);
    }
}

/// Why a request cannot be written into a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncodeError {
    /// A body has 64 to 448 bytes.
    BodyLength,
    /// The request does not fit into a body of this length, or an item's value not into 255 bytes.
    TooLong,
    /// The all-zero address stands for the source or the gate and cannot be meant itself.
    Unspecified,
    /// The gate would refuse to read it, by this rule.
    Malformed(Malformed),
}

impl From<Malformed> for EncodeError {
    fn from(rule: Malformed) -> Self {
        Self::Malformed(rule)
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyLength => f.write_str("a body has 64 to 448 bytes"),
            Self::TooLong => f.write_str("the request does not fit into the body"),
            Self::Unspecified => f.write_str("the all-zero address cannot be allowed or be a target"),
            Self::Malformed(rule) => rule.fmt(f),
        }
    }
}

impl core::error::Error for EncodeError {}
