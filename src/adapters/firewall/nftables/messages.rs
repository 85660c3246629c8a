//! The nf_tables messages that the driver sends: table, sets, chains, rules and elements. Pure.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

use super::elements::{Action, ElementChange};
use super::expressions::{self, Expression};
use super::rule::{Chain, Hook};
use super::sets::Set;
use crate::adapters::netlink::Message;
use crate::adapters::netlink::attributes::Attributes;
use crate::model::address::Family;
use crate::model::host_set::HostSet;
use crate::model::time::Timestamp;

/// The shortest timeout of an element. The kernel counts in ticks of up to 10 ms, and a timeout below one tick means
/// "without end".
const SHORTEST_MS: u64 = 10;

// linux/netfilter.h
pub(super) const NFPROTO_INET: u8 = 1;
// linux/netfilter/nfnetlink.h
pub(super) const SUBSYSTEM: u16 = 10;
// linux/netfilter/nf_tables.h: message types
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const GET_SET: u16 = 10;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;
const GET_GENERATION: u16 = 16;
// Flags of a set
const INTERVAL: u32 = 0x04;
const MAP: u32 = 0x08;
const TIMEOUT: u32 = 0x10;
const CONCAT: u32 = 0x80;
const TABLE_NAME: u16 = 1;
const LIST_ELEMENT: u16 = 1;

fn message(kind: u16, flags: u16, attributes: &Attributes) -> Message {
    message_for(NFPROTO_INET, kind, flags, attributes)
}

fn message_for(family: u8, kind: u16, flags: u16, attributes: &Attributes) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &[family, 0, 0, 0], attributes)
}

pub(super) fn new_table(table: &str) -> Message {
    new_table_of(NFPROTO_INET, table)
}

pub(super) fn delete_table(table: &str) -> Message {
    delete_table_of(NFPROTO_INET, table)
}

fn of_table(table: &str) -> Attributes {
    Attributes::new().text(TABLE_NAME, table)
}

fn of_chain(table: &str, chain: &str) -> Attributes {
    of_table(table).text(2, chain)
}

pub(super) fn new_table_of(family: u8, table: &str) -> Message {
    message_for(family, NEW_TABLE, NLM_F_CREATE, &of_table(table))
}

pub(super) fn delete_table_of(family: u8, table: &str) -> Message {
    message_for(family, DELETE_TABLE, 0, &of_table(table))
}

pub(super) fn get_tables(family: u8) -> Message {
    message_for(family, GET_TABLE, 0, &Attributes::new())
}

pub(super) fn get_chains(family: u8) -> Message {
    message_for(family, GET_CHAIN, 0, &Attributes::new())
}

pub(super) fn new_chain_of(family: u8, table: &str, chain: &str) -> Message {
    let attributes = of_table(table).text(3, chain);
    message_for(family, NEW_CHAIN, NLM_F_CREATE, &attributes)
}

pub(super) fn delete_chain_of(family: u8, table: &str, chain: &str) -> Message {
    message_for(family, DELETE_CHAIN, 0, &of_table(table).text(3, chain))
}

pub(super) fn get_rules_of(family: u8, table: &str, chain: &str) -> Message {
    message_for(family, GET_RULE, 0, &of_chain(table, chain))
}

/// Deletes all rules of a chain.
pub(super) fn delete_rules_of(family: u8, table: &str, chain: &str) -> Message {
    message_for(family, DELETE_RULE, 0, &of_chain(table, chain))
}

pub(super) fn get_sets_of(family: u8, table: &str) -> Message {
    message_for(family, GET_SET, 0, &of_table(table))
}

pub(super) fn get_table(table: &str) -> Message {
    message(GET_TABLE, 0, &of_table(table))
}

/// Asks for the number of the ruleset, which every kernel with nf_tables has.
pub(super) fn get_generation() -> Message {
    message(GET_GENERATION, 0, &Attributes::new())
}

pub(super) fn get_rules(table: &str) -> Message {
    message(GET_RULE, 0, &of_table(table))
}

pub(super) fn get_elements(table: &str, set: Set) -> Message {
    message(GET_ELEMENT, 0, &of_table(table).text(2, &set.name()))
}

/// Adds a set, which has this number within the transaction.
pub(super) fn new_set(table: &str, set: Set, number: u32) -> Message {
    let (key, data) = (set.fields(), set.data_fields());
    let flag = |flag, is_set| if is_set { flag } else { 0 };
    let flags = TIMEOUT
        | flag(INTERVAL, set.has_intervals())
        | flag(MAP, set.is_map())
        | flag(CONCAT, key.len() > 1);
    let mut description = Attributes::new();
    if let Some(size) = set.size() {
        description = description.number(1, size);
    }
    if key.len() > 1 {
        let lengths = key.iter().fold(Attributes::new(), |all, field| {
            let length = Attributes::new().number(1, set.field_len(*field));
            all.nested(LIST_ELEMENT, &length)
        });
        description = description.nested(2, &lengths);
    }
    let mut attributes = of_table(table)
        .text(2, &set.name())
        .number(3, flags)
        .number(4, set.nft_type_of(key))
        .number(5, set.len_of(key))
        .nested(9, &description)
        .number(10, number);
    if set.is_map() {
        attributes = attributes
            .number(6, set.nft_type_of(data))
            .number(7, set.len_of(data));
    }
    message(NEW_SET, NLM_F_CREATE, &attributes)
}

pub(super) fn new_chain(table: &str, chain: &Chain) -> Message {
    let mut attributes = of_table(table).text(3, chain.name);
    if let Hook::Packet {
        number,
        kind,
        priority,
    } = chain.hook
    {
        let hook = Attributes::new()
            .number(1, number)
            .number(2, priority.cast_unsigned());
        attributes = attributes
            .nested(4, &hook)
            .number(5, expressions::NF_ACCEPT)
            .text(7, kind);
    }
    message(NEW_CHAIN, NLM_F_CREATE, &attributes)
}

pub(super) fn new_rule(table: &str, chain: &Chain, rule: &[Expression]) -> Message {
    let mut expressions = Attributes::new();
    for expression in rule {
        expressions = expressions.nested(LIST_ELEMENT, expression);
    }
    let attributes = of_chain(table, chain.name).nested(4, &expressions);
    message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, &attributes)
}

/// Inserts a rule into a table of others, before the rule with this handle or at the end of the chain.
pub(super) fn insert_foreign_rule(
    (family, table, chain): (u8, &str, &str),
    before: Option<u64>,
    rule: &[Expression],
    author: Author<'_>,
) -> Message {
    let expressions = rule.iter().fold(Attributes::new(), |all, expression| {
        all.nested(LIST_ELEMENT, expression)
    });
    let mut attributes = of_chain(table, chain).nested(4, &expressions);
    attributes = match author {
        Author::Nft { comment } => attributes.bytes(7, &comment_data(comment)),
        Author::Iptables { protocol } => {
            let compatible = Attributes::new().number(1, protocol.into()).number(2, 0);
            attributes.nested(5, &compatible)
        }
    };
    let mut flags = NLM_F_CREATE;
    match before {
        Some(handle) => attributes = attributes.bytes(6, &handle.to_be_bytes()),
        None => flags |= NLM_F_APPEND,
    }
    message_for(family, NEW_RULE, flags, &attributes)
}

/// Whose rule a rule looks like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Author<'a> {
    Nft {
        comment: &'a str,
    },
    /// The kernel compares the protocol with the one that each match wants.
    Iptables {
        protocol: u8,
    },
}

pub(super) fn delete_foreign_rule(family: u8, table: &str, chain: &str, handle: u64) -> Message {
    let attributes = of_chain(table, chain).bytes(3, &handle.to_be_bytes());
    message_for(family, DELETE_RULE, 0, &attributes)
}

pub(super) fn change_element(table: &str, change: &ElementChange, now: Timestamp) -> Message {
    let value = |bytes: &[u8]| Attributes::new().bytes(1, bytes);
    let ElementChange { element, action } = change;
    let timeout = |millis: u64| millis.max(SHORTEST_MS).to_be_bytes();
    let mut attributes = Attributes::new().nested(1, &value(&element.key));
    if let Some(end) = &element.end {
        attributes = attributes.nested(10, &value(end));
    }
    if let (Action::Add { .. } | Action::Touch, Some(data)) = (action, &element.data) {
        attributes = attributes.nested(2, &value(data));
    }
    let (kind, flags) = match action {
        Action::Add { until, userdata } => {
            let left = until.as_millis().saturating_sub(now.as_millis());
            attributes = attributes.bytes(4, &timeout(left)).bytes(6, userdata);
            // an element that already exists must be an error: it would keep its own end
            (NEW_ELEMENT, NLM_F_CREATE | NLM_F_EXCL)
        }
        Action::Touch => {
            attributes = attributes.bytes(4, &timeout(0));
            (NEW_ELEMENT, NLM_F_CREATE)
        }
        Action::Delete | Action::DeleteIfPresent => (DELETE_ELEMENT, 0),
    };
    let elements = Attributes::new().nested(LIST_ELEMENT, &attributes);
    let set = of_table(table).text(2, &element.set.name());
    message(kind, flags, &set.nested(3, &elements))
}

/// Adds elements that stay until the table is deleted.
pub(super) fn add_lasting(table: &str, set: Set, keys: &[Vec<u8>]) -> Message {
    let elements = keys.iter().fold(Attributes::new(), |all, key| {
        let key = Attributes::new().nested(1, &Attributes::new().bytes(1, key));
        all.nested(LIST_ELEMENT, &key)
    });
    let attributes = of_table(table).text(2, &set.name()).nested(3, &elements);
    message(NEW_ELEMENT, NLM_F_CREATE, &attributes)
}

/// What happens to an element of a set of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ElementStep {
    Add {
        millis: u64,
        comment: String,
    },
    /// Adds it for a moment unless it exists. Then a deletion in the same transaction succeeds.
    Touch,
    Delete,
}

pub(super) fn change_host_set(set: &HostSet, key: &[u8], change: &ElementStep) -> Message {
    let attributes = Attributes::new().nested(1, &Attributes::new().bytes(1, key));
    let timeout = |millis: u64| millis.max(SHORTEST_MS).to_be_bytes();
    let (kind, flags, attributes) = match change {
        ElementStep::Add { millis, comment } => (
            NEW_ELEMENT,
            NLM_F_CREATE | NLM_F_EXCL,
            attributes
                .bytes(4, &timeout(*millis))
                .bytes(6, &comment_data(comment)),
        ),
        ElementStep::Touch => (NEW_ELEMENT, NLM_F_CREATE, attributes.bytes(4, &timeout(0))),
        ElementStep::Delete => (DELETE_ELEMENT, 0, attributes),
    };
    let elements = Attributes::new().nested(LIST_ELEMENT, &attributes);
    host_set_message(kind, flags, set, &in_host_set(set).nested(3, &elements))
}

pub(super) fn get_host_element(set: &HostSet, key: &[u8]) -> Message {
    let attributes = Attributes::new().nested(1, &Attributes::new().bytes(1, key));
    let elements = Attributes::new().nested(LIST_ELEMENT, &attributes);
    host_set_message(GET_ELEMENT, 0, set, &in_host_set(set).nested(3, &elements))
}

pub(super) fn get_host_elements(set: &HostSet) -> Message {
    host_set_message(GET_ELEMENT, 0, set, &in_host_set(set))
}

pub(super) fn get_host_set(set: &HostSet) -> Message {
    host_set_message(GET_SET, 0, set, &in_host_set(set))
}

pub(super) fn get_host_table(set: &HostSet) -> Message {
    let table = Attributes::new().text(TABLE_NAME, &set.table);
    host_set_message(GET_TABLE, 0, set, &table)
}

/// Asks for the sets of every table and family.
pub(super) fn get_all_sets() -> Message {
    message_for(0, GET_SET, 0, &Attributes::new())
}

fn in_host_set(set: &HostSet) -> Attributes {
    Attributes::new()
        .text(TABLE_NAME, &set.table)
        .text(2, &set.name)
}

fn host_set_message(kind: u16, flags: u16, set: &HostSet, attributes: &Attributes) -> Message {
    message_for(family_of_table(set.family), kind, flags, attributes)
}

pub(super) fn family_of_table(name: &str) -> u8 {
    match name {
        "ip" => expressions::family_number(Family::V4),
        "ip6" => expressions::family_number(Family::V6),
        _ => NFPROTO_INET,
    }
}

/// libnftnl stores a comment as type 0, its length, and the text with a zero byte.
fn comment_data(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len().saturating_add(1)).unwrap_or(u8::MAX);
    [&[0, length], comment.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::firewall::nftables::elements::Element;

    /// The timeout attribute of an element that is added at 1000 ms, and one that is touched.
    #[test]
    fn elements_are_never_added_without_end() {
        let has_timeout = |action, millis: u64| {
            let element = Element::record(1, 0);
            let message = change_element(
                "t",
                &ElementChange { element, action },
                Timestamp::from_millis(1_000),
            );
            let expected = Attributes::new().bytes(4, &millis.to_be_bytes());
            let expected = format!("{:?}", expected.as_bytes());
            format!("{message:?}").contains(expected.trim_matches(['[', ']']))
        };
        for (until, millis) in [(0, 10), (999, 10), (1_003, 10), (31_000, 30_000)] {
            let add = Action::Add {
                until: Timestamp::from_millis(until),
                userdata: Vec::new(),
            };
            assert!(has_timeout(add, millis), "{until}");
        }
        assert!(has_timeout(Action::Touch, 10));
    }
}
