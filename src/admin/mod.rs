//! What an administrator does on the gate's host: set-up, users, checks, reload, explanations, demo.
//!
//! Prints nothing, except the demo. The command line does.

pub mod add;
pub mod change;
pub(crate) mod check;
mod config_files;
pub mod demo;
mod engine_user;
pub mod explain;
pub mod init;
pub mod keys;
pub mod list;
pub mod reload;
pub mod rotate;
mod template;
mod totp;
