//! What tests give to firewall drivers and executors: settings, requests, grants and protections.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use postern::adapters::config;
use postern::adapters::config::bundle::{Bundle, BundleFile};
use postern::model::grant::{Grant, GrantId};
use postern::model::request::{AddressFrom, OpenRequest};
use postern::model::settings::{Protection, Settings};
use postern::model::time::Timestamp;

/// The settings of a config with this text.
pub(crate) fn settings(text: String) -> Settings {
    let main = Some(BundleFile {
        path: "posternd.toml".into(),
        text: text.into(),
    });
    let bundle = Bundle {
        main,
        ..Bundle::default()
    };
    config::load(&bundle).unwrap().settings
}

/// A request for ten minutes.
pub(crate) fn request(user: &str, allow: &str, services: &[&str]) -> OpenRequest {
    OpenRequest {
        user: user.to_owned(),
        allow: allow.parse().unwrap(),
        from: AddressFrom::Claimed,
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        duration: Duration::from_secs(600),
    }
}

/// A grant of alice for a network or an address.
pub(crate) fn grant(id: u64, allow: &str, services: &[&str], until: Timestamp) -> Grant {
    let address = || IpNet::from(allow.parse::<IpAddr>().unwrap());
    Grant {
        id: GrantId(id),
        user: "alice".to_owned(),
        allow: allow.parse().unwrap_or_else(|_| address()),
        target: None,
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        forwards: Vec::new(),
        until,
    }
}

/// Protects these ports of the gate, and these of networks behind it.
pub(crate) fn protection(services: &[&str], behind: &[(&str, &str)]) -> Protection {
    let behind = behind
        .iter()
        .map(|(network, ports)| (network.parse().unwrap(), ports.parse().unwrap()));
    Protection {
        services: services.iter().map(|text| text.parse().unwrap()).collect(),
        knock_ports: vec![62201],
        silence_knocks: true,
        behind: behind.collect(),
        nflog_group: Some(7),
        hide_behind: true,
        ..Protection::default()
    }
}
