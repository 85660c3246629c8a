//! The attributes of an expression.

use crate::adapters::netlink::attributes::{find, text};
use crate::core::host_rules::Verdict;

/// As iptables decides whether it can show a table.
pub(super) fn is_of_iptables(name: &[u8], data: Data<'_>) -> bool {
    match name {
        b"match" | b"target" | b"payload" | b"meta" | b"cmp" | b"bitwise" | b"counter"
        | b"immediate" | b"range" => true,
        b"limit" => data.number(4) == Some(0) && data.number(5).unwrap_or(0) == 0,
        b"log" => data.0.is_empty() || find(data.0, 1).is_some(),
        _ => false,
    }
}

/// The attributes of an expression.
#[derive(Clone, Copy)]
pub(super) struct Data<'a>(pub(super) &'a [u8]);

impl<'a> Data<'a> {
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        let value = find(self.0, kind)?;
        value.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn is_inverted(self, kind: u16) -> bool {
        self.number(kind).unwrap_or(0) & 1 != 0
    }

    pub(super) fn value(self, kind: u16) -> Option<&'a [u8]> {
        find(find(self.0, kind)?, 1)
    }

    pub(super) fn text(self, kind: u16) -> String {
        find(self.0, kind).map(text).unwrap_or_default()
    }
}

/// The verdict in its attributes: a code, and the name of a chain.
pub(super) fn verdict(attributes: &[u8]) -> Verdict {
    let data = Data(attributes);
    let code = data.number(1).map(u32::cast_signed);
    match code {
        Some(1) => Verdict::Accept,
        Some(0) => Verdict::Drop,
        Some(-3) => Verdict::Jump(data.text(2)),
        Some(-4) => Verdict::Goto(data.text(2)),
        Some(-5) => Verdict::Return,
        Some(-1 | -2) => Verdict::Continue,
        _ => Verdict::Queue,
    }
}
