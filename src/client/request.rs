//! What the user wants of a gate, checked as far as that goes without network or clock.
//!
//! Owns the rules on services (PROTOCOL section 5): at least one to open, 16 at most, none twice.

use std::time::Duration;

use postern_proto::{Action, Code, GateName, Item, ServiceName, limits};

use super::{Exit, Failure};
use crate::client::profile::{AllowSetting, Host, TimeOffset};
use crate::model::service::Wanted;

/// What to ask of a gate.
#[derive(Debug)]
pub struct KnockRequest {
    /// The gate's name.
    pub gate: GateName,
    /// Open or close.
    pub action: Action,
    /// What to open, or to close: then an empty list means everything.
    pub services: Vec<Wanted>,
    /// Whom to let in.
    pub allow: AllowSetting,
    /// For how long; none for what the gate grants by default.
    pub duration: Option<Duration>,
    /// The host to reach; none for the gate itself.
    pub target: Option<Host>,
    /// The one-time code, where the gate asks for one.
    pub code: Option<Code>,
    /// What is added to this machine's clock.
    pub time_offset: TimeOffset,
}

impl KnockRequest {
    /// The services as a knock carries them, none twice, and the code.
    ///
    /// # Errors
    /// When there are none to open, or more than a knock can carry.
    pub fn items(&self) -> Result<Vec<Item>, Failure> {
        let mut items = Vec::new();
        for wanted in &self.services {
            let item = item(wanted)?;
            if !items.contains(&item) {
                items.push(item);
            }
        }
        if items.len() > limits::MAX_SERVICES {
            let what = format!(
                "{} services are more than one knock can ask for ({})",
                items.len(),
                limits::MAX_SERVICES
            );
            return Err(Failure::new(
                Exit::Usage,
                what,
                "knock twice, or have the gate's administrator define one named service for them",
            ));
        }
        if items.is_empty() && self.action == Action::Open {
            return Err(Failure::new(
                Exit::Usage,
                "no service to open",
                "name one with -s tcp/22, or give the profile services = [\"tcp/22\"]",
            ));
        }
        items.extend(self.code.clone().map(Item::Code));
        Ok(items)
    }

    /// The first TCP port that it asks for.
    pub fn tcp_port(&self) -> Option<u16> {
        self.services.iter().find_map(|wanted| match wanted {
            Wanted::Ports(ports) if ports.protocol_name() == "tcp" => {
                ports.range().map(|(first, _)| first)
            }
            _ => None,
        })
    }

    /// As the wire counts it: whole seconds, 0 for none.
    pub(super) fn seconds(&self) -> u32 {
        match (self.action, self.duration) {
            (Action::Open, Some(duration)) => u32::try_from(duration.as_secs()).unwrap_or(u32::MAX),
            _ => 0,
        }
    }
}

fn item(wanted: &Wanted) -> Result<Item, Failure> {
    let item = match wanted {
        Wanted::Ports(ports) => ports.to_wire().map(Item::Service),
        Wanted::Named(name) => ServiceName::new(name).ok().map(Item::Name),
    };
    item.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("{wanted} cannot be asked for"),
            "write it like tcp/22 or web",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(action: Action, services: &[&str]) -> KnockRequest {
        KnockRequest {
            gate: GateName::new("g").unwrap(),
            action,
            services: services.iter().map(|text| text.parse().unwrap()).collect(),
            allow: AllowSetting::Auto,
            duration: Some(Duration::from_secs(30)),
            target: None,
            code: None,
            time_offset: TimeOffset::None,
        }
    }

    #[test]
    fn a_service_that_is_named_twice_is_asked_for_once() {
        assert_eq!(
            wish(Action::Open, &["tcp/22", "web", "tcp/22"])
                .items()
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn a_code_comes_behind_the_services_and_is_not_shown() {
        let code = Code::new("123456").unwrap();
        let wish = KnockRequest {
            code: Some(code.clone()),
            ..wish(Action::Open, &["tcp/22"])
        };
        assert_eq!(wish.items().unwrap().last(), Some(&Item::Code(code)));
        assert!(!format!("{wish:?}").contains("123456"));
    }

    #[test]
    fn nothing_can_be_closed_but_not_opened() {
        assert_eq!(wish(Action::Close, &[]).items().unwrap(), []);
        assert_eq!(
            wish(Action::Open, &[]).items().unwrap_err().exit(),
            Exit::Usage
        );
    }

    #[test]
    fn more_than_sixteen_services_are_refused_before_anything_is_sent() {
        let many: Vec<String> = (1..=17).map(|port| format!("tcp/{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(wish(Action::Open, &many[..16]).items().unwrap().len(), 16);
        assert_eq!(
            wish(Action::Open, &many).items().unwrap_err().exit(),
            Exit::Usage
        );
    }

    #[test]
    fn the_port_to_wait_for_is_the_first_tcp_one() {
        assert_eq!(
            wish(Action::Open, &["udp/53", "web", "tcp/80-90", "tcp/22"]).tcp_port(),
            Some(80)
        );
        assert_eq!(wish(Action::Open, &["udp/53", "web"]).tcp_port(), None);
    }

    #[test]
    fn a_close_carries_no_duration() {
        assert_eq!(wish(Action::Open, &["tcp/22"]).seconds(), 30);
        assert_eq!(wish(Action::Close, &["tcp/22"]).seconds(), 0);
    }
}
