//! The client's config: profiles as types, from text, and back to text.
//!
//! Opens no file and resolves no name. No error shows a key or a line of the file.

mod allow;
mod code;
mod error;
mod key;
mod offset;
mod one_or_many;
mod parse;
mod section;
mod stun;

pub use crate::model::endpoint::{Endpoint, EndpointError, Host};
pub use allow::{AllowError, AllowSetting};
pub use code::CodeSource;
pub use error::{ProfileError, without_secrets};
pub use key::{KeySource, PrivateSource};
pub use offset::{InvalidOffset, TimeOffset};
pub use parse::{GrantLengthError, Profile, Profiles, address_of, default_path, duration, parse};
pub use section::{SectionError, renamed, section, with_section};
pub use stun::{StunServers, StunServersError};
