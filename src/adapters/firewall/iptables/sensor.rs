//! The rules of table raw that send knocks and hits to a group of NFLOG, for a gate without a packet socket.
//!
//! Table raw comes before connection tracking and before the host's other tables, so that none drops a knock unseen.

use super::chains::{SENSED, SENSOR};
use super::matches::port_range;
use crate::model::sensor::{HIT_COPIED, KNOCK_COPIED, Sensor};
use crate::model::settings::Protection;

/// The shortest and the longest IP header.
const IP_HEADERS: (u16, u16) = (20, 60);

pub(super) fn rules(protection: &Protection) -> Vec<String> {
    rules_of_chains(protection).concat()
}

/// The rules of the chains [`SENSOR`] and [`SENSED`]. None of them decides about a packet.
pub(super) fn rules_of_chains(protection: &Protection) -> [Vec<String>; 2] {
    let Some(sensor) = protection.sensor else {
        return [Vec::new(), Vec::new()];
    };
    let hits = protection.sequence_ports.iter().filter_map(|ports| {
        let (name, range) = (ports.protocol_name(), port_range(ports.range()?));
        let log = log(sensor, HIT_COPIED);
        Some(format!(
            "{SENSED} -p {name} -m {name} --dport {range} {log}"
        ))
    });
    let hits: Vec<String> = hits.collect();
    let mut jumps = vec![format!("{SENSOR} -p udp -j {SENSED}")];
    if protection
        .sequence_ports
        .iter()
        .any(|ports| ports.protocol_name() == "tcp")
    {
        let flags = if sensor.only_syn {
            " -m tcp --tcp-flags SYN,ACK SYN"
        } else {
            ""
        };
        jumps.push(format!("{SENSOR} -p tcp{flags} -j {SENSED}"));
    }
    let (shortest, longest) = sensor.udp_lengths();
    let first = shortest.saturating_add(IP_HEADERS.0);
    let last = longest.saturating_add(IP_HEADERS.1);
    let log = log(sensor, KNOCK_COPIED);
    let knocks = protection.knock_ports.iter().map(|port| {
        format!("{SENSED} -p udp -m udp --dport {port} -m length --length {first}:{last} {log}")
    });
    [jumps, knocks.chain(hits).collect()]
}

fn log(sensor: Sensor, copied: u16) -> String {
    let group = sensor.group;
    format!("-j NFLOG --nflog-group {group} --nflog-size {copied} --nflog-threshold 1")
}
