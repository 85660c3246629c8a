//! The monitor: the privileged process. It owns the firewall and the ends of grants, and starts the engine.
//!
//! It never parses a packet and keeps no key. [`run()`] starts it, `event_loop` is its loop.

mod config_programs;
pub mod confinement;
mod control_path;
pub mod directories;
mod driver;
mod event_loop;
pub mod executor;
mod firewall_watch;
mod flush;
mod grant_list;
pub mod hooks;
mod reap;
pub mod rights;
pub mod routing;
mod run;

mod signals;
mod sockets;
mod status;
mod supervisor;

pub(crate) use control_path::control_path;
pub use control_path::{ControlPath, unanswered};
pub use driver::{backend, native};
pub use flush::{Flushed, flush};
pub use run::run;
