//! The messages of nf_tables that the driver sends: table, sets, chains, rules, elements, as the library's types.
//!
//! Owns flags and attributes, and how much time an element is given. Pure.

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL,
};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, GenMessage, Hook, HookNumber, InetHookNumber,
    ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetDescription,
    SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute,
    TableMessage,
};

use super::elements::{Act, Step};
use super::expr::Expr;
use super::sets::{self, Field, Set};
use super::table::{self, TABLE};
use crate::model::time::Timestamp;

/// The shortest time an element is given. The kernel counts in ticks of up to 10 ms and takes less than one for "without end".
const SHORTEST_MS: u64 = 10;
const NF_ACCEPT: u32 = 1;
const NFTA_SET_FIELD_LEN: u16 = 1;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;

/// A message, and the flags it is sent with besides those of every request.
pub(super) type Message = (NfTablesMessage, u16);

pub(super) fn new_table() -> Message {
    (
        NfTablesMessage::NewTable(TableMessage {
            attributes: vec![TableAttribute::Name(TABLE.to_owned())],
        }),
        NLM_F_CREATE,
    )
}

pub(super) fn delete_table() -> Message {
    (delete_table_of(TABLE), 0)
}

pub(super) fn delete_table_of(name: &str) -> NfTablesMessage {
    NfTablesMessage::DeleteTable(TableMessage {
        attributes: vec![TableAttribute::Name(name.to_owned())],
    })
}

pub(super) fn get_table() -> NfTablesMessage {
    NfTablesMessage::GetTable(TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned())],
    })
}

/// Asks for the number of the ruleset, which every kernel with nf_tables has.
pub(super) fn get_generation() -> NfTablesMessage {
    NfTablesMessage::GetGen(GenMessage {
        attributes: Vec::new(),
    })
}

pub(super) fn new_set(set: Set) -> Message {
    let mut flags = SetFlags::Timeout;
    let mut description: Vec<SetDescription> =
        set.size().map(SetDescription::Size).into_iter().collect();
    if set.intervals() {
        flags |= SetFlags::Interval;
    }
    let field_len =
        |field: &Field| DefaultNla::new(NFTA_SET_FIELD_LEN, field.len().to_be_bytes().to_vec());
    if set.fields().len() > 1 {
        flags |= SetFlags::Concat;
        description.push(SetDescription::Concat(
            set.fields()
                .iter()
                .map(|field| nested(NFTA_LIST_ELEM, &field_len(field)))
                .collect(),
        ));
    }
    if set.data_fields().is_some() {
        flags |= SetFlags::Map;
    }
    let mut attributes = vec![
        SetAttribute::Table(TABLE.to_owned()),
        SetAttribute::Name(set.name().to_owned()),
        SetAttribute::Id(set.id()),
        SetAttribute::Flags(flags),
        SetAttribute::KeyType(set.key_type()),
        SetAttribute::KeyLen(set.key_len()),
        SetAttribute::Description(description),
    ];
    if let Some(fields) = set.data_fields() {
        attributes.extend([
            SetAttribute::DataType(sets::nft_type(fields)),
            SetAttribute::DataLen(sets::padded_len(fields)),
        ]);
    }
    (
        NfTablesMessage::NewSet(SetMessage { attributes }),
        NLM_F_CREATE,
    )
}

pub(super) fn new_chain(chain: &table::Chain) -> Message {
    let mut attributes = vec![
        ChainAttribute::Table(TABLE.to_owned()),
        ChainAttribute::Name(chain.name.to_owned()),
    ];
    let number = match chain.hook {
        table::Hook::Input => Some(InetHookNumber::LocalIn),
        table::Hook::Forward => Some(InetHookNumber::Forward),
        table::Hook::Prerouting => Some(InetHookNumber::PreRouting),
        table::Hook::Postrouting => Some(InetHookNumber::PostRouting),
        table::Hook::None => None,
    };
    if let Some(number) = number {
        let (kind, priority) = chain.hook.kind_and_priority();
        attributes.extend([
            ChainAttribute::Hook(vec![
                Hook::Number(HookNumber::Inet(number)),
                Hook::Priority(priority.cast_unsigned()),
            ]),
            ChainAttribute::Policy(NF_ACCEPT),
            ChainAttribute::Type(kind.to_owned()),
        ]);
    }
    (
        NfTablesMessage::NewChain(ChainMessage { attributes }),
        NLM_F_CREATE,
    )
}

pub(super) fn new_rule(chain: &table::Chain, exprs: Vec<Expr>) -> Message {
    let attributes = vec![
        RuleAttribute::Table(TABLE.to_owned()),
        RuleAttribute::Chain(chain.name.to_owned()),
        RuleAttribute::Expressions(exprs),
    ];
    (
        NfTablesMessage::NewRule(RuleMessage { attributes }),
        NLM_F_CREATE | NLM_F_APPEND,
    )
}

/// The message for a step, when it is `now`.
pub(super) fn step(step: &Step, now: Timestamp) -> Message {
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(
        step.element.key.clone(),
    ))];
    if let Some(end) = &step.element.end {
        attributes.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(
            NFTA_DATA_VALUE,
            end.clone(),
        )]));
    }
    if let (Act::Add { .. } | Act::Touch, Some(data)) = (&step.act, &step.element.data) {
        attributes.push(SetElementAttribute::Data(DataAttribute::Value(
            data.clone(),
        )));
    }
    match &step.act {
        Act::Add { until, userdata } => {
            attributes.push(SetElementAttribute::Timeout(remaining_ms(*until, now)));
            attributes.push(SetElementAttribute::UserData(userdata.clone()));
        }
        Act::Touch => attributes.push(SetElementAttribute::Timeout(SHORTEST_MS)),
        Act::Delete | Act::DeleteIfThere => {}
    }
    let message = SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(step.element.set.name().to_owned()),
            SetElementList::Elements(vec![ListAttribute::Element(attributes)]),
        ],
    };
    match step.act {
        // an element that stands where none should is no success: it would keep its own end
        Act::Add { .. } => (
            NfTablesMessage::NewSetElement(message),
            NLM_F_CREATE | NLM_F_EXCL,
        ),
        Act::Touch => (NfTablesMessage::NewSetElement(message), NLM_F_CREATE),
        Act::Delete | Act::DeleteIfThere => (NfTablesMessage::DeleteSetElement(message), 0),
    }
}

/// Asks for all rules of the table.
pub(super) fn get_rules() -> NfTablesMessage {
    NfTablesMessage::GetRule(RuleMessage {
        attributes: vec![RuleAttribute::Table(TABLE.to_owned())],
    })
}

/// Asks for all elements of a set.
pub(super) fn get_elements(set: Set) -> NfTablesMessage {
    let attributes = vec![
        SetElementList::Table(TABLE.to_owned()),
        SetElementList::Set(set.name().to_owned()),
    ];
    NfTablesMessage::GetSetElement(SetElementMessage { attributes })
}

fn remaining_ms(until: Timestamp, now: Timestamp) -> u64 {
    until
        .as_millis()
        .saturating_sub(now.as_millis())
        .max(SHORTEST_MS)
}

fn nested(kind: u16, inner: &DefaultNla) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::firewall::nftables::elements::Element;

    #[test]
    fn an_element_is_never_added_without_an_end() {
        for (until, millis) in [(0, 10), (999, 10), (1_003, 10), (31_000, 30_000)] {
            assert_eq!(
                remaining_ms(Timestamp::from_millis(until), Timestamp::from_millis(1_000)),
                millis
            );
        }
        for act in [
            Act::Add {
                until: Timestamp::default(),
                userdata: Vec::new(),
            },
            Act::Touch,
        ] {
            let (message, _) = step(
                &Step {
                    element: Element::record(1, 0),
                    act,
                },
                Timestamp::from_millis(5),
            );
            assert!(
                format!("{message:?}").contains("Timeout(10)"),
                "{message:?}"
            );
        }
    }
}
