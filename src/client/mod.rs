//! Makes knocks and sends them: from a wish to one packet for each family of the gate's addresses.
//!
//! Owns what a knock claims, who it goes to and how its failing is told; and what is done behind the door that it opens: waiting,
//! relaying, running a command. Waits for no answer, for a gate sends none.
//! Uses nothing that only one operating system has.

mod allow;
mod enrol;
mod failure;
mod forge;
mod hold;
mod keys;
mod knock;
mod open_packet;
mod outside;
pub mod profile;
mod reach;
mod relay;
mod request;
mod resolve;
mod route;
pub mod stun;
mod task;
mod terminal;
pub mod token;

pub use allow::claim;
pub use enrol::{Enrolment, Imported, enroll, import};
pub use failure::{Exit, Failure};
pub use hold::{Hold, doors, lets_in};
pub use keys::{read_config, shared_key, user_keys};
pub use knock::{Knock, Prepared, Sent, Way, prepare, seal_at_random};
pub use open_packet::{NotOpened, Opened, PACKET_TEXT_MAX, open_packet};
pub use reach::{NotReached, Reached, ServiceOpen, reach_once, reach_within, wait_for};
pub use relay::relay;
pub use request::KnockRequest;
pub use resolve::{Families, doors_of};
pub use task::{Ended, Task, Waited};
pub use terminal::in_front_of_terminal;
