//! `postern knock` and `postern close`.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_proto::{Action, GateName};

use super::arguments::{Close, Knock, Output};
use super::json::{self, KnockJson, KnocksJson, WaitJson};
use super::output::say;
use super::plan::Plan;
use super::report::{not_open, tell};
use super::{code, words};
use crate::client::{self, KnockRequest, PreparedKnock};
use crate::model::exit::{ExitError, USAGE};

pub(super) fn knock(arguments: Knock, config: Option<&Path>) -> Result<(), ExitError> {
    let output = arguments.output;
    let duration = arguments.grant.duration;
    let mut plan = Plan::new(Action::Open, arguments.request, duration, config)?;
    plan.destination.spoofed_source = arguments.spoof_source;
    let wait = match arguments.wait {
        Some(limit) => Some((port_to_wait_for(&plan.request)?, limit)),
        None => None,
    };
    if !output.dry_run {
        plan.request.items()?;
        let code = code::obtain(arguments.code_stdin, plan.code.as_ref(), &plan.request.gate)?;
        plan.request.code = code;
    }
    carry_out("knock", &output, &plan, wait)
}

pub(super) fn close(arguments: Close, config: Option<&Path>) -> Result<(), ExitError> {
    let plan = Plan::new(Action::Close, arguments.request, None, config)?;
    carry_out("close", &arguments.output, &plan, None)
}

fn port_to_wait_for(request: &KnockRequest) -> Result<u16, ExitError> {
    let what = "--wait needs a TCP port to try; ask for one such as tcp/22, or leave out --wait";
    let port = request.tcp_port();
    port.ok_or_else(|| ExitError::new(USAGE, what))
}

fn carry_out(
    command: &str,
    output: &Output,
    plan: &Plan,
    wait: Option<(u16, Duration)>,
) -> Result<(), ExitError> {
    let gate = &plan.request.gate;
    let prepared = client::prepare(&plan.request, &plan.destination, &plan.keys)?;
    if output.print || output.dry_run {
        return show(command, output, gate, &prepared);
    }
    let sent = client::send(prepared)?;
    if !output.json {
        tell(gate, &sent)?;
    }
    let waited = wait.map(|(port, limit)| {
        let addresses = client::service_addresses(&sent, port);
        (port, limit, client::wait_for(&addresses, limit))
    });
    if output.json {
        let knocks = KnocksJson {
            gate: gate.to_string(),
            mode: "sent",
            knocks: KnockJson::all(&sent),
            wait: waited.map(|(_, _, open)| WaitJson::from(open)),
        };
        json::write(command, knocks)?;
    }
    match waited {
        Some((port, limit, None)) => Err(not_open(&format!("tcp/{port}"), limit)),
        Some((_, _, Some(open))) if !output.json => say(&format!("{}\n", words::opened(&open))),
        _ => Ok(()),
    }
}

/// Shows the packets (`--print`) or the requests (`--dry-run`) and sends nothing.
fn show(
    command: &str,
    output: &Output,
    gate: &GateName,
    prepared: &[PreparedKnock],
) -> Result<(), ExitError> {
    if output.json {
        let knocks = prepared.iter().map(|knock| {
            let mut shown = KnockJson::unsent(knock);
            if let (true, Ok(sealed)) = (output.print, &knock.sealed) {
                shown.packet = Some(STANDARD.encode(sealed.packet.as_bytes()));
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
            say(&format!("{}\n", STANDARD.encode(sealed.packet.as_bytes())))?;
        } else {
            let listing = words::listing(gate, &sealed.request, Some(knock.to.is_ipv4()));
            say(&format!("not sent to {}:\n{listing}", knock.to))?;
        }
    }
    Ok(())
}
