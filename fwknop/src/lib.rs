//! fwknop's packets and encrypted sequences, read and written.
//!
//! Uses no clock, socket, file or random source: time and random bytes are arguments. Allocates nothing before a packet
//! is authenticated. `README.md` beside this crate describes the formats. The files cite its sections.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod base64;
mod cipher;
mod digest;
mod key;
pub mod limits;
mod mac;
mod packet;
mod plaintext;
mod reason;
mod request;
pub mod sequence;
mod sha3_mac;

pub use key::{Key, KeyError, Mode, Verified, key_from_base64};
pub use mac::MacKind;
pub use packet::{Mark, Packet, looks_like};
pub use plaintext::{is_command, is_target_host, is_user_name};
pub use reason::Reason;
pub use request::{Allow, DigestKind, Message, Opened, Port, Protocol, Request, Target};
