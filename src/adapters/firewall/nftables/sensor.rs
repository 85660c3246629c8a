//! The chains that send knocks and hits to a group of NFLOG, for a gate without a packet socket. Pure.

use super::expressions::{self, Expression};
use super::rule::{Chain, Hook, Rule, all, service};
use crate::model::sensor::{HIT_COPIED, KNOCK_COPIED, Sensor};
use crate::model::settings::Protection;

const UDP_PORTS: &str = "sensor_udp";
const TCP_PORTS: &str = "sensor_tcp";

/// Before connection tracking and all chains of the host, so that none drops a knock unseen. The first priority belongs to the kernel:
/// there a bridge keeps its packets from passing the hook twice.
const FIRST: Hook = Hook::Packet {
    number: 0,
    kind: "filter",
    priority: i32::MIN + 1,
};

/// None of them decides about a packet. The base chain comes last.
pub(super) fn chains(protection: &Protection) -> Vec<Chain> {
    let Some(sensor) = &protection.sensor else {
        return Vec::new();
    };
    let log = |copied| [expressions::log(sensor.group, copied)];
    let hits = |protocol: &str| -> Vec<Rule> {
        let ports = protection.sequence_ports.iter();
        let ports = ports.filter(|ports| ports.protocol_name() == protocol);
        ports
            .map(|ports| all([&service(*ports), &log(HIT_COPIED)]))
            .collect()
    };
    let mut udp = knocks(*sensor, protection);
    udp.extend(hits("udp"));
    let tcp = hits("tcp");
    let jump = |matches: &[Expression], to| all([matches, &[expressions::jump(to)]]);
    let mut base = vec![jump(&expressions::protocol(expressions::UDP), UDP_PORTS)];
    if !tcp.is_empty() {
        base.push(jump(&requests(*sensor), TCP_PORTS));
    }
    let chain = |name, hook, rules| Chain { name, hook, rules };
    vec![
        chain(UDP_PORTS, Hook::Jump, udp),
        chain(TCP_PORTS, Hook::Jump, tcp),
        chain("sensor", FIRST, base),
    ]
}

fn knocks(sensor: Sensor, protection: &Protection) -> Vec<Rule> {
    let (shortest, longest) = sensor.udp_lengths();
    let length = expressions::udp_length(shortest, longest);
    let log = [expressions::log(sensor.group, KNOCK_COPIED)];
    let knock = |port: &u16| {
        all([
            &expressions::protocol(expressions::UDP),
            &expressions::port(*port, *port),
            &length,
            &log,
        ])
    };
    protection.knock_ports.iter().map(knock).collect()
}

/// TCP segments that may be hits.
fn requests(sensor: Sensor) -> Vec<Expression> {
    if sensor.only_syn {
        expressions::syn_without_ack()
    } else {
        expressions::protocol(expressions::TCP).to_vec()
    }
}
