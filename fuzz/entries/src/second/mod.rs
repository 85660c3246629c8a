//! Second implementations: they share no code with what they judge.

pub mod body;
pub mod frame;
pub mod gate;
