//! Plain values that every layer above shares. No I/O, no clock, no thread.

pub mod address;
pub mod catalog;
pub mod command_template;
pub mod counters;
pub mod datagram;
pub mod endpoint;
pub mod exit;
pub mod grant;
pub mod grant_values;
#[cfg(feature = "daemon")]
pub mod journal;
pub mod mark;
pub mod policy;
pub mod reason;
pub mod request;
pub mod run;
pub mod service;
pub mod settings;
pub mod time;
