//! The Postern knock: packet format, keys, hint, seal and open, canonical request.
//!
//! Uses no clock, socket, file or random source: time and random bytes are arguments. Allocates nothing before a packet
//! is authenticated. `README.md` beside this crate is the specification. The files cite its sections and steps.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod decode;
mod derive;
mod encode;
mod fleet;
mod hint;
mod item;
mod kept_text;
mod key;
mod key_error;
mod key_text;
pub mod limits;
mod malformed;
mod name;
mod packet;
mod pair;
mod reader;
mod request;
mod seal;
mod sealed_text;
mod secret;
mod service;
mod totp;
#[cfg(feature = "vectors")]
#[doc(hidden)]
pub mod vectors;

pub use derive::{HintKey, KeyMaterial, RootKey, UserKeys};
pub use encode::EncodeError;
pub use fleet::{FleetKey, PUBLICATION_OVERHEAD, Publication};
pub use hint::{Hint, Step};
pub use item::{Code, Item};
pub use kept_text::{keep_text, open_kept};
pub use key::{PresharedKey, SharedKey};
pub use key_error::KeyError;
pub use key_text::KeyText;
pub use malformed::Malformed;
pub use name::{GateName, ServiceName};
pub use packet::{BadLength, Mark, Packet};
pub use pair::{PrivateKey, PublicKey};
pub use request::{Action, Allow, Request};
pub use seal::{BadSeal, OpenBuffer, SealError, Sealed, seal};
pub use sealed_text::{SEALED_TEXT_OVERHEAD, open_text, seal_text};
pub use service::{Protocol, Service};
pub use totp::{CodeKey, CodeKeyError, CodeStep};
