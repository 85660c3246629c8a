//! `postern connect`: connects to a TCP port, knocks only if the port is closed, and relays.
//!
//! Standard output carries the peer's bytes, so messages go to standard error.

use std::path::Path;
use std::time::Duration;

use postern_proto::{Action, Protocol, Service};
use serde::Serialize;

use super::arguments::{Connect, Gate, Messages, NamedGate, RequestArguments, WaitLimit};
use super::json::{self, KnockJson, WaitJson};
use super::output::note;
use super::plan::Plan;
use super::report::{not_open, tell_failures, tell_one_aside};
use super::{code, words};
use crate::client::{self, Alarm, Awaited, KnockRequest, SentKnock, Tried, Unreached, Waited};
use crate::model::exit::{ExitError, UNAVAILABLE};
use crate::model::service::{self, Ports, Wanted};

/// How long an open port may take to accept. A filtered port does not answer, so every knock waits this long first.
const OPEN_PORT_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct ConnectJson {
    gate: String,
    knocked: bool,
    knocks: Vec<KnockJson>,
    wait: WaitJson,
}

pub(super) fn connect(arguments: Connect, config: Option<&Path>) -> Result<(), ExitError> {
    let (host, port, messages) = (arguments.host, arguments.port, arguments.messages);
    let limit = arguments.wait.limit;
    let names_services = !arguments.options.services.is_empty();
    let request = RequestArguments {
        gate: Gate {
            profile: Some(arguments.profile),
            named: NamedGate::default(),
        },
        options: arguments.options,
        target: arguments.target.then(|| host.clone()),
    };
    let mut plan = Plan::new(Action::Open, request, arguments.grant.duration, config)?;
    if !names_services {
        ask_for_port(&mut plan.request, port);
    }
    plan.check()?;
    let gate = plan.request.gate.to_string();

    let failed = |why, sent: &[SentKnock]| match why {
        Unreached::Closed => not_open(&format!("{host} port {port}"), limit, sent),
        Unreached::NoRoute(error) => {
            let what = format!("cannot reach {host} port {port}: {error}");
            ExitError::new(UNAVAILABLE, format!("{what}; check this machine's network"))
        }
    };
    let families = plan.destination.families;
    let Tried { result, addresses } = client::try_port(&host, port, families, OPEN_PORT_TIMEOUT)?;
    let (connected, sent) = match result {
        Ok(connected) => (connected, Vec::new()),
        Err(error @ Unreached::NoRoute(_)) => return Err(failed(error, &[])),
        Err(Unreached::Closed) => {
            let service = Awaited::Host {
                host: host.clone(),
                port,
                addresses,
            };
            let Waited { sent, result } = knock(plan, &service, &arguments.wait, &messages)?;
            (result.map_err(|why| failed(why, &sent))?, sent)
        }
    };
    if messages.json {
        let report = ConnectJson {
            gate,
            knocked: !sent.is_empty(),
            knocks: KnockJson::all(&sent),
            wait: Some(connected.port).into(),
        };
        json::write_aside("connect", report)?;
    } else if !messages.quiet && !sent.is_empty() {
        note(&words::opened(&connected.port, &sent));
    }
    client::relay(connected.stream)
}

/// Knocks until the service answers.
fn knock(
    plan: Plan,
    service: &Awaited,
    wait: &WaitLimit,
    messages: &Messages,
) -> Result<Waited, ExitError> {
    let gate = plan.request.gate.clone();
    let codes = code::obtain_more(false, plan.code.as_ref(), &gate)?;
    let mut tell = |sent: &SentKnock| {
        if messages.are_wanted() {
            tell_one_aside(&gate, sent);
        }
    };
    let alarm = Alarm::new().map_err(client::no_alarm)?;
    let mut grant = plan.into_grant(wait.once);
    let waited = grant.until_open(service, wait.limit, codes, &alarm, &mut tell)?;
    if messages.are_wanted() {
        tell_failures(&waited.sent);
    }
    Ok(waited)
}

/// Keeps the services of the profile if they cover the port; else asks for the port alone.
fn ask_for_port(request: &mut KnockRequest, port: u16) {
    let Ok(wanted) = Service::new(Protocol::Tcp, port, port).map(Ports::from) else {
        return;
    };
    // Only the gate knows the ports of a named service.
    let ports = request.services.iter().filter_map(|service| match service {
        Wanted::Ports(ports) => Some(*ports),
        Wanted::Named(_) => None,
    });
    if !service::covered(&service::joined(ports.collect()), wanted) {
        request.services = vec![Wanted::Ports(wanted)];
    }
}

#[cfg(test)]
mod tests {
    use postern_proto::GateName;

    use super::*;
    use crate::client::profile::{AllowSetting, TimeOffset};
    use crate::model::grant_to::GrantTo;

    #[test]
    fn services_that_cover_the_port_are_kept() {
        for (services, port, asked) in [
            (&["tcp/22", "web"][..], 22, "tcp/22, web"),
            (&["tcp/20-21", "tcp/22-30"], 22, "tcp/20-21, tcp/22-30"),
            (&["tcp/22", "web"], 443, "tcp/443"),
            (&["web", "udp/22"], 22, "tcp/22"),
            (&[], 22, "tcp/22"),
        ] {
            let mut request = KnockRequest {
                gate: GateName::new("g").unwrap(),
                action: Action::Open,
                services: services.iter().map(|text| text.parse().unwrap()).collect(),
                allow: AllowSetting::Auto,
                grant_to: GrantTo::default(),
                duration: None,
                target: None,
                code: None,
                time_offset: TimeOffset::default(),
            };
            ask_for_port(&mut request, port);
            assert_eq!(service::list(&request.services), asked);
        }
    }
}
