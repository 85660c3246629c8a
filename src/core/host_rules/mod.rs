//! What the host's own firewall does with one packet.
//!
//! Rules and a packet go in; a judgement and the rule that decides come out. Readers of real rules are in
//! `adapters::firewall::host`.

mod accept_rule;
pub(crate) mod accept_rules;
mod condition;
mod connections;
mod judgement;
mod owners;
mod packet;
mod places;
mod reach;
mod rules;
#[cfg(test)]
mod tests;

pub(crate) use accept_rule::{AcceptRule, PortOf};
pub(crate) use condition::{Condition, Test, networks_between};
pub(crate) use connections::Tracking;
pub(crate) use judgement::{BaseChain, Judgement, NO_RULE, Rewrite};
pub(crate) use packet::{KnownChain, Original, Packet};
pub(crate) use places::Unavoidable;
pub(crate) use reach::Sought;
pub(crate) use rules::{
    Base, Chain, Effect, Hook, NewDestination, Rule, Ruleset, Table, Verdict, protocol_number,
};
