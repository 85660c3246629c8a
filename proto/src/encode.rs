//! Encodes a request as a body (README.md section 5).
//!
//! Refuses a request that the decoder would refuse or decode differently. A request has one encoding for each body length.

use core::fmt;

use crate::decode::number;
use crate::item::Item;
use crate::limits::{BODY_HEAD_LEN, BODY_MAX, BODY_MIN, SERVICE_LEN, VERSION};
use crate::malformed::Malformed;
use crate::request::{Action, Allow, Request, check_complete, check_next};

impl Request {
    /// The bytes that it needs without padding. The shortest body has 64.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        BODY_HEAD_LEN
            + self
                .items
                .iter()
                .map(|item| 2 + value_len(item))
                .sum::<usize>()
    }

    /// Encodes it into a body of `out.len()` bytes, 64 to 448. A refused request leaves `out` unchanged.
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

/// Checks a skipped item: its type allows any kind and any value.
fn check_item(item: &Item) -> Result<(), EncodeError> {
    match item {
        Item::Skipped { kind, .. } if *kind < number::SKIPPED_FIRST => {
            Err(Malformed::UnknownItem.into())
        }
        Item::Skipped { value, .. } if value.len() > usize::from(u8::MAX) => {
            Err(EncodeError::TooLong)
        }
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

struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let room = self
            .0
            .split_off_mut(..bytes.len())
            .ok_or(EncodeError::TooLong)?;
        room.copy_from_slice(bytes);
        Ok(())
    }

    fn fill_with_zeros(self) {
        self.0.fill(0);
    }
}

/// Why a request cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncodeError {
    /// A body has 64 to 448 bytes.
    BodyLength,
    /// The request does not fit into this body, or the value of an item into 255 bytes.
    TooLong,
    /// The all-zero address means the source or the gate, so a request cannot name it.
    Unspecified,
    /// The decoder would refuse it by this rule.
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
            Self::Unspecified => {
                f.write_str("the all-zero address cannot be allowed or be a target")
            }
            Self::Malformed(rule) => rule.fmt(f),
        }
    }
}

impl core::error::Error for EncodeError {}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::item::Code;
    use crate::name::ServiceName;
    use crate::service::{Protocol, Service};

    fn request() -> Request {
        Request {
            action: Action::Open,
            allow: Allow::Network {
                address: "::ffff:192.0.2.0".parse().unwrap(),
                prefix: 120,
            },
            timestamp_ms: 0x0102_0304_0506_0708,
            duration_s: 30,
            target: Some("2001:db8::5".parse().unwrap()),
            items: vec![
                Item::Service(Service::new(Protocol::Tcp, 22, 23).unwrap()),
                Item::Name(ServiceName::new("web").unwrap()),
                Item::Code(Code::new("123456").unwrap()),
                Item::Skipped {
                    kind: 200,
                    value: vec![9],
                },
            ],
        }
    }

    /// The error of encoding after `change`, in the longest body.
    fn refused(change: impl FnOnce(&mut Request)) -> EncodeError {
        let mut request = request();
        change(&mut request);
        let mut out = [0xaa; 448];
        let error = request.encode(&mut out).unwrap_err();
        assert_eq!(out, [0xaa; 448], "out is unchanged");
        error
    }

    #[test]
    fn a_wrong_body_length_is_refused() {
        let mut out = [0; 449];
        let len = request().encoded_len();
        let expected = Err(EncodeError::TooLong);
        assert_eq!(request().encode(&mut out[..len - 1]), expected);
        let found = request().encode(&mut out[..63]);
        assert_eq!(found, Err(EncodeError::BodyLength));
        assert_eq!(request().encode(&mut out), Err(EncodeError::BodyLength));
    }

    #[test]
    fn undecodable_or_ambiguous_requests_are_refused() {
        let rule = EncodeError::Malformed;
        let source = |prefix| Allow::Source { prefix };
        let network = |text: &str, prefix| Allow::Network {
            address: text.parse().unwrap(),
            prefix,
        };
        for (allow, error) in [
            (source(129), rule(Malformed::AllowPrefix)),
            (network("2001:db8::", 129), rule(Malformed::AllowPrefix)),
            (network("2001:db8::1", 64), rule(Malformed::HostBits)),
            (network("::", 0), EncodeError::Unspecified),
        ] {
            assert_eq!(refused(|request| request.allow = allow), error);
        }
        let skipped = |kind, len| Item::Skipped {
            kind,
            value: vec![0; len],
        };
        let code = Item::Code(Code::new("1234567").unwrap());
        let [_, name, _, last] = &request().items[..] else {
            panic!("four items")
        };
        for (item, error) in [
            (name.clone(), rule(Malformed::DuplicateItem)),
            (last.clone(), rule(Malformed::DuplicateItem)),
            (code, rule(Malformed::TooManyCodes)),
            (skipped(0, 0), rule(Malformed::UnknownItem)),
            (skipped(1, 0), rule(Malformed::UnknownItem)),
            (skipped(127, 0), rule(Malformed::UnknownItem)),
            (skipped(200, 256), EncodeError::TooLong),
        ] {
            assert_eq!(refused(|request| request.items.push(item)), error);
        }
        let names = (b'a'..=b'q').map(|letter| ServiceName::from_bytes(&[letter]).unwrap());
        let names: Vec<Item> = names.map(Item::Name).collect();
        let many = rule(Malformed::TooManyServices);
        assert_eq!(refused(|request| request.items = names), many);
        let none = rule(Malformed::NoService);
        assert_eq!(refused(|request| drop(request.items.drain(..2))), none);
        let target = refused(|request| request.target = Some([0; 16].into()));
        assert_eq!(target, EncodeError::Unspecified);
    }
}
