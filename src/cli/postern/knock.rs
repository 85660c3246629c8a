//! `postern knock` and `postern close`.

use std::path::Path;
use std::time::Duration;

use postern_proto::{Action, GateName};

use super::arguments::{Close, Knock, Output};
use super::gate::Way;
use super::json::{self, KnockJson, KnocksJson, WaitJson};
use super::output::say;
use super::plan::Plan;
use super::report::{not_open, tell, tell_failures, tell_one};
use super::{code, words};
use crate::client::{self, Alarm, Awaited, Codes, KnockRequest, Outgoing, SentKnock};
use crate::model::address;
use crate::model::exit::{ExitError, USAGE};

pub(super) fn knock(arguments: Knock, config: Option<&Path>) -> Result<(), ExitError> {
    let output = arguments.output;
    let duration = arguments.grant.duration;
    let way = match (arguments.sequence, arguments.encrypted_sequence) {
        (true, _) => Way::Sequence,
        (_, true) => Way::EncryptedSequence,
        _ => Way::Any,
    };
    let mut plan = Plan::by(way, Action::Open, arguments.request, duration, config)?;
    plan.destination.spoofed_source = arguments.spoof_source;
    let wait = match arguments.wait {
        Some(limit) => Some((port_to_wait_for(&plan.request)?, limit)),
        None => None,
    };
    let mut codes = Codes::default();
    plan.check()?;
    if !output.dry_run {
        let source = plan.code.as_ref();
        codes = code::obtain_more(arguments.code_stdin, source, &plan.request.gate)?;
    }
    if output.print || output.dry_run {
        plan.request.code = codes.first;
        return show("knock", &output, &plan);
    }
    send("knock", &output, plan, codes, wait, arguments.once)
}

pub(super) fn close(arguments: Close, config: Option<&Path>) -> Result<(), ExitError> {
    let plan = Plan::new(Action::Close, arguments.request, None, config)?;
    plan.check()?;
    let output = arguments.output;
    if output.print || output.dry_run {
        return show("close", &output, &plan);
    }
    send("close", &output, plan, Codes::default(), None, true)
}

fn port_to_wait_for(request: &KnockRequest) -> Result<u16, ExitError> {
    let what = "--wait needs a TCP port to try; ask for one such as tcp/22, or leave out --wait";
    let port = request.tcp_port();
    port.ok_or_else(|| ExitError::new(USAGE, what))
}

fn send(
    command: &str,
    output: &Output,
    plan: Plan,
    codes: Codes,
    wait: Option<(u16, Duration)>,
    once: bool,
) -> Result<(), ExitError> {
    let gate = plan.request.gate.clone();
    let mut grant = plan.into_grant(once);
    let Some((port, limit)) = wait else {
        let sent = grant.knock(codes)?;
        return if output.json {
            report(command, &gate, &sent, None)
        } else {
            tell(&gate, &sent)
        };
    };
    let alarm = Alarm::new().map_err(client::no_alarm)?;
    let mut told = Ok(());
    let mut tell = |sent: &SentKnock| {
        if !output.json && told.is_ok() {
            told = tell_one(&gate, sent);
        }
    };
    let service = Awaited::AtGate(port);
    let waited = grant.until_open(&service, limit, codes, &alarm, &mut tell)?;
    told?;
    let (sent, open) = (
        waited.sent,
        waited.result.ok().map(|connected| connected.port),
    );
    if output.json {
        report(command, &gate, &sent, Some(open.into()))?;
    } else {
        tell_failures(&sent);
    }
    match open {
        None => Err(not_open(&format!("tcp/{port}"), limit, &sent)),
        Some(open) if !output.json => say(&format!("{}\n", words::opened(&open, &sent))),
        Some(_) => Ok(()),
    }
}

fn report(
    command: &str,
    gate: &GateName,
    sent: &[SentKnock],
    wait: Option<WaitJson>,
) -> Result<(), ExitError> {
    let knocks = KnocksJson {
        gate: gate.to_string(),
        mode: "sent",
        knocks: KnockJson::all(sent),
        wait,
    };
    json::write(command, knocks)
}

/// Shows the packets (`--print`) or the requests (`--dry-run`) and sends nothing.
fn show(command: &str, output: &Output, plan: &Plan) -> Result<(), ExitError> {
    let gate = &plan.request.gate;
    let prepared = client::prepare(&plan.request, &plan.destination, &plan.secrets)?;
    if output.json {
        let knocks = prepared.iter().map(|knock| {
            let mut shown = KnockJson::unsent(knock);
            if let (true, Ok(sealed)) = (output.print, &knock.sealed) {
                let lines = sealed.outgoing.lines(knock.to.ip());
                match sealed.outgoing {
                    Outgoing::Packet(_) | Outgoing::Text(_) => shown.packet = Some(lines),
                    Outgoing::Hits(_) => shown.hits = lines.lines().map(str::to_owned).collect(),
                }
            }
            shown
        });
        let knocks = KnocksJson {
            gate: gate.to_string(),
            mode: if output.print { "printed" } else { "dry-run" },
            knocks: knocks.collect(),
            wait: None,
        };
        return json::write(command, knocks);
    }
    for knock in prepared {
        let Ok(sealed) = &knock.sealed else {
            continue;
        };
        if output.print {
            say(&format!("{}\n", sealed.outgoing.lines(knock.to.ip())))?;
        } else {
            let listing = words::listing(gate, &sealed.request, Some(knock.to.is_ipv4()));
            let to = address::place(knock.to);
            say(&format!("not sent to {to}:\n{listing}"))?;
            if let Some(place) = plan.secrets.leads_to() {
                say(&format!("  leads to  {place}\n"))?;
            }
        }
    }
    Ok(())
}
