//! The text of a client's config to profiles (DESIGN section 5).
//!
//! Owns the keys of `config.toml`, what each may say and where the file lies. Opens no file and resolves no name: key
//! files and hosts are named here and read by the client. No error here shows a key or a line of the file.

mod allow;
mod code;
mod error;
mod key;
mod offset;
mod stun;
mod text;
mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_proto::GateName;

pub use crate::model::endpoint::{DEFAULT_PORT, Endpoint, EndpointError, Host};
pub use allow::{AllowError, AllowSetting};
pub use code::CodeSource;
pub use error::{ProfileError, without_secrets};
pub use key::{KeySource, PrivateSource};
pub use offset::TimeOffset;
pub use stun::StunServers;
pub use text::duration;
pub use written::{NoSection, renamed, section, with_section};

use crate::model::service::Wanted;

/// Profiles by name.
pub type Profiles = BTreeMap<String, Profile>;

/// What to knock at, with which key, and what to ask for.
#[derive(Debug)]
pub struct Profile {
    /// The gate's name, to which the keys are bound.
    pub gate: GateName,
    /// Where knocks go; never empty.
    pub addresses: Vec<Endpoint>,
    /// The key, unless it comes with each command.
    pub key: Option<KeySource>,
    /// What to open.
    pub services: Vec<Wanted>,
    /// Whom to let in.
    pub allow: AllowSetting,
    /// For how long; none for what the gate grants by default.
    pub duration: Option<Duration>,
    /// The host to reach; none for the gate itself.
    pub target: Option<Host>,
    /// Where the one-time code comes from that each knock must carry; none if none is needed.
    pub code: Option<CodeSource>,
    /// What is added to this machine's clock.
    pub time_offset: TimeOffset,
}

/// Reads the text of a config. `path` is named in errors, and its folder is where relative key files lie.
///
/// # Errors
/// The first thing that is wrong, with its line and column.
pub fn parse(text: &str, path: &Path) -> Result<Profiles, ProfileError> {
    text::parse(text, path)
}

/// Where the config lies if nobody says otherwise: `$XDG_CONFIG_HOME/postern/config.toml`, `None` without a home.
pub fn default_path() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    etcetera::base_strategy::Xdg::new()
        .ok()
        .map(|dirs| dirs.config_dir().join("postern").join("config.toml"))
}

/// A gate's name as the address to knock at: on the default port.
///
/// # Errors
/// When the name can be no host.
pub fn address_of(gate: &GateName) -> Result<Endpoint, EndpointError> {
    Ok(Endpoint {
        host: gate.as_str().parse()?,
        port: DEFAULT_PORT,
    })
}
