//! The control socket: each connection carries one question and one answer, a line of JSON each.
//!
//! The monitor binds it, the engine serves it. Only root may ask.

mod client;
mod mark_text;
mod question;
pub(crate) mod server;
pub(crate) mod status;

pub(crate) use client::{ask, ask_within, bind, is_served};
pub(crate) use mark_text::MarkText;
pub use question::{Answer, Question};
pub(crate) use question::{UNEXPECTED, VERSION};
pub use server::Client;
pub(crate) use server::answer;
pub(crate) use status::Status;
