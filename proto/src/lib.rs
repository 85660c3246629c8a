//! The Postern knock: wire format, keys, hint, seal and open, canonical request.
//!
//! Owns every byte of the protocol and nothing else: no clock, no socket, no file and no random source of its own.
//! Time and random bytes are arguments. Nothing here allocates before a packet is authenticated.
//! `README.md` beside this crate is the specification; the files cite its sections and steps.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod decode;
mod derive;
mod encode;
mod hint;
mod item;
mod key;
mod key_text;
pub mod limits;
mod malformed;
mod name;
mod packet;
mod pair;
mod reader;
mod request;
mod seal;
mod service;
mod totp;
#[cfg(feature = "vectors")]
#[doc(hidden)]
pub mod vectors;

pub use derive::{HintKey, KeyMaterial, UserKeys};
pub use encode::EncodeError;
pub use hint::{Hint, Step};
pub use item::{Code, Item};
pub use key::{KeyError, PresharedKey, SharedKey};
pub use key_text::KeyText;
pub use malformed::Malformed;
pub use name::{GateName, ServiceName};
pub use packet::{BadLength, Mark, Packet};
pub use pair::{PrivateKey, PublicKey};
pub use request::{Action, Allow, Request};
pub use seal::{BadSeal, OpenBuffer, SealError, Sealed, seal};
pub use service::{Protocol, Service};
pub use totp::{CodeKey, CodeKeyError, CodeStep};
