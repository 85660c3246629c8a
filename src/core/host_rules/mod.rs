//! What the host's own firewall does with one packet.
//!
//! Rules and a packet go in; a judgement and the rule that decides come out. Readers of real rules are in
//! `adapters::firewall::host`.

mod condition;
mod judgement;
mod packet;
mod rules;

pub(crate) use condition::{Condition, Test};
pub(crate) use judgement::{BaseChain, Judgement, Rewrite};
pub(crate) use packet::{KnownChain, Packet};
pub(crate) use rules::{
    Base, Chain, Hook, NewDestination, Rule, Ruleset, Table, Verdict, protocol_number,
};
