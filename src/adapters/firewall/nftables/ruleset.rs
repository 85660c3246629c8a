//! Rules in the host's own tables of nf_tables, those of iptables included.

use rustix::io::Errno;

use super::expressions::{self, Expression};
use super::kernel::Kernel;
use super::messages::Author;
use super::{errors, messages, xt_matches};
use crate::adapters::firewall::FirewallError;
use crate::adapters::netlink::{Message, NetlinkError, Refusal};
use crate::core::host_rules::accept_rules::{Action, Change};
use crate::core::host_rules::{AcceptRule, PortOf, Table};
use crate::model::address::Family;

/// Inserts and deletes rules in the host's tables, in one transaction.
pub(crate) fn change_host_rules(changes: &[&Change]) -> Result<(), FirewallError> {
    let mut kernel = Kernel::open()?;
    let done = match kernel.transaction(messages(changes, true)) {
        // The kernel lacks a module for the matches of iptables.
        Err(error) if error.is_all(Errno::NOENT) => kernel.transaction(messages(changes, false)),
        done => done,
    };
    done.map_err(|error| failure(changes, &error))
}

/// Rules in tables of iptables can look like those of iptables.
fn messages(changes: &[&Change], like_iptables: bool) -> impl Iterator<Item = Message> {
    changes.iter().map(move |change| {
        let family = messages::family_of_table(change.table.family);
        let (table, chain) = (&change.table.name, &change.chain);
        match &change.action {
            Action::Delete { handle } => {
                messages::delete_foreign_rule(family, table, chain, *handle)
            }
            Action::Insert { before_handle, .. } => {
                let before = Some(*before_handle).filter(|handle| *handle != 0);
                let place = (family, table.as_str(), chain.as_str());
                let (rule, comment) = (change.rule, change.rule.comment());
                let (expressions, author) = if like_iptables && !change.table.is_nft() {
                    let protocol = rule.service.protocol();
                    (xt_matches::accept(rule), Author::Iptables { protocol })
                } else {
                    (accept(rule), Author::Nft { comment: &comment })
                };
                messages::insert_foreign_rule(place, before, &expressions, author)
            }
        }
    })
}

fn failure(changes: &[&Change], error: &NetlinkError) -> FirewallError {
    let change_of = |refusal: &Refusal| changes.get(refusal.index.unwrap_or(0));
    let owned_table = match error {
        NetlinkError::Refused(refusals) => refusals
            .first()
            .filter(|refusal| refusal.errno == Errno::PERM)
            .and_then(change_of),
        _ => None,
    };
    match owned_table {
        Some(change) => FirewallError::HostDrops(owned(&change.table)),
        None => errors::failed(&"changing the rules in the host's own chains", error),
    }
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
