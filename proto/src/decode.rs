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

    /// The rule that a list of items breaks, in a body without other faults.
    fn broken_list(list: &[u8]) -> &'static str {
        let mut body = [0; 448];
        body[..4].copy_from_slice(&[1, 2, 128, 0]);
        body[48..48 + list.len()].copy_from_slice(list);
        Request::decode(&body).unwrap_err().as_str()
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
    fn an_item_ends_within_the_body() {
        assert!(body(|body| body[55..57].copy_from_slice(&[200, 7])).is_ok());
        assert_eq!(
            broken(|body| body[55..57].copy_from_slice(&[200, 8])),
            "item-truncated"
        );
        assert_eq!(
            broken(|body| body[55..64].copy_from_slice(&[200, 6, 0, 0, 0, 0, 0, 0, 200])),
            "item-truncated"
        );
    }

    #[test]
    fn rules_of_items_are_enforced() {
        for (list, rule) in [
            (&[1, 4, 6, 0, 22, 0][..], "service-length"),
            (&[1, 6, 6, 0, 22, 0, 22, 0], "service-length"),
            (&[1, 5, 7, 0, 22, 0, 22], "service-protocol"),
            (&[1, 5, 6, 0, 23, 0, 22], "service-ports"),
            (&[1, 5, 6, 0, 0, 0, 22], "service-ports"),
            (&[1, 5, 1, 0, 8, 0, 8], "service-ports"),
            (&[2, 0], "name-length"),
            (&[2, 1, b'-'], "name-characters"),
            (&[2, 2, b'a', 0xc3], "name-characters"),
            (&[3, 5, b'1', b'1', b'1', b'1', b'1'], "code-length"),
            (&[3, 6, b'1', b'1', b'1', b'1', b'1', b'x'], "code-digits"),
            (&[4, 0], "unknown-item"),
            (&[127, 1, 1], "unknown-item"),
            (&[2, 1, b'a', 2, 1, b'a'], "duplicate-item"),
            (&[128, 1, 7, 128, 1, 7], "duplicate-item"),
            (b"\x03\x06111111\x03\x06111111", "duplicate-item"),
            (b"\x03\x06111111\x03\x06222222", "too-many-codes"),
        ] {
            assert_eq!(broken_list(list), rule, "{list:?}");
        }
        let mut name = [b'a'; 35];
        (name[0], name[1]) = (2, 33);
        assert_eq!(broken_list(&name), "name-length");
        let services: Vec<u8> = (1..=17)
            .flat_map(|port| [1, 5, 17, 0, port, 0, port])
            .collect();
        assert_eq!(broken_list(&services), "too-many-services");
        assert_eq!(
            broken_list(&[&services[..16 * 7], b"\x02\x03web"].concat()),
            "too-many-services"
        );
    }

    #[test]
    fn only_an_open_needs_a_service() {
        let without = |action| {
            body(|body| {
                body[1] = action;
                body[48..55].fill(0)
            })
        };
        assert_eq!(without(1), Err(Malformed::NoService));
        assert!(without(2).unwrap().items.is_empty());
    }

    #[test]
    fn a_body_of_impossible_length_is_refused() {
        for len in [0, 1, 47, 48, 63, 449, 1000] {
            let mut body = [0; 1000];
            (body[0], body[1]) = (1, 2);
            assert_eq!(
                Request::decode(&body[..len]),
                Err(Malformed::ItemTruncated),
                "{len}"
            );
        }
    }

    #[test]
    fn the_first_broken_rule_is_reported() {
        let all = |body: &mut [u8; 64]| body.copy_from_slice(&[255; 64]);
        assert_eq!(broken(all), "version");
        assert_eq!(broken(|body| (body[1], body[63]) = (9, 9)), "action");
    }
}
