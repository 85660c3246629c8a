//! The config of a gate: `posternd.toml`, `users.d/*.toml` and key files.
//!
//! [`disk`] reads the files into a [`bundle`], and [`load()`] turns it into settings, policies and keys. All problems are
//! reported at once, each with file, line and cure, and never with text that could be a key (invariant 7).

pub mod bundle;
mod capture;
mod cluster;
mod config_text;
pub mod disk;
mod edit;
mod fields;
mod firewall;
mod fleet_keys;
mod fwknop_opens;
mod fwknop_sharing;
mod fwknop_user;
mod gate;
mod how;
mod kept_part;
mod key;
mod key_files;
mod listed;
mod load;
mod main_file;
mod parts;
mod place;
mod problem;
mod read_parts;
mod roster;
mod roster_section;
mod same_rules;
mod sequence_check;
mod sequence_user;
mod services;
#[cfg(test)]
mod tests;
mod user;
mod user_entry;
mod user_keys;
mod user_table;
mod values;

pub(crate) use edit::{Edit, edited, text_of};
pub(crate) use gate::CONTROL_SOCKET;
pub(crate) use how::STACK;
pub(crate) use key::line_of;
pub(crate) use key_files::gate_key_file;
pub use key_files::key_files;
pub(crate) use listed::{KeyKind, Listed, SequenceName};
pub use load::{Loaded, load};
pub(crate) use load::{control_socket, load_again, settings, settings_and_users};
pub use problem::Problems;
pub(crate) use roster::{RosterPlace, gate_part, roster_place};
pub use user_table::OldKey;
