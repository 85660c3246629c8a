//! The two processes of `posternd run`: the privileged monitor and the unprivileged engine.

pub mod engine;
pub mod monitor;
pub(crate) mod roster;
