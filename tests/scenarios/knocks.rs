//! A builder for knocks, made and sealed as `postern knock` does it.

use postern::client::seal_at_random;
use postern::model::address;
use postern::model::time::Timestamp;
use postern_proto::{
    Action, Allow, Code, GateName, Item, KeyMaterial, Request, Sealed, ServiceName, UserKeys,
};

use crate::world::{self, GATE};

pub(crate) const HOME: &str = "192.0.2.7";

#[derive(Debug, Clone)]
pub(crate) struct Knock {
    user: &'static str,
    request: Request,
}

impl Knock {
    /// To let the knock's own source reach tcp/22.
    pub(crate) fn of(user: &'static str) -> Self {
        let request = Request {
            action: Action::Open,
            allow: Allow::Source { prefix: 128 },
            timestamp_ms: 0,
            duration_s: 0,
            target: None,
            items: Vec::new(),
        };
        Self { user, request }.services(&["tcp/22"])
    }

    pub(crate) fn services(mut self, services: &[&str]) -> Self {
        self.request.items = services.iter().map(|text| item(text)).collect();
        self
    }

    pub(crate) fn also(mut self, services: &[&str]) -> Self {
        let more = services.iter().map(|text| item(text));
        self.request.items.extend(more);
        self
    }

    pub(crate) fn allow(mut self, network: &str) -> Self {
        let network = network
            .parse()
            .or_else(|_| network.parse().map(address::host))
            .unwrap();
        let (address, prefix) = address::network_to_knock(network);
        self.request.allow = Allow::Network { address, prefix };
        self
    }

    pub(crate) fn widened(mut self, prefix: u8) -> Self {
        self.request.allow = Allow::Source { prefix };
        self
    }

    pub(crate) fn target(mut self, host: &str) -> Self {
        self.request.target = Some(address::to_knock(world::address(host)));
        self
    }

    pub(crate) fn seconds(mut self, seconds: u32) -> Self {
        self.request.duration_s = seconds;
        self
    }

    pub(crate) fn code(mut self, code: &Code) -> Self {
        self.request.items.push(Item::Code(code.clone()));
        self
    }

    pub(crate) fn close(mut self) -> Self {
        self.request.action = Action::Close;
        self
    }

    pub(crate) fn request(&self, now: Timestamp) -> Request {
        Request {
            timestamp_ms: now.as_millis(),
            ..self.request.clone()
        }
    }

    pub(crate) fn sealed(&self, now: Timestamp) -> Sealed {
        let keys = UserKeys::derive(
            &GateName::new(GATE).unwrap(),
            &KeyMaterial::shared(&world::key(self.user)),
        );
        seal_at_random(&keys, &self.request(now)).unwrap()
    }
}

fn item(text: &str) -> Item {
    match text.parse() {
        Ok(postern::model::service::Wanted::Ports(ports)) => {
            Item::Service(ports.to_knock().unwrap())
        }
        _ => Item::Name(ServiceName::new(text).unwrap()),
    }
}
