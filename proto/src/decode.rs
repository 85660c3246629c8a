//! Reading a body to its last byte (section 5; step 6.5).
//!
//! Only ever sees what mac and AEAD have passed; even so it trusts nothing, and the first rule broken ends it.
//! Its work is bounded by the longest body. Judges neither time nor policy.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::item::{Code, Item, Protocol, Service, ServiceName};
use crate::limits::{BODY_MAX, BODY_MIN, SERVICE_LEN, VERSION};
use crate::malformed::Malformed;
use crate::reader::Reader;
use crate::request::{Action, Allow, Request, check_complete, check_next};

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
    /// Reads a body of 64 to 448 bytes, or names the first rule that it breaks.
    ///
    /// No packet carries a body of another length; one handed in all the same is [`Malformed::ItemTruncated`].
    /// What is read encodes to the same bytes again.
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
        let allow = if address.is_unspecified() { Allow::Source { prefix } } else { Allow::Network { address, prefix } };
        let target = Ipv6Addr::from(field::<16>(&mut reader)?);
        let target = (!target.is_unspecified()).then_some(target);
        let items = read_items(reader)?;
        check_complete(action, &items)?;
        Ok(Self { action, allow, timestamp_ms, duration_s, target, items })
    }
}

fn field<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Malformed> {
    reader.array().ok_or(Malformed::ItemTruncated)
}

/// Consumes the reader: the list ends with the body, or with kind 0 and nothing but zeros behind it.
fn read_items(mut reader: Reader<'_>) -> Result<Vec<Item>, Malformed> {
    let mut items = Vec::new();
    while let Some(kind) = reader.byte() {
        if kind == number::END {
            let padding = reader.rest();
            return if padding.iter().all(|&byte| byte == 0) { Ok(items) } else { Err(Malformed::Padding) };
        }
        let length = reader.byte().ok_or(Malformed::ItemTruncated)?;
        let value = reader.take(usize::from(length)).ok_or(Malformed::ItemTruncated)?;
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
        number::SKIPPED_FIRST.. => Item::Skipped { kind, value: value.into() },
        _ => return Err(Malformed::UnknownItem),
    })
}

fn read_service(value: &[u8]) -> Result<Service, Malformed> {
    let value: [u8; SERVICE_LEN] = value.try_into().map_err(|_| Malformed::ServiceLength)?;
    let [protocol, first_high, first_low, last_high, last_low] = value;
    let protocol = Protocol::from_number(protocol).ok_or(Malformed::ServiceProtocol)?;
    Service::new(protocol, u16::from_be_bytes([first_high, first_low]), u16::from_be_bytes([last_high, last_low]))
}
