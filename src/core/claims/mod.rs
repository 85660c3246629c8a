//! Claims: gates of one name admit a mark once, because the first to reserve it at the coordinator wins.
//!
//! The engine asks the cluster process, which asks the coordinator. An answer is won, lost or unknown, and only a claim that was won
//! opens. The engine treats what the cluster process says as hostile.

mod claim;
mod coordinator;
mod message;
mod pending;

pub use claim::{
    Answer, Claim, ClaimKey, MARGIN, WAITING_MAX, gate_hash, longest, made_at, one_line,
};
pub use coordinator::{Coordinator, Heard, Stored, TOGETHER_MAX};
pub use message::{
    Ask, ClusterStart, GateFacts, NAME_MAX, Opened, Publish, PublishKind, RosterSought, SEALED_MAX,
    Told, live,
};
pub(crate) use pending::{Claims, Outcome};
