//! What an administrator does on the gate's host beside running it: the set-up, users, reloading.
//!
//! Works on the config's files and asks the running daemon to read them. Prints nothing: what is told is the command line's.

pub mod add;
pub mod change;
pub mod check;
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
