//! The Postern knock: wire format, keys, hint, seal and open, canonical request.
//!
//! Owns every byte of the protocol and nothing else: no clock, no socket, no file and no random source of its own.
//! Time and random bytes are arguments. Nothing here allocates before a packet is authenticated.
//! `README.md` beside this crate is the specification; the files cite its sections and steps.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod decode;
mod derive;
mod encode;
mod hint;
mod item;
mod key;
pub mod limits;
mod malformed;
mod name;
mod packet;
mod reader;
mod request;
mod seal;
#[cfg(feature = "vectors")]
#[doc(hidden)]
pub mod vectors;

pub use derive::{HintKey, KeyMaterial, UserKeys};
pub use encode::EncodeError;
pub use hint::{Hint, Step};
pub use item::{Code, Item, Protocol, Service, ServiceName};
pub use key::{KeyError, KeyText, PresharedKey, PrivateKey, PublicKey, SharedKey};
pub use malformed::Malformed;
pub use name::GateName;
pub use packet::{BadLength, Mark, Packet};
pub use request::{Action, Allow, Request};
pub use seal::{BadSeal, OpenBuffer, SealError, Sealed, seal};
