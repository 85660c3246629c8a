//! The questions to nf_tables, and where the answers come from.

use netlink_sys::protocols::NETLINK_NETFILTER;

#[cfg(test)]
use crate::adapters::netlink::attributes;
use crate::adapters::netlink::attributes::Attributes;
use crate::adapters::netlink::{Message, Netlink, NetlinkError};

const NFGENMSG_LEN: usize = 4;
// linux/netfilter/nfnetlink.h
const SUBSYSTEM: u16 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::adapters::firewall::host) enum Kind {
    Table = 1,
    Chain = 4,
    Rule = 7,
    Set = 10,
    Element = 13,
}

/// What to list: everything of a kind, or what belongs to a table, or to a chain or set of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::adapters::firewall::host) struct Question<'a> {
    pub(super) kind: Kind,
    pub(super) family: u8,
    pub(super) table: Option<&'a str>,
    /// The name of a chain for rules, of a set for elements.
    pub(super) part: Option<&'a str>,
}

impl<'a> Question<'a> {
    pub(super) fn all(kind: Kind) -> Self {
        Self {
            kind,
            family: 0,
            table: None,
            part: None,
        }
    }

    pub(super) fn of_table(kind: Kind, family: u8, table: &'a str) -> Self {
        Self {
            kind,
            family,
            table: Some(table),
            part: None,
        }
    }
}

/// A source of dumps: the kernel, or a recording of it.
pub(in crate::adapters::firewall::host) trait Dumps {
    /// What `read` makes of a whole dump; it gets each object's family and attributes.
    fn dump<R: Default>(
        &mut self,
        question: Question<'_>,
        read: impl FnMut(&mut R, u8, &[u8]),
    ) -> Result<R, NetlinkError>;
}

/// A socket in the network namespace of the calling thread.
pub(in crate::adapters::firewall::host) fn open() -> std::io::Result<Netlink> {
    Netlink::open(NETLINK_NETFILTER)
}

impl Dumps for Netlink {
    fn dump<R: Default>(
        &mut self,
        question: Question<'_>,
        mut read: impl FnMut(&mut R, u8, &[u8]),
    ) -> Result<R, NetlinkError> {
        let mut asked = Attributes::new();
        if let Some(table) = question.table {
            asked = asked.text(1, table);
        }
        if let Some(part) = question.part {
            asked = asked.text(2, part);
        }
        let header = [question.family, 0, 0, 0];
        let message = Message::new(SUBSYSTEM << 8 | question.kind as u16, 0, &header, &asked);
        Self::dump(self, &message, |result: &mut R, answer| {
            if let Some((header, object)) = answer.split_at_checked(NFGENMSG_LEN) {
                read(result, header.first().copied().unwrap_or_default(), object);
            }
            Ok(())
        })
    }
}

/// What `tests/rulesets/record.py` has recorded: the kind of each message, its length and itself.
#[cfg(test)]
#[derive(Clone, Copy)]
pub(crate) struct Recording<'a>(pub(crate) &'a [u8]);

#[cfg(test)]
impl Dumps for Recording<'_> {
    fn dump<R: Default>(
        &mut self,
        question: Question<'_>,
        mut read: impl FnMut(&mut R, u8, &[u8]),
    ) -> Result<R, NetlinkError> {
        let mut result = R::default();
        let mut rest = self.0;
        while let Some((header, more)) = rest.split_at_checked(8) {
            let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
            let Some((message, more)) = more.split_at_checked(number(4) as usize) else {
                break;
            };
            rest = more;
            let Some((header, object)) = message.split_at_checked(NFGENMSG_LEN) else {
                continue;
            };
            let family = header[0];
            let is = |kind, wanted: Option<&str>| {
                wanted.is_none_or(|name| {
                    attributes::find(object, kind)
                        .map(attributes::text)
                        .as_deref()
                        == Some(name)
                })
            };
            if number(0) == question.kind as u32
                && (question.family == 0 || question.family == family)
                && is(1, question.table)
                && is(2, question.part)
            {
                read(&mut result, family, object);
            }
        }
        Ok(result)
    }
}
