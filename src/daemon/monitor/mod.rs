//! The monitor: the privileged process. It owns the firewall and the ends of grants, and starts the engine.
//!
//! It never parses a packet and keeps no key. `run` starts it, `event_loop` is its loop.

pub(crate) mod attempts;
mod boot_protection;
mod config_programs;
pub mod confinement;
mod control_path;
pub(crate) mod directories;
pub(crate) mod driver;
mod event_loop;
pub mod executor;
mod firewall_watch;
mod flush;
mod grant_list;
pub(crate) mod hooks;
pub(crate) mod interfaces;
pub(crate) mod open_log;
mod protect;
mod reap;
mod reset_clock;
pub(crate) mod rights;
pub(crate) mod routing;
mod run;
mod signals;
mod sockets;
pub(crate) mod state_folder;
mod status;
mod supervisor;

pub(crate) use control_path::control_path;
pub(crate) use control_path::{ControlPath, unanswered};
pub(crate) use driver::backend;
pub use driver::native;
pub(crate) use flush::flush;
pub(crate) use protect::protect;
pub(crate) use reset_clock::reset_clock;
pub(crate) use run::run;
pub(crate) use supervisor::cluster_process::{files_of as cluster_files, probe_cluster};
