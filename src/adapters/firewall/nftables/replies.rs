//! What the kernel answers about nf_tables: elements, rules, the table's state and the ruleset's number. Pure.

use netlink_packet_core::DecodeError;

use crate::adapters::netlink::NetlinkError;
use crate::adapters::netlink::attributes::{each, find, text};

const NFGENMSG_LEN: usize = 4;
const TABLE_DORMANT: u32 = 1;
const COUNTER: &[u8] = b"counter\0";

#[derive(Debug, Default)]
pub(super) struct ListedElement {
    pub(super) key: Vec<u8>,
    pub(super) userdata: Vec<u8>,
    pub(super) remaining_ms: u64,
}

pub(super) fn attributes(message: &[u8]) -> &[u8] {
    message.get(NFGENMSG_LEN..).unwrap_or_default()
}

pub(super) fn elements(message: &[u8]) -> Result<Vec<ListedElement>, DecodeError> {
    let mut elements = Vec::new();
    for list in each(attributes(message)) {
        let (3, list) = list? else { continue };
        for element in each(list) {
            elements.push(element_of(element?.1)?);
        }
    }
    Ok(elements)
}

fn element_of(attributes: &[u8]) -> Result<ListedElement, DecodeError> {
    let mut element = ListedElement::default();
    for attribute in each(attributes) {
        let (kind, value) = attribute?;
        match kind {
            1 => element.key = find(value, 1).unwrap_or_default().to_vec(),
            5 => element.remaining_ms = value.try_into().map_or(0, u64::from_be_bytes),
            6 => element.userdata = value.to_vec(),
            _ => {}
        }
    }
    Ok(element)
}

pub(super) fn rule(message: &[u8], table: &str) -> Result<Option<(String, Vec<u8>)>, DecodeError> {
    let (mut is_in_table, mut chain, mut expressions) = (false, None, Vec::new());
    for attribute in each(attributes(message)) {
        let (kind, value) = attribute?;
        match kind {
            1 => is_in_table = text(value) == table,
            2 => chain = Some(text(value)),
            4 => expressions = without_counts(value)?,
            _ => {}
        }
    }
    Ok(chain
        .filter(|_| is_in_table)
        .map(|chain| (chain, expressions)))
}

fn without_counts(expressions: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut kept = Vec::new();
    for expression in each(expressions) {
        let (_, expression) = expression?;
        match find(expression, 1) {
            Some(COUNTER) => kept.extend_from_slice(COUNTER),
            _ => kept.extend_from_slice(expression),
        }
    }
    Ok(kept)
}

pub(super) fn is_dormant(message: &[u8]) -> Result<bool, NetlinkError> {
    number(message, 2).map(|flags| flags & TABLE_DORMANT != 0)
}

pub(super) fn generation(message: &[u8]) -> Result<u32, NetlinkError> {
    number(message, 1)
}

pub(super) fn number(message: &[u8], kind: u16) -> Result<u32, NetlinkError> {
    find(attributes(message), kind)
        .and_then(|value| value.try_into().ok())
        .map(u32::from_be_bytes)
        .ok_or_else(|| NetlinkError::Unreadable(format!("it has no attribute {kind}")))
}

/// The number by which the kernel knows an object.
pub(super) fn handle(message: &[u8], kind: u16) -> u64 {
    let value = find(attributes(message), kind).and_then(|value| value.try_into().ok());
    value.map_or(0, u64::from_be_bytes)
}
