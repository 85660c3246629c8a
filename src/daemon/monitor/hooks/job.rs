//! What the monitor tells the thread of hooks.

use crate::model::catalog::Forward;
use crate::model::command_template::CommandTemplate;
use crate::model::grant::Grant;
use crate::model::service::{self, Ports};
use crate::model::settings::Settings;

pub(super) enum Event {
    Opened(Vec<Job>),
    Closed(Grant),
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) grant: Grant,
    pub(super) service: String,
    pub(super) ports: Ports,
    pub(super) on_open: Option<CommandTemplate>,
    pub(super) on_close: Option<CommandTemplate>,
}

#[derive(Debug, Clone)]
pub(super) struct HookedService {
    name: String,
    ports: Vec<Ports>,
    forward: Option<Forward>,
    on_open: Option<CommandTemplate>,
    on_close: Option<CommandTemplate>,
}

impl HookedService {
    pub(super) fn all(settings: &Settings) -> Vec<Self> {
        let with_hooks = settings
            .options
            .iter()
            .filter(|(_, options)| options.on_open.is_some() || options.on_close.is_some());
        with_hooks
            .map(|(name, options)| Self {
                name: name.clone(),
                ports: settings.named.get(name).cloned().unwrap_or_default(),
                forward: options.forward,
                on_open: options.on_open.clone(),
                on_close: options.on_close.clone(),
            })
            .collect()
    }

    pub(super) fn jobs(&self, grant: &Grant) -> Vec<Job> {
        let is_covered = match &self.forward {
            Some(forward) => grant.forwards.contains(forward),
            None => self
                .ports
                .iter()
                .all(|ports| service::covered(&grant.services, *ports)),
        };
        let entries = if is_covered { &self.ports[..] } else { &[] };
        entries
            .iter()
            .map(|ports| Job {
                grant: grant.clone(),
                service: self.name.clone(),
                ports: *ports,
                on_open: self.on_open.clone(),
                on_close: self.on_close.clone(),
            })
            .collect()
    }
}
