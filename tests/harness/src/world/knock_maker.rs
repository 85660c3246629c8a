//! Knocks by the thousand: sealed in the test itself, because starting a client for each takes too long.

use std::net::{IpAddr, Ipv6Addr};

use postern::client::seal_at_random;
use postern::model::time::Timestamp;
use postern_proto::{
    Action, Allow, GateName, Item, KeyMaterial, Protocol, Request, Service, SharedKey, UserKeys,
};

use crate::now;

use super::gate_config::{GATE_NAME, key};

/// Makes one user's knocks.
pub struct KnockMaker(UserKeys);

impl KnockMaker {
    pub fn new(user: &str) -> Self {
        Self::of(GATE_NAME, user)
    }

    /// For a gate with this name.
    pub fn of(gate_name: &str, user: &str) -> Self {
        let key = SharedKey::from_base64(&key(user)).unwrap();
        Self(UserKeys::derive(
            &GateName::new(gate_name).unwrap(),
            &KeyMaterial::shared(&key),
        ))
    }

    /// A knock, made now, that opens a TCP port to `allow` for so many seconds.
    pub fn open(&self, allow: IpAddr, port: u16, seconds: u32) -> Vec<u8> {
        self.open_dated(now(), allow, port, seconds)
    }

    /// The same by a client whose clock says this.
    pub fn open_dated(&self, at: Timestamp, allow: IpAddr, port: u16, seconds: u32) -> Vec<u8> {
        let service = Service::new(Protocol::Tcp, port, port).unwrap();
        let items = vec![Item::Service(service)];
        self.seal(Action::Open, at, allow, seconds, items)
    }

    /// A knock, made now, that closes all that is open for `allow`.
    pub fn close(&self, allow: IpAddr) -> Vec<u8> {
        self.seal(Action::Close, now(), allow, 0, Vec::new())
    }

    fn seal(
        &self,
        action: Action,
        at: Timestamp,
        allow: IpAddr,
        seconds: u32,
        items: Vec<Item>,
    ) -> Vec<u8> {
        let address: Ipv6Addr = match allow {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let request = Request {
            action,
            allow: Allow::Network {
                address,
                prefix: 128,
            },
            timestamp_ms: at.as_millis(),
            duration_s: seconds,
            target: None,
            items,
        };
        seal_at_random(&self.0, &request)
            .unwrap()
            .as_bytes()
            .to_vec()
    }
}
