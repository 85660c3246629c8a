//! The engine: the unprivileged process. It holds the keys, the gate, the replay store and the control socket.
//!
//! It can open nothing by itself: it gives orders to the monitor, which checks each again.

pub mod core;
pub mod sample;
