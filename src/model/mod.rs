//! Plain values that every layer above shares. No I/O, no clock, no thread.

pub mod address;
pub mod datagram;
pub mod endpoint;
pub mod exit;
pub mod figures;
pub mod grant;
#[cfg(feature = "daemon")]
pub mod journal;
pub mod mark;
pub mod opening;
pub mod policy;
pub mod reason;
pub mod recipe;
pub mod run;
pub mod service;
pub mod settings;
pub mod terms;
pub mod time;
