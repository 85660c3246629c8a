//! The client: makes knocks, sends them, and uses the service that a knock opens.
//!
//! A gate sends no answer, so nothing here waits for one.

mod allow;
mod attempts;
mod codes;
mod command;
mod config_file;
mod enroll;
mod file_error;
mod fwknop;
pub mod import_fwknoprc;
mod keeper;
mod keys;
mod knock;
mod names;
mod nat64;
mod network_watch;
mod open_grant;
mod open_packet;
mod open_port;
mod own_address;
pub mod profile;
mod public_address;
mod relay;
mod request;
mod resolve;
mod rounds;
mod route;
mod schedule;
mod secrets;
mod sequence;
mod spoof;
pub mod stun;
pub mod token;
mod until_open;
mod wake;

pub(crate) use attempts::{OpenPort, Unreached};
pub(crate) use codes::{AskProgram, Codes};
pub(crate) use command::{CommandExit, CommandRunner, is_in_foreground};
pub(crate) use enroll::{enroll, import};
pub(crate) use file_error::{unreadable, unwritable};
pub(crate) use keeper::{Keeper, Keeping, Kept};
pub(crate) use keys::{no_random_bytes, read_config, shared_key};
pub(crate) use knock::{Destination, PreparedKnock, SentKnock, prepare};
pub(crate) use open_grant::OpenGrant;
pub(crate) use open_packet::{OpenError, PACKET_TEXT_MAX, open_packet};
pub(crate) use open_port::{Tried, try_port};
pub(crate) use relay::relay;
pub(crate) use request::KnockRequest;
pub(crate) use resolve::Families;
pub(crate) use schedule::Schedule;
pub use secrets::seal_at_random;
pub(crate) use secrets::{Outgoing, Secrets};
pub(crate) use sequence::Sequence;
pub(crate) use until_open::{Awaited, Waited};
pub(crate) use wake::{Alarm, no_alarm};
