//! What the host's own firewall does with one packet.
//!
//! Rules and a packet go in; a judgement and the rule that decides come out. Readers of real rules are in
//! `adapters::firewall::host`.

mod condition;
mod judgement;
mod packet;
mod rules;

pub use condition::{Condition, Test};
pub use judgement::{BaseChain, Judgement, Rewrite};
pub use packet::{KnownChain, Packet};
pub use rules::{
    Base, Chain, Hook, NewDestination, Rule, Ruleset, Table, Verdict, protocol_number,
};
