//! The processes of `posternd run`: the privileged monitor, the unprivileged engine, and with a coordinator the cluster process.

pub mod cluster;
pub mod engine;
pub mod monitor;
pub(crate) mod roster;
