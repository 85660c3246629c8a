//! Keeps the last protection that was in force, for the next boot: `protect` installs it before there is a network.
//!
//! It lies in one folder that no config names, so that a wrong config cannot hide it. It holds no secret and no grant. Only the
//! gate of the unit keeps it: a boot starts the unit, not what somebody runs by hand, in a container or in a demo.

use std::fs;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::adapters::files;
use crate::model::exit::{ExitError, FAILED};
use crate::model::service::Ports;
use crate::model::settings::{DriverKind, Protection};

/// `postern-protect.service` and `posternd.service` name it, too.
pub(super) const FOLDER: &str = "/var/lib/postern.protect";
const FILE: &str = "protection.json";

/// Where systemd says which folders it made for a unit.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    driver: String,
    packet_mark: String,
    knock_ports: Vec<u16>,
    silence_knocks: bool,
    services: Vec<Ports>,
    behind: Vec<(IpNet, Ports)>,
}

/// Keeps the protection while posternd runs.
pub(crate) struct BootProtection {
    path: PathBuf,
    /// Whether this process is the gate that a boot starts.
    is_service: bool,
    /// The last logged failure.
    error: Option<String>,
}

impl BootProtection {
    pub(super) fn new() -> Self {
        Self::at(path(), is_service())
    }

    fn at(path: PathBuf, is_service: bool) -> Self {
        Self {
            path,
            is_service,
            error: None,
        }
    }

    /// Keeps what this driver installed. Returns whether it is kept now, or need not be.
    pub(crate) fn keep(&mut self, backend: &str, protection: &Protection) -> bool {
        if !self.is_service {
            return true;
        }
        let kept = match Kept::of(backend, protection) {
            Some(kept) => write(&self.path, &kept),
            None => files::withdraw(&self.path).map_err(|error| error.to_string()),
        };
        let error = kept.err();
        if let (Some(why), true) = (&error, error != self.error) {
            warn!("services are not hidden while the next boot brings the network up: {why}");
        }
        self.error = error;
        self.error.is_none()
    }

    /// Postern's rules were removed, so the next boot installs none before posternd starts.
    pub(crate) fn forget(&self) {
        forget_at(&self.path);
    }
}

impl Kept {
    /// `None` if no driver of ours closes anything. Ports of sequences are left out: they hide no service, and a socket of the host may
    /// come later than the rules of iptables.
    fn of(backend: &str, protection: &Protection) -> Option<Self> {
        let closes = backend != "command" && !protection.closed().is_empty();
        closes.then(|| Self {
            driver: backend.to_owned(),
            packet_mark: protection.packet_mark.to_string(),
            knock_ports: protection.knock_ports.clone(),
            silence_knocks: protection.silence_knocks,
            services: protection.services.clone(),
            behind: if protection.hide_behind {
                protection.behind.clone()
            } else {
                Vec::new()
            },
        })
    }

    /// The driver that installed it.
    pub(super) fn driver(&self) -> DriverKind {
        match self.driver.as_str() {
            "iptables" => DriverKind::Iptables,
            _ => DriverKind::Nftables,
        }
    }

    pub(super) fn protection(self) -> Result<Protection, String> {
        let packet_mark = self.packet_mark.parse();
        let packet_mark = packet_mark.map_err(|error| format!("{}: {error}", self.packet_mark))?;
        Ok(Protection {
            grantable: self.services.clone(),
            services: self.services,
            knock_ports: self.knock_ports,
            silence_knocks: self.silence_knocks,
            local_sockets: true,
            hide_behind: !self.behind.is_empty(),
            behind: self.behind,
            packet_mark,
            ..Protection::default()
        })
    }
}

/// Removes what was kept.
pub(super) fn forget() {
    forget_at(&path());
}

fn forget_at(path: &Path) {
    if !is_namespace_of_the_boot() {
        return;
    }
    if let Err(error) = files::withdraw(path) {
        warn!(
            "the next boot hides services again: removing {}: {error}",
            path.display()
        );
    }
}

pub(super) fn path() -> PathBuf {
    Path::new(FOLDER).join(FILE)
}

pub(super) fn is_service() -> bool {
    let folders = std::env::var(STATE_DIRECTORY).unwrap_or_default();
    folders.split(':').any(|folder| folder == FOLDER)
}

/// What is removed in a network namespace of its own does not count for the host's next boot. If others than the first process may
/// not be seen, this is no such test or container.
fn is_namespace_of_the_boot() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
    match (namespace("1"), namespace("thread-self")) {
        (Ok(first), Ok(own)) => first == own,
        _ => true,
    }
}

pub(super) fn read(path: &Path) -> Result<Option<Kept>, ExitError> {
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let text = files::read_private(path).map_err(|error| ExitError::new(FAILED, error))?;
    let unfit = |error| ExitError::new(FAILED, format!("{}: {error}", path.display()));
    serde_json::from_str(&text).map(Some).map_err(unfit)
}

/// Waits for the disk only if something changed.
fn write(path: &Path, kept: &Kept) -> Result<(), String> {
    let text = serde_json::to_string(kept).map_err(|error| error.to_string())?;
    if files::read_private(path).is_ok_and(|found| *found == text) {
        return Ok(());
    }
    files::write_private(path, text.as_bytes(), true).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::packet_mark::PacketMark;

    #[test]
    fn kept_protection_closes_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let protection = Protection {
            services: vec!["tcp/22".parse().unwrap(), "udp/1-9".parse().unwrap()],
            grantable: vec!["tcp/22".parse().unwrap(), "udp/1-9".parse().unwrap()],
            knock_ports: vec![62201],
            silence_knocks: true,
            local_sockets: true,
            behind: vec![("10.0.0.0/8".parse().unwrap(), "tcp/80".parse().unwrap())],
            hide_behind: true,
            packet_mark: PacketMark {
                value: 0x30,
                mask: 0x70,
            },
            ..Protection::default()
        };
        let mut boot = BootProtection::at(path.clone(), true);
        assert!(boot.keep("iptables", &protection));
        let kept = read(&path).unwrap().unwrap();
        assert_eq!(kept.driver, "iptables");
        assert_eq!(kept.protection(), Ok(protection.clone()));
        assert!(boot.keep("command", &protection));
        assert_eq!(read(&path).unwrap(), None, "its own programs close it");
        fs::create_dir(&path).unwrap();
        assert!(!boot.keep("nftables", &protection), "it is tried again");
        assert!(read(&path).is_err());
    }
}
