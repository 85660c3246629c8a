//! What the monitor tells the thread of hooks.

use crate::model::catalog::Forward;
use crate::model::command_template::CommandTemplate;
use crate::model::grant::Grant;
use crate::model::hook_unit::HookUnit;
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
    pub(super) unit: Option<HookUnit>,
}

#[derive(Debug, Clone)]
pub(super) struct HookedService {
    name: String,
    ports: Vec<Ports>,
    forward: Option<Forward>,
    on_open: Option<CommandTemplate>,
    on_close: Option<CommandTemplate>,
    unit: Option<HookUnit>,
}

impl HookedService {
    pub(super) fn all(settings: &Settings) -> Vec<Self> {
        let services = settings.catalog.iter().map(|(name, service)| Self {
            name: name.clone(),
            ports: service.ports.clone(),
            forward: service.forward,
            on_open: service.on_open.clone(),
            on_close: service.on_close.clone(),
            unit: service.hook_unit.clone(),
        });
        let has_hook = |one: &Self| one.on_open.is_some() || one.on_close.is_some();
        services.filter(has_hook).collect()
    }

    pub(super) fn jobs(&self, grant: &Grant) -> Vec<Job> {
        let is_covered = match &self.forward {
            Some(forward) => grant.forwards.contains(forward),
            None => {
                let mut ports = self.ports.iter();
                ports.all(|ports| service::covered(&grant.services, *ports))
            }
        };
        let entries = self.ports.iter().filter(|_| is_covered);
        let job = |ports: &Ports| Job {
            grant: grant.clone(),
            service: self.name.clone(),
            ports: *ports,
            on_open: self.on_open.clone(),
            on_close: self.on_close.clone(),
            unit: self.unit.clone(),
        };
        entries.map(job).collect()
    }
}
