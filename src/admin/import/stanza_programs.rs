//! The programs of CMD_CYCLE_OPEN and CMD_CYCLE_CLOSE. fwknopd runs them for any port that a client asks for, and opens none.

use super::command::{self, CYCLE};
use super::command_meaning::{self, Meaning};
use super::converted::{Opens, Service, ServiceKeys, texts};
use super::reading::Reading;
use crate::model::foreign::{Setting, Verdict};
use crate::model::service::Ports;

/// A pair of commands; the second one is missing for NONE.
type Commands<'a> = (&'a Setting, Option<&'a Setting>);

/// What a stanza with programs opens; `None` if something is wrong, with a finding. `open` are the ports of OPEN_PORTS.
pub(super) fn read(
    reading: &mut Reading<'_>,
    opening: &Setting,
    open: Option<Vec<Ports>>,
) -> Option<Opens> {
    let closing = reading.get("CMD_CYCLE_CLOSE");
    let closing = closing.filter(|close| !close.value.starts_with("NONE"));
    let commands = (opening, closing);
    let names_port = |setting: &Setting| {
        ["$PORT", "$PROTO"]
            .iter()
            .any(|name| setting.value.contains(name))
    };
    if !names_port(opening) && !closing.is_some_and(names_port) {
        let (ports, keys) = service(reading, commands, None)?;
        return Some(Opens::Named(vec![Service {
            asked: Some("any".to_owned()),
            end: "-run".to_owned(),
            ports,
            keys,
        }]));
    }
    match open {
        Some(open) => by_port(reading, commands, &open),
        None => every_port(reading, commands),
    }
}

/// The commands name the port of the request: one service for each port.
fn by_port(reading: &mut Reading<'_>, commands: Commands<'_>, open: &[Ports]) -> Option<Opens> {
    let what = "the program runs for the ports of OPEN_PORTS only";
    let cure = "nothing to do, unless clients ask for other ports: then add them to OPEN_PORTS";
    reading.say(commands.0, Verdict::Narrow, what, cure);
    let mut services = Vec::with_capacity(open.len());
    for port in open {
        let (ports, keys) = service(reading, commands, Some(*port))?;
        services.push(Service {
            asked: Some(port.to_string()),
            end: format!("-{}-run", port.to_string().replace('/', "-")),
            ports,
            keys,
        });
    }
    let is_plain = |service: &Service| {
        service.keys.on_open.is_none() && service.asked.as_slice() == service.ports
    };
    if services.iter().all(is_plain) {
        return Some(Opens::Ports(texts(open)));
    }
    Some(Opens::Named(services))
}

/// Without OPEN_PORTS only a rule that accepts the port of the request can be kept.
fn every_port(reading: &mut Reading<'_>, commands: Commands<'_>) -> Option<Opens> {
    let mut all = Vec::new();
    for (probe, ports) in [("tcp/7", "tcp/1-65535"), ("udp/7", "udp/1-65535")] {
        let probe: Ports = probe.parse().ok()?;
        let (opened, keys) = service(reading, commands, Some(probe))?;
        if keys.on_open.is_none() && opened == [probe.to_string()] {
            all.push(ports.to_owned());
        }
    }
    if all.is_empty() {
        let what = "without OPEN_PORTS, Postern cannot tell for which port to run the program";
        let cure = "add OPEN_PORTS with the ports that clients ask for";
        reading.refuse(commands.0, what, cure);
        return None;
    }
    Some(Opens::Ports(all))
}

/// What the commands do for a request of this port. A rule that only accepts ports is what Postern does itself.
fn service(
    reading: &mut Reading<'_>,
    (opening, closing): Commands<'_>,
    port: Option<Ports>,
) -> Option<(Vec<String>, ServiceKeys)> {
    let on_open = vector(reading, opening, port)?;
    let on_close = match closing {
        Some(closing) => Some(vector(reading, closing, port)?),
        None => None,
    };
    let removes = on_close.as_deref().map(command_meaning::meaning);
    if let (Meaning::Accept(ports), Some(Meaning::Remove(removed))) =
        (command_meaning::meaning(&on_open), removes)
        && ports == removed
    {
        return Some((texts(&ports), ServiceKeys::default()));
    }
    let keys = ServiceKeys {
        on_open: Some(on_open),
        on_close,
        ..ServiceKeys::default()
    };
    Some((Vec::new(), keys))
}

fn vector(
    reading: &mut Reading<'_>,
    setting: &Setting,
    port: Option<Ports>,
) -> Option<Vec<String>> {
    let mut text = setting.value.to_string();
    if let Some((port, (number, _))) = port.and_then(|port| Some((port, port.range()?))) {
        // fwknopd gives the protocol's number.
        let protocol = if port.protocol_name() == "tcp" {
            "6"
        } else {
            "17"
        };
        text = text.replace("$PORT", &number.to_string());
        text = text.replace("$PROTO", protocol);
    }
    let destination = reading.get("DESTINATION");
    let destination = destination.filter(|one| one.value.parse::<std::net::Ipv4Addr>().is_ok());
    if let Some(destination) = destination {
        text = text.replace("$DST", &destination.value);
    }
    let words = command::words(&text, &CYCLE).and_then(command::absolute);
    words
        .map_err(|(what, cure)| reading.refuse(setting, &what, cure))
        .ok()
}
