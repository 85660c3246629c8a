//! nf_tables in the kernel: transactions, dumps of the table and its state, over netlink.

use std::collections::BTreeMap;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::replies::{self, ListedElement};
use super::sets::Set;
use super::{errors, messages};
use crate::adapters::firewall::FirewallError;
use crate::adapters::netlink::{Message, Netlink, NetlinkError};

/// The rules of each chain, in order, as the kernel lists their expressions. A replaced rule keeps its handle, so
/// handles do not tell.
pub(super) type Rules = BTreeMap<String, Vec<Vec<u8>>>;

#[derive(Debug)]
pub(super) struct Kernel(Netlink);

impl Kernel {
    /// Opens a socket in the network namespace of the calling thread, and checks that nf_tables can be used.
    pub(super) fn open() -> Result<Self, FirewallError> {
        let netlink = Netlink::open(NETLINK_NETFILTER);
        let mut kernel = Self(netlink.map_err(|error| errors::no_socket(&error))?);
        let number = kernel.generation();
        number.map_err(|error| errors::unusable(&error))?;
        Ok(kernel)
    }

    /// The address of its socket, which the kernel names in events of its changes.
    pub(super) fn port(&self) -> u32 {
        self.0.port()
    }

    /// The number of the ruleset. Each transaction that changes something increases it.
    pub(super) fn generation(&mut self) -> Result<u32, NetlinkError> {
        replies::generation(&self.0.ask(&messages::get_generation())?)
    }

    /// Whether somebody switched the table off. A missing table is refused with NOENT.
    pub(super) fn is_dormant(&mut self, table: &str) -> Result<bool, NetlinkError> {
        replies::is_dormant(&self.0.ask(&messages::get_table(table))?)
    }

    pub(super) fn transaction(
        &mut self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<(), NetlinkError> {
        self.0.transaction(messages::SUBSYSTEM, messages)
    }

    /// As [`transaction`](Self::transaction), but asks first whether to send the finished message. Returns `false` if not.
    pub(super) fn transaction_if(
        &mut self,
        messages: impl IntoIterator<Item = Message>,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<bool, NetlinkError> {
        self.0
            .transaction_if(messages::SUBSYSTEM, messages, is_wanted)
    }

    /// What `read` makes of the attributes of all objects that the kernel lists.
    pub(super) fn dump<R: Default>(
        &mut self,
        question: &Message,
        mut read: impl FnMut(&mut R, &[u8]),
    ) -> Result<R, NetlinkError> {
        self.0.dump(question, |result: &mut R, message| {
            read(result, replies::attributes(message));
            Ok(())
        })
    }

    /// All elements of a set. A missing set or table is refused with NOENT.
    pub(super) fn elements(
        &mut self,
        table: &str,
        set: Set,
    ) -> Result<Vec<ListedElement>, NetlinkError> {
        let question = messages::get_elements(table, set);
        self.0.dump(&question, |all: &mut Vec<_>, message| {
            all.extend(replies::elements(message)?);
            Ok(())
        })
    }

    /// The rules of each chain; none if there is no table.
    pub(super) fn rules(&mut self, table: &str) -> Result<Rules, NetlinkError> {
        let question = messages::get_rules(table);
        self.0.dump(&question, |rules: &mut Rules, message| {
            if let Some((chain, rule)) = replies::rule(message, table)? {
                rules.entry(chain).or_default().push(rule);
            }
            Ok(())
        })
    }
}

/// Sets of the host.
impl Kernel {
    pub(super) fn ask(&mut self, question: &Message) -> Result<Vec<u8>, NetlinkError> {
        self.0.ask(question)
    }

    pub(super) fn list<T>(
        &mut self,
        question: &Message,
        read: impl Fn(&[u8]) -> Result<Vec<T>, NetlinkError>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.0.dump(question, |all: &mut Vec<T>, message| {
            all.extend(read(message)?);
            Ok(())
        })
    }
}

/// A function that asks for the number of the ruleset in the network namespace of the calling thread; `None` if the
/// kernel does not answer.
pub(crate) fn number_of_ruleset() -> Result<Box<dyn FnMut() -> Option<u32> + Send>, FirewallError> {
    let mut kernel = Kernel::open()?;
    Ok(Box::new(move || kernel.generation().ok()))
}
