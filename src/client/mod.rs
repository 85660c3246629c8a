//! The client: makes knocks, sends them, and uses the service that a knock opens.
//!
//! A gate sends no answer, so nothing here waits for one.

mod allow;
mod command;
mod connect;
mod enroll;
mod file_error;
mod keys;
mod knock;
mod nat64;
mod open_grant;
mod open_packet;
pub mod profile;
mod public_address;
mod relay;
mod request;
mod resolve;
mod route;
mod spoof;
pub mod stun;
pub mod token;

pub(crate) use command::{CommandExit, CommandRunner, PortWait, is_in_foreground};
pub(crate) use connect::{OpenPort, Unreached, connect_once, connect_within, wait_for};
pub(crate) use enroll::{enroll, import};
pub(crate) use file_error::{unreadable, unwritable};
pub(crate) use keys::{no_random_bytes, read_config, shared_key, user_keys};
pub use knock::seal_at_random;
pub(crate) use knock::{Destination, PreparedKnock, SentKnock, prepare, send};
pub(crate) use open_grant::{OpenGrant, allows, service_addresses};
pub(crate) use open_packet::{OpenError, PACKET_TEXT_MAX, open_packet};
pub(crate) use relay::relay;
pub(crate) use request::KnockRequest;
pub(crate) use resolve::{Families, resolve};
