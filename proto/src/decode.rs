//! Decodes a body to its last byte (README.md section 5; section 6, step 5).
//!
//! Sees only bodies that passed mac and AEAD, but trusts none of them: the first broken rule ends decoding.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::item::{Code, Item};
use crate::limits::{BODY_MAX, BODY_MIN, SERVICE_LEN, VERSION};
use crate::malformed::Malformed;
use crate::name::ServiceName;
use crate::reader::Reader;
use crate::request::{Action, Allow, Request, check_complete, check_next};
use crate::service::{Protocol, Service};

/// The numbers of actions and item kinds, shared with the encoder.
pub(crate) mod number {
    pub(crate) const OPEN: u8 = 1;
    pub(crate) const CLOSE: u8 = 2;

    pub(crate) const END: u8 = 0;
    pub(crate) const SERVICE: u8 = 1;
    pub(crate) const NAME: u8 = 2;
    pub(crate) const CODE: u8 = 3;
    pub(crate) const SKIPPED_FIRST: u8 = 128;
}

impl Request {
    /// Decodes a body of 64 to 448 bytes, or returns the first rule that it breaks.
    ///
    /// A body of any other length is [`Malformed::ItemTruncated`]. The result encodes to the same bytes again.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        if !(BODY_MIN..=BODY_MAX).contains(&body.len()) {
            return Err(Malformed::ItemTruncated);
        }
        let mut reader = Reader::new(body);
        let [version, action, prefix, reserved] = field(&mut reader)?;
        if version != VERSION {
            return Err(Malformed::Version);
        }
        let action = match action {
            number::OPEN => Action::Open,
            number::CLOSE => Action::Close,
            _ => return Err(Malformed::Action),
        };
        Allow::check_prefix(prefix)?;
        if reserved != 0 {
            return Err(Malformed::Reserved);
        }
        let timestamp_ms = u64::from_be_bytes(field(&mut reader)?);
        let duration_s = u32::from_be_bytes(field(&mut reader)?);
        let address = Ipv6Addr::from(field::<16>(&mut reader)?);
        Allow::check_bits(address, prefix)?;
        let allow = if address.is_unspecified() {
            Allow::Source { prefix }
        } else {
            Allow::Network { address, prefix }
        };
        let target = Ipv6Addr::from(field::<16>(&mut reader)?);
        let target = (!target.is_unspecified()).then_some(target);
        let items = read_items(reader)?;
        check_complete(action, &items)?;
        Ok(Self {
            action,
            allow,
            timestamp_ms,
            duration_s,
            target,
            items,
        })
    }
}

fn field<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Malformed> {
    reader.array().ok_or(Malformed::ItemTruncated)
}

/// Reads the whole rest: the list ends with the body, or with kind 0 followed only by zeros.
fn read_items(mut reader: Reader<'_>) -> Result<Vec<Item>, Malformed> {
    let mut items = Vec::new();
    while let Some(kind) = reader.byte() {
        if kind == number::END {
            let padding = reader.rest();
            return if padding.iter().all(|&byte| byte == 0) {
                Ok(items)
            } else {
                Err(Malformed::Padding)
            };
        }
        let length = reader.byte().ok_or(Malformed::ItemTruncated)?;
        let value = reader
            .take(usize::from(length))
            .ok_or(Malformed::ItemTruncated)?;
        let item = read_item(kind, value)?;
        check_next(&items, &item)?;
        items.push(item);
    }
    Ok(items)
}

fn read_item(kind: u8, value: &[u8]) -> Result<Item, Malformed> {
    Ok(match kind {
        number::SERVICE => Item::Service(read_service(value)?),
        number::NAME => Item::Name(ServiceName::from_bytes(value)?),
        number::CODE => Item::Code(Code::from_bytes(value)?),
        number::SKIPPED_FIRST.. => Item::Skipped {
            kind,
            value: value.into(),
        },
        _ => return Err(Malformed::UnknownItem),
    })
}

fn read_service(value: &[u8]) -> Result<Service, Malformed> {
    let value: [u8; SERVICE_LEN] = value.try_into().map_err(|_| Malformed::ServiceLength)?;
    let [protocol, first_high, first_low, last_high, last_low] = value;
    let protocol = Protocol::from_number(protocol).ok_or(Malformed::ServiceProtocol)?;
    Service::new(
        protocol,
        u16::from_be_bytes([first_high, first_low]),
        u16::from_be_bytes([last_high, last_low]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open of tcp/22 for the source in the shortest body, after `change`.
    fn body(change: impl FnOnce(&mut [u8; 64])) -> Result<Request, Malformed> {
        let mut body = [0; 64];
        body[..4].copy_from_slice(&[1, 1, 128, 0]);
        body[48..55].copy_from_slice(&[1, 5, 6, 0, 22, 0, 22]);
        change(&mut body);
        Request::decode(&body)
    }

    fn broken(change: impl FnOnce(&mut [u8; 64])) -> &'static str {
        body(change).unwrap_err().as_str()
    }

    #[test]
    fn rules_of_the_head_are_enforced() {
        assert!(body(|_| {}).is_ok());
        for version in [0, 2, 255] {
            assert_eq!(broken(|body| body[0] = version), "version");
        }
        for action in [0, 3, 255] {
            assert_eq!(broken(|body| body[1] = action), "action");
        }
        assert_eq!(broken(|body| body[2] = 129), "allow-prefix");
        assert_eq!(broken(|body| body[3] = 1), "reserved");
        assert!(body(|body| (body[2], body[16]) = (1, 0x80)).is_ok());
        assert_eq!(broken(|body| (body[2], body[16]) = (0, 0x80)), "host-bits");
        assert_eq!(broken(|body| (body[2], body[31]) = (127, 1)), "host-bits");
        assert!(body(|body| (body[2], body[31]) = (128, 1)).is_ok());
    }

    #[test]
    fn one_code_sent_twice_is_a_duplicate() {
        let mut body = [0; 64];
        body[..4].copy_from_slice(&[1, 2, 128, 0]);
        body[48..64].copy_from_slice(b"\x03\x06111111\x03\x06111111");
        assert_eq!(Request::decode(&body), Err(Malformed::DuplicateItem));
    }

    #[test]
    fn a_body_of_impossible_length_is_refused() {
        for len in [0, 1, 47, 48, 63, 449, 1000] {
            let mut body = [0; 1000];
            (body[0], body[1]) = (1, 2);
            let expected = Err(Malformed::ItemTruncated);
            assert_eq!(Request::decode(&body[..len]), expected, "{len}");
        }
    }

    #[test]
    fn the_first_broken_rule_is_reported() {
        let all = |body: &mut [u8; 64]| body.copy_from_slice(&[255; 64]);
        assert_eq!(broken(all), "version");
        assert_eq!(broken(|body| (body[1], body[63]) = (9, 9)), "action");
    }
}
