//! `postern connect`: reaches a TCP port, with a knock only if it is closed, and relays.
//!
//! Owns when to knock and what for. Standard output is the peer's; what is said goes to standard error.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use postern_proto::{Protocol, Service};

use super::arguments::{Connect, Gate, NamedGate, Target, Telling};
use super::json::{Connected, KnockedAt, Waited};
use super::plan::Plan;
use super::{code, json, knock, note, words};
use crate::client::{self, Exit, Failure, KnockRequest, NotReached, Reached, Sent};
use crate::model::service::{self, Ports, Wanted};

/// How long an open port may take to accept. A hidden one answers nothing, so this is what each knock waits first.
const BRIEFLY: Duration = Duration::from_millis(500);

pub(super) fn connect(arguments: Connect, config: Option<&Path>) -> Result<(), Failure> {
    let Connect {
        profile,
        host,
        port,
        asking,
        target,
        length,
        patience,
        telling,
    } = arguments;
    let gate = Gate {
        profile: Some(profile),
        named: NamedGate::default(),
    };
    let as_told = !asking.services.is_empty();
    let target = Target {
        target: target.then(|| host.clone()),
    };
    let mut plan = Plan::to_open(gate, asking, target, length.duration, config)?;
    if !as_told {
        ask_for_port(&mut plan.wish, port);
    }
    plan.wish.items()?;
    let gate = plan.wish.gate.to_string();

    let doors = client::doors_of(&host, port, plan.way.families)?;
    let failed = |why| match why {
        NotReached::Shut => knock::in_vain(&format!("{host} port {port}"), patience.wait),
        NotReached::NoWay(error) => Failure::new(
            Exit::Unavailable,
            format!("no way to {host} port {port}: {error}"),
            "check this machine's network",
        ),
    };
    let (reached, sent) = match client::reach_once(&doors, BRIEFLY) {
        Ok(reached) => (reached, Vec::new()),
        Err(no_way @ NotReached::NoWay(_)) => return Err(failed(no_way)),
        Err(NotReached::Shut) => {
            let sent = knock_for(plan, &telling)?;
            (
                client::reach_within(&let_in(doors, &sent), patience.wait).map_err(failed)?,
                sent,
            )
        }
    };
    if telling.json {
        json::write_aside("connect", connected(gate, &sent, &reached))?;
    } else if !telling.quiet && !sent.is_empty() {
        note(&words::opened(&reached.opening));
    }
    client::relay(reached.stream)
}

fn knock_for(mut plan: Plan, telling: &Telling) -> Result<Vec<Sent>, Failure> {
    plan.wish.code = code::obtain(false, plan.code.as_ref(), &plan.wish.gate)?;
    let sent = client::prepare(&plan.wish, &plan.way, &plan.keys)?.send()?;
    if !telling.quiet && !telling.json {
        knock::tell_aside(&plan.wish.gate, &sent);
    }
    Ok(sent)
}

/// What the profile names is asked for if it covers the port; else the port alone. What a name means only the gate knows.
fn ask_for_port(wish: &mut KnockRequest, port: u16) {
    let Ok(wanted) = Service::new(Protocol::Tcp, port, port).map(Ports::from) else {
        return;
    };
    let plain = wish.services.iter().filter_map(|service| match service {
        Wanted::Ports(ports) => Some(*ports),
        Wanted::Named(_) => None,
    });
    if !service::covered(&service::joined(plain.collect()), wanted) {
        wish.services = vec![Wanted::Ports(wanted)];
    }
}

/// The addresses of the host that the knocks let this machine reach; all where nothing of the kind can be told.
fn let_in(doors: Vec<SocketAddr>, sent: &[Sent]) -> Vec<SocketAddr> {
    let open: Vec<SocketAddr> = doors
        .iter()
        .copied()
        .filter(|door| client::lets_in(sent, *door))
        .collect();
    if open.is_empty() { doors } else { open }
}

fn connected(gate: String, sent: &[Sent], reached: &Reached) -> Connected {
    Connected {
        gate,
        knocked: !sent.is_empty(),
        knocks: KnockedAt::all(sent),
        wait: Waited::of(Some(reached.opening)),
    }
}

#[cfg(test)]
mod tests {
    use postern_proto::{Action, GateName};

    use super::*;
    use crate::client::profile::{AllowSetting, TimeOffset};

    fn asked(services: &[&str], port: u16) -> String {
        let mut wish = KnockRequest {
            gate: GateName::new("g").unwrap(),
            action: Action::Open,
            services: services.iter().map(|text| text.parse().unwrap()).collect(),
            allow: AllowSetting::Auto,
            duration: None,
            target: None,
            code: None,
            time_offset: TimeOffset::None,
        };
        ask_for_port(&mut wish, port);
        service::list(&wish.services)
    }

    #[test]
    fn the_profiles_services_are_asked_for_where_they_cover_the_port_and_else_the_port_alone() {
        assert_eq!(asked(&["tcp/22", "web"], 22), "tcp/22, web");
        assert_eq!(
            asked(&["tcp/20-21", "tcp/22-30"], 22),
            "tcp/20-21, tcp/22-30"
        );
        assert_eq!(asked(&["tcp/22", "web"], 443), "tcp/443");
        assert_eq!(asked(&["web", "udp/22"], 22), "tcp/22");
        assert_eq!(asked(&[], 22), "tcp/22");
    }
}
