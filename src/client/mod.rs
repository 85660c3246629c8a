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

pub use allow::claim;
pub use command::{CommandExit, CommandRunner, PortWait, is_in_foreground};
pub use connect::{Connected, OpenPort, Unreached, connect_once, connect_within, wait_for};
pub use enroll::{Enrolled, Imported, enroll, import};
pub use file_error::{unreadable, unwritable};
pub use keys::{no_random_bytes, read_config, shared_key, user_keys};
pub use knock::{Destination, PreparedKnock, SentKnock, prepare, seal_at_random, send};
pub use open_grant::{OpenGrant, allows, service_addresses};
pub use open_packet::{OpenError, OpenedPacket, PACKET_TEXT_MAX, open_packet};
pub use relay::relay;
pub use request::KnockRequest;
pub use resolve::{Families, resolve};
