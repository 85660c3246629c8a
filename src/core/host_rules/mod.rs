//! What the host's own firewall does with one packet.
//!
//! Rules and a packet go in; a judgement and the rule that decides come out. Readers of real rules are in
//! `adapters::firewall::host`.

pub(crate) mod accept_rules;
mod condition;
mod connections;
mod judgement;
mod owners;
mod packet;
mod places;
mod rules;
#[cfg(test)]
mod tests;

pub(crate) use condition::{Condition, Test, networks_between};
pub(crate) use connections::Tracking;
pub(crate) use judgement::{BaseChain, Judgement, NO_RULE, Rewrite};
pub(crate) use packet::{KnownChain, Original, Packet};
pub(crate) use places::Unavoidable;
pub(crate) use rules::{
    Base, Chain, Effect, Hook, NewDestination, Rule, Ruleset, Table, Verdict, protocol_number,
};
