//! The interfaces that the config names, by index. An engine may not look them up.
//!
//! An interface that is renamed stays the same until another one has the name of the config.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::adapters::clock;
use crate::adapters::netlink::{Link, Links};
use crate::model::exit::ExitError;
use crate::model::settings::{Gate, Interfaces};

const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(crate) struct InterfaceTable {
    /// `None` until a name is looked up.
    links: Option<Links>,
    found: BTreeMap<String, Link>,
    looked: Option<Instant>,
}

impl InterfaceTable {
    /// The index of the interface with this name; 0 if there is none.
    pub(crate) fn index(&mut self, name: &str) -> Result<u32, ExitError> {
        if self.links.is_none() {
            let links = Links::open();
            let links =
                links.map_err(ExitError::system("opening a socket to look up interfaces"))?;
            self.links = Some(links);
        }
        Ok(self.look(name).index())
    }

    /// The interfaces of this gate that have another index than before. Looks only now and then.
    pub(crate) fn moved(&mut self, gate: &Gate) -> Vec<(String, u32)> {
        let Interfaces::Named(names) = &gate.interfaces else {
            return Vec::new();
        };
        let is_early = |looked| clock::elapsed(looked) < LOOK_EVERY;
        if self.links.is_none() || self.looked.is_some_and(is_early) {
            return Vec::new();
        }
        self.looked = Some(clock::instant());
        self.found.retain(|name, _| names.contains(name));
        let mut moved = Vec::new();
        for name in names {
            let before = self.found.get(name).copied().unwrap_or_default();
            let index = self.look(name).index();
            if index != before.index() {
                moved.push((name.clone(), index));
            }
        }
        moved
    }

    /// All names that were looked up, with their indexes.
    pub(crate) fn known(&self) -> Vec<(String, u32)> {
        let found = self.found.iter();
        found
            .map(|(name, link)| (name.clone(), link.index()))
            .collect()
    }

    fn look(&mut self, name: &str) -> Link {
        let before = self.found.get(name).copied().unwrap_or_default();
        let Some(links) = self.links.as_mut() else {
            return before;
        };
        let link = links.follow(name, before);
        if let (Link::Renamed(index), Link::Named(_)) = (link, before) {
            let now = links.name(index).unwrap_or_default();
            warn!(
                interface = name,
                "interface {name} is called {now} now; knocks are received on it until posternd restarts: correct `interfaces`"
            );
        }
        self.found.insert(name.to_owned(), link);
        link
    }
}
