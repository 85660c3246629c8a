//! The control socket: each connection carries one question and one answer, a line of JSON each.
//!
//! The monitor binds it, the engine serves it. Only root may ask.

pub mod client;
pub mod mark_text;
pub mod question;
pub mod server;
pub mod status;

pub use client::{ask, bind};
pub(crate) use client::{ask_within, is_served};
pub use mark_text::MarkText;
pub use question::{Answer, Question, VERSION};
pub use server::{Client, answer};
pub use status::{Seen, Status};
