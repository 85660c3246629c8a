//! What a stanza opens: ports, forwards of FORCE_NAT, or the programs of CMD_CYCLE_OPEN.

use std::net::Ipv4Addr;

use super::converted::{Opens, Service, ServiceKeys};
use super::ports;
use super::reading::Reading;
use super::rules::Rules;
use super::stanza_programs;
use crate::model::foreign::{Setting, Verdict};
use crate::model::service::Ports;

/// What the stanza opens; `None` if something is wrong, with a finding.
pub(super) fn read(reading: &mut Reading<'_>, rules: &Rules) -> Option<Opens> {
    let open = port_list(reading, "OPEN_PORTS");
    let restricted = port_list(reading, "RESTRICT_PORTS");
    if reading.refused {
        return None;
    }
    let restricted = restricted.unwrap_or_default();
    let source = reading.get("SOURCE")?;
    let free: Option<Vec<Ports>> = open.as_ref().map(|open| {
        let is_free = |port: &&Ports| !restricted.contains(port);
        open.iter().filter(is_free).copied().collect()
    });
    let ports = ports::opened(open.as_deref(), &restricted);
    if ports.is_empty() {
        let what = "RESTRICT_PORTS takes away all ports of OPEN_PORTS";
        reading.refuse(source, what, "remove the stanza, or correct RESTRICT_PORTS");
        return None;
    }
    match (reading.get("CMD_CYCLE_OPEN"), reading.get("FORCE_NAT")) {
        (Some(cycle), Some(_)) => {
            let what = "CMD_CYCLE_OPEN and FORCE_NAT exclude each other";
            reading.refuse(cycle, what, "remove one of the two");
            None
        }
        (Some(cycle), None) => stanza_programs::read(reading, cycle, free),
        (None, Some(nat)) => forwards(reading, nat, free, &restricted, rules),
        (None, None) => {
            alone(reading);
            if free.is_none() {
                let what = "without OPEN_PORTS this user may open every port, as in fwknopd; \
                    protect = \"services\" then closes every port to everyone else";
                let cure =
                    "add OPEN_PORTS, or write protect = \"none\" into [firewall] of posternd.toml";
                reading.say(source, Verdict::Convert, what, cure);
            }
            Some(Opens::Ports(ports))
        }
    }
}

/// Refuses settings that need another one.
fn alone(reading: &mut Reading<'_>) {
    for (name, other) in [
        ("FORCE_SNAT", "FORCE_NAT"),
        ("CMD_CYCLE_CLOSE", "CMD_CYCLE_OPEN"),
        ("CMD_CYCLE_TIMER", "CMD_CYCLE_OPEN"),
    ] {
        if let Some(setting) = reading.get(name) {
            let what = format!("it needs {other}");
            reading.refuse(setting, &what, &format!("add {other}, or remove the line"));
        }
    }
    if let Some(setting) = reading.get("FORCE_MASQUERADE").filter(|one| one.is_yes()) {
        reading.refuse(
            setting,
            "it needs FORCE_NAT",
            "add FORCE_NAT, or remove the line",
        );
    }
}

fn port_list(reading: &mut Reading<'_>, name: &str) -> Option<Vec<Ports>> {
    let setting = reading.get(name)?;
    let ports = ports::list(&setting.value);
    if ports.is_none() {
        let cure = "write tcp or udp with a port, like tcp/22, with commas between";
        reading.refuse(setting, "this is no list of ports", cure);
    }
    ports
}

/// One forward for each port, because a range cannot go to one port.
fn forwards(
    reading: &mut Reading<'_>,
    nat: &Setting,
    open: Option<Vec<Ports>>,
    restricted: &[Ports],
    rules: &Rules,
) -> Option<Opens> {
    if rules.refuse_nat() {
        let what = "fwknopd takes it only with ENABLE_IPT_FORWARDING in fwknopd.conf";
        let cure = "write ENABLE_IPT_FORWARDING Y there, or remove the line";
        reading.refuse(nat, what, cure);
        return None;
    }
    let Some((host, port)) = host_and_port(&nat.value) else {
        let cure = "write an IPv4 address and a port with a blank between: 10.0.0.5 22";
        reading.refuse(nat, "this is no address with a port", cure);
        return None;
    };
    let ports = match open {
        Some(open) => open,
        None => {
            let only: Ports = format!("tcp/{port}").parse().ok()?;
            if restricted.contains(&only) {
                let what = "RESTRICT_PORTS has its port, and there is no OPEN_PORTS";
                reading.refuse(
                    nat,
                    what,
                    "add OPEN_PORTS with the port that clients ask for",
                );
                return None;
            }
            let what = format!("without OPEN_PORTS only {only} leads to this host");
            let cure = "add OPEN_PORTS with the ports that clients ask for, and import again";
            reading.say(nat, Verdict::Narrow, &what, cure);
            vec![only]
        }
    };
    let masquerade = rules.masquerade
        || reading.is_yes("FORCE_MASQUERADE")
        || reading.get("FORCE_SNAT").is_some();
    let service = |at: &Ports| {
        let keys = ServiceKeys {
            forward: Some(format!("{host}:{port}")),
            masquerade,
            ..ServiceKeys::default()
        };
        Service {
            asked: None,
            end: format!("-{}", at.to_string().replace('/', "-")),
            ports: vec![at.to_string()],
            keys,
        }
    };
    Some(Opens::Named(ports.iter().map(service).collect()))
}

fn host_and_port(text: &str) -> Option<(Ipv4Addr, u16)> {
    let mut parts = text.split([' ', '\t', ',']).filter(|part| !part.is_empty());
    let (host, port) = (parts.next()?.parse::<Ipv4Addr>().ok()?, parts.next()?);
    let is_host = !host.is_loopback() && !host.is_unspecified() && !host.is_broadcast();
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    (is_host && parts.next().is_none()).then_some((host, port))
}
