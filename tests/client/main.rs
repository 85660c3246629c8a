//! The client as its users meet it: the program is run, its output and exit status are read, and what it sends is caught
//! by a gate on the loopback interface that opens the packets with the protocol crate and knows nothing of the client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod asking;
mod connecting;
mod door;
mod enrolling;
mod failing;
mod gate;
mod knocking;
mod opening;
mod program;
mod running;
mod secrecy;
