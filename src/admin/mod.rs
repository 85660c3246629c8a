//! What an administrator does on the gate's host: set-up, users, checks, reload, explanations, demo.
//!
//! Prints nothing, except the demo. The command line does.

pub(crate) mod add;
pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod config_files;
pub(crate) mod demo;
mod engine_user;
pub mod explain;
pub mod import;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod reload;
pub(crate) mod roster;
pub(crate) mod rotate;
mod template;
mod totp;
