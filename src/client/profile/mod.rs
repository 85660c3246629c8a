//! The client's config: profiles as types, from text, and back to text.
//!
//! Opens no file and resolves no name. No error shows a key or a line of the file.

mod allow;
mod code;
mod error;
mod fwknop;
mod key;
mod offset;
mod one_or_many;
mod parse;
mod section;
mod sequence;
mod stun;

pub(crate) use crate::model::endpoint::{Endpoint, Host};
pub use allow::AllowSetting;
pub use code::CodeSource;
pub(crate) use error::without_secrets;
pub use fwknop::FwknopKey;
pub(crate) use fwknop::{FwknopNat, FwknopSecret};
pub(crate) use key::PrivateSource;
pub use key::{KeySource, PosternKey};
pub(crate) use offset::TimeOffset;
pub(crate) use parse::Profiles;
pub use parse::{Profile, parse};
pub(crate) use parse::{address_of, default_path, duration};
pub(crate) use section::{
    SectionError, list, quoted, renamed, section, unexpected_key, with_section,
};
pub use sequence::SequenceSource;
pub(crate) use sequence::{Passphrase, PortHit};
pub(crate) use stun::StunServers;
