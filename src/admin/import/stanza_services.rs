//! What a stanza opens: ports, forwards of FORCE_NAT, or the programs of CMD_CYCLE_OPEN.

use std::net::Ipv4Addr;

use super::command::{self, CYCLE, Meaning};
use super::converted::{ServiceKeys, texts};
use super::ports;
use super::reading::Reading;
use super::rules::Rules;
use crate::model::foreign::{Setting, Verdict};
use crate::model::service::Ports;

/// Each service has the end of its name, its ports and its other keys.
pub(super) type Service = (String, Vec<String>, ServiceKeys);

pub(super) enum Opens {
    Ports(Vec<String>),
    Named(Vec<Service>),
}

/// What the stanza opens; `None` if something is wrong, with a finding.
pub(super) fn read(reading: &mut Reading<'_>, rules: &Rules) -> Option<Opens> {
    let open = port_list(reading, "OPEN_PORTS");
    let restricted = port_list(reading, "RESTRICT_PORTS");
    if reading.refused {
        return None;
    }
    let restricted = restricted.unwrap_or_default();
    let ports = ports::opened(open.as_deref(), &restricted);
    let source = reading.get("SOURCE")?;
    if ports.is_empty() {
        let what = "RESTRICT_PORTS takes away all ports of OPEN_PORTS";
        reading.refuse(source, what, "remove the stanza, or correct RESTRICT_PORTS");
        return None;
    }
    let free: Option<Vec<Ports>> = open.map(|open| {
        let is_free = |port: &Ports| !restricted.contains(port);
        open.into_iter().filter(is_free).collect()
    });
    match (reading.get("CMD_CYCLE_OPEN"), reading.get("FORCE_NAT")) {
        (Some(cycle), Some(_)) => {
            let what = "CMD_CYCLE_OPEN and FORCE_NAT exclude each other";
            reading.refuse(cycle, what, "remove one of the two");
            None
        }
        (Some(cycle), None) => programs(reading, cycle, free),
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
        let end = format!("-{}", at.to_string().replace('/', "-"));
        (end, vec![at.to_string()], keys)
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

/// The commands of a stanza. One that only accepts the port of the request is what Postern does itself.
fn programs(reading: &mut Reading<'_>, cycle: &Setting, open: Option<Vec<Ports>>) -> Option<Opens> {
    let Some(open) = open else {
        let what = "without OPEN_PORTS, Postern cannot tell for which port to run the program";
        let cure = "add OPEN_PORTS with the port that clients ask for; nothing should listen there";
        reading.refuse(cycle, what, cure);
        return None;
    };
    let on_open = vector(reading, cycle)?;
    let close = reading.get("CMD_CYCLE_CLOSE");
    let close = close.filter(|close| !close.value.eq_ignore_ascii_case("NONE"));
    let on_close = match close {
        Some(close) => Some(vector(reading, close)?),
        None => None,
    };
    if let (Meaning::Accept(ports), true) = (command::meaning(&on_open), close.is_some()) {
        // The rule may name one port, whatever port the client asks for.
        if ports == open {
            return Some(Opens::Ports(texts(&open)));
        }
    }
    let what = "the grant opens the port of the request, too, and then runs the program";
    let cure = "let OPEN_PORTS name a port on which nothing listens, here and at the client";
    reading.say(cycle, Verdict::Convert, what, cure);
    let keys = ServiceKeys {
        on_open: Some(on_open),
        on_close,
        ..ServiceKeys::default()
    };
    // Hooks run for a grant of all ports of a service, so each port has a service of its own.
    let [port] = open.as_slice() else {
        let what = "the program is for several ports";
        reading.refuse(
            cycle,
            what,
            "write a stanza with keys of its own for each port",
        );
        return None;
    };
    Some(Opens::Named(vec![(
        "-run".to_owned(),
        vec![port.to_string()],
        keys,
    )]))
}

fn vector(reading: &mut Reading<'_>, setting: &Setting) -> Option<Vec<String>> {
    let words = command::words(&setting.value, &CYCLE).and_then(command::absolute);
    words
        .map_err(|(what, cure)| reading.refuse(setting, &what, cure))
        .ok()
}
