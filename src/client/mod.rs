//! Makes knocks and sends them: from a wish to one packet for each family of the gate's addresses.
//!
//! Owns what a knock claims, who it goes to and how its failing is told. Waits for no answer, for a gate sends none.
//! Uses nothing that only one operating system has.

mod allow;
mod enrol;
mod failure;
mod keys;
mod knock;
mod open_packet;
mod resolve;
mod route;
mod wait;
mod wish;

pub use allow::claim;
pub use enrol::{Enrolment, Imported, enroll, import};
pub use failure::{Exit, Failure};
pub use keys::{read_config, shared_key, user_keys};
pub use knock::{Knock, Prepared, Sent, prepare, seal_at_random};
pub use open_packet::{NotOpened, Opened, PACKET_TEXT_MAX, open_packet};
pub use resolve::Families;
pub use wait::{Opening, wait_for};
pub use wish::Wish;
