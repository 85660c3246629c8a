//! What an import makes: users and services as TOML.

use std::collections::BTreeSet;

use super::names::Names;
use crate::client::profile::{list, quoted};
use crate::model::foreign::{Findings, Place, TomlText};
use crate::model::service::Ports;

/// Nothing listens on these ports: such a service only runs its programs or fills its set.
const NO_PORTS: [(&str, u16); 2] = [("udp", 9), ("tcp", 9)];

/// The longest grant, in seconds.
pub(super) const LONGEST: u64 = 720 * 3600;

/// A user and where it was defined.
#[derive(Debug)]
pub struct NewUser {
    pub name: String,
    pub place: Place,
    pub toml: TomlText,
    pub(super) services: Vec<String>,
    pub(super) turn: Option<Turn>,
}

/// The place of a user among those who share a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) group: usize,
    pub(super) order: u16,
}

/// A `[service.NAME]`.
#[derive(Debug)]
pub struct NewService {
    pub name: String,
    pub toml: TomlText,
    pub(super) ports: Vec<String>,
    /// Whether a grant of these ports runs programs or fills a set.
    pub(super) acts: bool,
    pub(super) forwards: bool,
}

#[derive(Default)]
pub struct Converted {
    pub users: Vec<NewUser>,
    pub services: Vec<NewService>,
    pub findings: Findings,
    pub(super) names: Names,
    /// Ports that other services have.
    pub(super) taken: BTreeSet<String>,
}

/// The keys of a service beside its ports.
#[derive(Default)]
pub(super) struct ServiceKeys {
    pub(super) forward: Option<String>,
    pub(super) masquerade: bool,
    pub(super) nft_set: Option<String>,
    pub(super) on_open: Option<Vec<String>>,
    pub(super) on_close: Option<Vec<String>>,
}

/// A service that a request for a port opens instead of the port.
pub(super) struct Service {
    /// The port, or `any`. `None` for a forward, which the gate finds by its port.
    pub(super) asked: Option<String>,
    /// The end of its name.
    pub(super) end: String,
    /// Empty for a port on which nothing listens.
    pub(super) ports: Vec<String>,
    pub(super) keys: ServiceKeys,
}

/// What a stanza opens.
pub(super) enum Opens {
    Ports(Vec<String>),
    Named(Vec<Service>),
}

impl Converted {
    /// Adds a service and returns its name.
    pub(super) fn add_service(
        &mut self,
        start: &str,
        end: &str,
        ports: &[String],
        keys: &ServiceKeys,
    ) -> String {
        let name = self.names.service(start, end);
        let mut toml = TomlText::new();
        toml.put(&format!("[service.{name}]\n"));
        toml.line("ports", &list(ports));
        if let Some(forward) = &keys.forward {
            toml.line("forward", &quoted(forward));
        }
        if keys.masquerade {
            toml.line("masquerade", "true");
        }
        if let Some(set) = &keys.nft_set {
            toml.line("nft_set", &quoted(set));
        }
        for (key, words) in [("on_open", &keys.on_open), ("on_close", &keys.on_close)] {
            if let Some(words) = words {
                toml.line(key, &list(words));
            }
        }
        let service = NewService {
            name: name.clone(),
            toml,
            ports: ports.to_vec(),
            acts: keys.nft_set.is_some() || keys.on_open.is_some() || keys.on_close.is_some(),
            forwards: keys.forward.is_some(),
        };
        self.services.push(service);
        name
    }

    /// A port on which nothing listens. Programs run for every grant of their ports, so each service has another one.
    pub(super) fn own_port(&mut self) -> Option<String> {
        let ports = NO_PORTS.iter();
        let mut ports = ports.flat_map(|(protocol, most)| {
            (1..=*most)
                .rev()
                .map(move |port| format!("{protocol}/{port}"))
        });
        let free = ports.find(|port| !self.taken.contains(port))?;
        self.taken.insert(free.clone());
        Some(free)
    }

    pub(super) fn add_user(
        &mut self,
        name: String,
        place: &Place,
        toml: TomlText,
        services: Vec<String>,
        turn: Option<Turn>,
    ) {
        self.users.push(NewUser {
            name,
            place: place.clone(),
            toml,
            services,
            turn,
        });
    }
}

/// Ports as the config has them.
pub(super) fn texts(ports: &[Ports]) -> Vec<String> {
    ports.iter().map(ToString::to_string).collect()
}

/// A number of seconds as the config has it.
pub(super) fn seconds(seconds: u64) -> String {
    quoted(&format!("{seconds}s"))
}
