//! Rules in the host's own nft tables.

use rustix::io::Errno;

use super::expressions::{self, Expression};
use super::kernel::Kernel;
use super::{errors, messages};
use crate::adapters::firewall::FirewallError;
use crate::adapters::netlink::{NetlinkError, Refusal};
use crate::core::host_rules::Table;
use crate::core::host_rules::accept_rules::{AcceptRule, Action, Change, PortOf};
use crate::model::address::Family;

/// Inserts and deletes rules in the host's nft tables, in one transaction.
pub(crate) fn change_host_rules(changes: &[&Change]) -> Result<(), FirewallError> {
    let messages = changes.iter().map(|change| {
        let family = messages::family_of_table(change.table.family);
        let (table, chain) = (&change.table.name, &change.chain);
        match &change.action {
            Action::Delete { handle } => {
                messages::delete_foreign_rule(family, table, chain, *handle)
            }
            Action::Insert { before_handle, .. } => messages::insert_foreign_rule(
                family,
                table,
                chain,
                Some(*before_handle).filter(|handle| *handle != 0),
                &accept(change.rule),
                &change.rule.comment(),
            ),
        }
    });
    Kernel::open()?.transaction(messages).map_err(|error| {
        let change_of = |refusal: &Refusal| changes.get(refusal.index.unwrap_or(0));
        let owned_table = match &error {
            NetlinkError::Refused(refusals) => refusals
                .first()
                .filter(|refusal| refusal.errno == Errno::PERM)
                .and_then(change_of),
            _ => None,
        };
        match owned_table {
            Some(change) => FirewallError::HostDrops(owned(&change.table)),
            None => errors::failed(&"changing the rules in the host's own chains", &error),
        }
    })
}

/// The kernel lets only the owner change a table with `flags owner`.
pub(crate) fn owned(table: &Table) -> String {
    let cure = if table.name == "firewalld" {
        "write NftablesTableOwner=no in /etc/firewalld/firewalld.conf and restart firewalld"
    } else {
        "let its owner load it without \"flags owner\""
    };
    format!("{table} drops granted packets, and its owner lets nobody else change it; {cure}")
}

fn accept(rule: AcceptRule) -> Vec<Expression> {
    let service = rule.service;
    let matched = match (service.range(), service.protocol_name()) {
        (Some((first, last)), _) => {
            let mut expressions = expressions::protocol(service.protocol()).to_vec();
            expressions.extend(match rule.port {
                PortOf::Packet => expressions::port(first, last),
                PortOf::Sender => expressions::port_of_sender(first, last),
            });
            expressions
        }
        (None, "icmpv6") => expressions::echo_request(Family::V6),
        (None, _) => expressions::echo_request(Family::V4),
    };
    let mark = expressions::has_packet_mark(rule.mark);
    let verdict = [expressions::counter(), expressions::accept()];
    [&matched[..], &mark, &verdict].concat()
}
