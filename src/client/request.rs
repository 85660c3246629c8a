//! What to ask a gate for, checked as far as that needs no network and no clock.
//!
//! Checks the rules on services (`proto/README.md`, section 5): at least one to open, none twice.

use std::net::SocketAddr;
use std::time::Duration;

use postern_proto::{Action, Code, GateName, Item, ServiceName};

use super::names::Names;
use crate::client::profile::{AllowSetting, Host, TimeOffset};
use crate::model::exit::{ExitError, USAGE};
use crate::model::grant_to::GrantTo;
use crate::model::service::Wanted;

#[derive(Debug)]
pub(crate) struct KnockRequest {
    pub(crate) gate: GateName,
    pub(crate) action: Action,
    pub(crate) services: Vec<Wanted>,
    pub(crate) allow: AllowSetting,
    /// Which address the gate allows.
    pub(crate) grant_to: GrantTo,
    /// For how long; `None` for the gate's default.
    pub(crate) duration: Option<Duration>,
    /// The host to reach; `None` for the gate itself.
    pub(crate) target: Option<Host>,
    pub(crate) code: Option<Code>,
    pub(crate) time_offset: TimeOffset,
}

/// The host to reach, looked up.
#[derive(Debug)]
pub(super) enum Targets {
    Gate,
    Hosts(Vec<SocketAddr>),
}

impl KnockRequest {
    /// The addresses of the target that are known.
    pub(super) fn targets(&self, names: &Names) -> Result<Targets, ExitError> {
        let Some(target) = &self.target else {
            return Ok(Targets::Gate);
        };
        let addresses = names.addresses(target, 0);
        match names.failure(target) {
            Some(failure) if addresses.is_empty() => Err(failure.clone().into()),
            _ => Ok(Targets::Hosts(addresses)),
        }
    }

    /// How many knocks may go to one address at once.
    pub(super) fn claims_at_most(&self) -> usize {
        1 + usize::from(self.allow == AllowSetting::Both)
    }

    /// The services as a knock carries them, without duplicates, and the code.
    pub(crate) fn items(&self) -> Result<Vec<Item>, ExitError> {
        let mut items = Vec::new();
        for wanted in &self.services {
            let item = item(wanted)?;
            if !items.contains(&item) {
                items.push(item);
            }
        }
        if items.is_empty() && self.action == Action::Open {
            let cure = "name one with -s tcp/22, or in the profile: services = [\"tcp/22\"]";
            return Err(ExitError::new(USAGE, format!("no service to open; {cure}")));
        }
        items.extend(self.code.clone().map(Item::Code));
        Ok(items)
    }

    pub(crate) fn tcp_port(&self) -> Option<u16> {
        self.services.iter().find_map(|wanted| match wanted {
            Wanted::Ports(ports) if ports.protocol_name() == "tcp" => {
                ports.range().map(|(first, _)| first)
            }
            _ => None,
        })
    }

    /// The duration in a packet: whole seconds, 0 for the gate's default.
    pub(super) fn seconds(&self) -> u32 {
        match (self.action, self.duration) {
            (Action::Open, Some(duration)) => u32::try_from(duration.as_secs()).unwrap_or(u32::MAX),
            _ => 0,
        }
    }
}

fn item(wanted: &Wanted) -> Result<Item, ExitError> {
    let item = match wanted {
        Wanted::Ports(ports) => ports.to_knock().map(Item::Service),
        Wanted::Named(name) => ServiceName::new(name).ok().map(Item::Name),
    };
    let what = || format!("a knock cannot carry {wanted}; write a service like tcp/22 or web");
    item.ok_or_else(|| ExitError::new(USAGE, what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl KnockRequest {
        pub(crate) fn to_open(services: &[impl AsRef<str>]) -> Self {
            let services = services.iter().map(|text| text.as_ref().parse().unwrap());
            Self {
                gate: GateName::new("g").unwrap(),
                action: Action::Open,
                services: services.collect(),
                allow: AllowSetting::Auto,
                grant_to: GrantTo::default(),
                duration: Some(Duration::from_secs(30)),
                target: None,
                code: None,
                time_offset: TimeOffset::default(),
            }
        }
    }

    fn request(action: Action, services: &[&str]) -> KnockRequest {
        KnockRequest {
            action,
            ..KnockRequest::to_open(services)
        }
    }

    #[test]
    fn rules_on_services_are_enforced() {
        let count = |action, services: &[&str]| request(action, services).items().map(|x| x.len());
        assert_eq!(count(Action::Open, &["tcp/22", "web", "tcp/22"]), Ok(2));
        assert_eq!(count(Action::Open, &[]).unwrap_err().code, USAGE);
        assert_eq!(count(Action::Close, &[]), Ok(0));
    }

    #[test]
    fn code_follows_services_and_stays_hidden() {
        let code = Code::new("123456").unwrap();
        let request = KnockRequest {
            code: Some(code.clone()),
            ..request(Action::Open, &["tcp/22"])
        };
        assert_eq!(request.items().unwrap().last(), Some(&Item::Code(code)));
        assert!(!format!("{request:?}").contains("123456"));
    }

    #[test]
    fn first_tcp_port_is_waited_for() {
        let port = |services: &[&str]| request(Action::Open, services).tcp_port();
        assert_eq!(port(&["udp/53", "web", "tcp/80-90", "tcp/22"]), Some(80));
        assert_eq!(port(&["udp/53", "web"]), None);
    }
}
