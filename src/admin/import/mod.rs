//! Imports the configs of fwknopd and knockd: users and services of Postern that never open more than before.
//!
//! [`convert`] is pure except for included files, which it asks for. `write` puts the result beside the config.

mod access;
mod command;
mod command_meaning;
mod converted;
mod door;
mod inputs;
mod kind;
mod knockd;
mod lines;
mod names;
mod ports;
mod reading;
mod rules;
mod shared_programs;
mod sharing;
mod stanza;
mod stanza_keys;
mod stanza_programs;
mod stanza_services;
mod table;
#[cfg(test)]
mod tests;
mod uci;
mod write;

pub use converted::{Converted, NewService, NewUser};
pub use inputs::{Input, convert};
pub(crate) use write::{Imported, import};
