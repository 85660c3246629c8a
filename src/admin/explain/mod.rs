//! `posternd explain`: why the gate admits, refuses or drops a datagram.
//!
//! A gate of its own judges with the daemon's config, so the verdict cannot differ from the running gate's. Near misses
//! (a right key at a wrong time, or for another gate) are searched only here. Changes nothing and sends nothing.

mod account;
mod clocks;
mod explainer;
mod fwknop;
mod hits;
mod input;
mod known_keys;
mod live;
mod names;
mod new_attempts;
mod packets;
mod refusals;
mod rights;
mod session;
mod steps;
mod wording;

pub use account::{Account, Cause};
pub(crate) use clocks::ClockOffset;
pub use explainer::Explainer;
pub(crate) use hits::Did;
pub use hits::HitAccount;
pub(crate) use input::{Input, Kind};
pub(crate) use live::Live;
pub use names::likely;
pub(crate) use session::{Explain, Summary, Told, What};
pub(crate) use steps::ExplainedStep;
pub use steps::Outcome;
