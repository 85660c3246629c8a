//! The gate: is this datagram admitted?
//!
//! `judge` runs the checks in the order of proto/README.md section 6, steps 1 to 10. The engine does steps 11 and 12.
//! The gate is pure (invariant 1): it takes a datagram and the time, and returns a decision.

pub mod approve;
mod bloom;
mod clocks;
mod code;
mod decision;
mod fwknop;
mod fwknop_keys;
pub(crate) mod fwknop_request;
mod hints;
mod judge;
mod key_cache;
mod observe;
mod quota;
mod replay;
mod saving;
mod sequence_judge;
mod sequence_progress;
mod sequences;
mod unsaved;
mod users;

pub use clocks::ClockWarning;
pub use decision::{Admission, ApprovedRequest, Decision, Refusal};
pub(crate) use fwknop_keys::FWKNOP_WINDOW;
pub use fwknop_keys::{Access, FWKNOP_USERS_MAX, FwknopRow, FwknopUser, FwknopUsers};
pub use hints::{HintKeys, HintTable, StepHints};
pub use judge::Gate;
pub use observe::Seen;
pub use quota::QuotaLeft;
pub(crate) use replay::again;
pub use sequence_progress::SequenceProgress;
pub use sequences::{SequenceKind, SequenceUser};
pub use users::{KeyRows, OldKeys, User};
