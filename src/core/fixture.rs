//! Settings, requests and grants for the unit tests of several modules.

use std::time::Duration;

use crate::model::grant::{Grant, GrantId};
use crate::model::policy::Policy;
use crate::model::request::{AddressFrom, OpenRequest};
use crate::model::settings::{
    CaptureKind, DriverKind, Firewall, Gate, Interfaces, Metrics, OnStop, Settings,
};
use crate::model::time::Timestamp;

pub(crate) fn settings(users: &[(&str, &[&str])]) -> Settings {
    let services = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Settings {
        gate: Gate {
            name: postern_proto::GateName::new("gate.test").unwrap(),
            ports: vec![62201],
            addresses: Vec::new(),
            interfaces: Interfaces::Any,
            window: Duration::from_secs(30),
            state_dir: "/nonexistent/state".into(),
            control_socket: "/nonexistent/control.sock".into(),
            run_as: "nobody".to_owned(),
            capture: CaptureKind::Packet,
            log_sensor: None,
        },
        metrics: Metrics::default(),
        cluster: None,
        firewall: Firewall {
            backend: DriverKind::Auto,
            protect: true,
            on_stop: OnStop::Keep,
            command: None,
            packet_mark: crate::model::packet_mark::PacketMark::DEFAULT,
            host_rules: crate::model::settings::HostRules::Postern,
            nflog_group: crate::model::settings::NflogGroup::Auto,
        },
        catalog: Default::default(),
        policies: users
            .iter()
            .map(|(name, texts)| {
                Policy::for_user(name, services(texts)).with(|rules| rules.max_grants = u16::MAX)
            })
            .collect(),
        fwknop_users: 0,
        without_hmac: Vec::new(),
        sequences: Default::default(),
        disabled: Default::default(),
        roster: None,
        kept_closed: Vec::new(),
    }
}

pub(crate) fn request(user: &str, allow: &str, services: &[&str], seconds: u64) -> OpenRequest {
    OpenRequest {
        user: user.to_owned(),
        allow: allow.parse().unwrap(),
        from: AddressFrom::Claimed,
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        duration: Duration::from_secs(seconds),
    }
}

/// A grant that ends in 1970.
pub(crate) fn grant(id: u64, user: &str, allow: &str, services: &[&str]) -> Grant {
    Grant {
        id: GrantId(id),
        user: user.to_owned(),
        allow: allow.parse().unwrap(),
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        forwards: Vec::new(),
        until: Timestamp::default(),
    }
}
