//! `posternd check`: looks at config and host as `run` would, and reports everything that is wrong or doubtful.
//!
//! Changes nothing that lasts. Errors keep `run` from starting.

use std::path::Path;
use std::time::Duration;

mod cluster;
pub(crate) mod findings;
mod from;
mod host;
mod log_sensor;
mod roster;

pub(crate) use from::{Passages, judge, plan};

use crate::adapters::clock;
use crate::adapters::config::disk;
use crate::adapters::control::{self, Answer, Question};
use crate::adapters::firewall::command::program_fault;
use crate::adapters::netlink::Links;
use crate::adapters::process::Programs;
use crate::adapters::sandbox;
use crate::adapters::store;
use crate::admin::check::findings::{Finding, Findings};
use crate::daemon::monitor::directories;
use crate::daemon::monitor::hooks::transient;
use crate::daemon::monitor::{self, confinement, driver, rights, routing, state_folder};
use crate::model::exit::{ExitError, UNAVAILABLE};
use crate::model::settings::{CaptureKind, Interfaces, Settings};
use crate::model::time::{self, Timestamp};

pub(crate) fn check(config: &Path) -> Findings {
    let mut findings = Findings::default();
    match disk::load(config) {
        Err(stop) => findings.error("config", &stop),
        Ok((bundle, settings)) => {
            // Its keys are not needed.
            drop(bundle);
            check_host(config, &settings, &mut findings);
            check_config(&settings, &mut findings);
            let now = clock::wall();
            let roster_end = roster::check(&settings, now, &mut findings);
            check_ends(&settings, roster_end, now, &mut findings);
            findings.summary = summary(&settings);
        }
    }
    findings
}

fn check_host(config: &Path, settings: &Settings, findings: &mut Findings) {
    if let Err(stop) = routing::check_forwards(config, settings) {
        findings.error("forward-here", &stop);
    }
    for warning in routing::warnings(settings) {
        let (what, details) = warning.split_once(": ").unwrap_or((&warning, ""));
        let details = details.split("; ").filter(|detail| !detail.is_empty());
        findings.add(details.fold(Finding::warning("not-routing", what), Finding::detail));
    }
    if let Err(stop) = directories::check_control(&settings.gate.control_socket) {
        findings.error("control-socket", &stop);
    }
    match rights::run_as(&settings.gate.run_as) {
        Ok(run_as) => {
            let state_dir = &settings.gate.state_dir;
            if let Err(stop) = state_folder::check(state_dir, config, &run_as) {
                findings.error("state-dir", &stop);
            }
            if settings.gate.run_as == "nobody" {
                let what =
                    "run_as: the engine runs as nobody, a user that other programs may run as";
                let cure = "set run_as = \"postern\"; make that user with: posternd init";
                let why = "they could replace its store, and so replay knocks";
                findings.add(
                    Finding::warning("run-as-nobody", what)
                        .detail(why)
                        .detail(cure),
                );
            }
            check_clock(settings, findings);
            if let Some(cluster) = &settings.cluster {
                cluster::check(cluster, settings, &run_as, findings);
            }
            if let Some(note) = run_as.note {
                findings.add(Finding::warning("run-as", note));
            }
        }
        Err(stop) => findings.error("run-as", &stop),
    }
    if let Err(stop) = rights::check_monitor(settings.gate.capture) {
        let what = "the firewall and the interfaces were not checked";
        findings.add(Finding::warning("rights", stop).detail(what));
        return;
    }
    if let Err(stop) = driver::check_sets(config, settings) {
        findings.error("nft-set", &stop);
    }
    match monitor::backend(settings) {
        Err(stop) => findings.error("backend", &stop),
        Ok(mut backend) => {
            if let Err(error) = backend.probe() {
                findings.error("backend", &ExitError::new(UNAVAILABLE, error));
            } else if let Err(why) = backend.kernel_expiry() {
                findings.add(
                    Finding::warning("kernel-expiry", "the kernel does not end grants by itself")
                        .detail(why)
                        .detail("grants end only while posternd runs"),
                );
            }
            if let Err(why) = backend.ignores_saved() {
                findings.add(
                    Finding::warning("saved-grants", "a saved rule set opens the grants in it")
                        .detail(why)
                        .detail("save rules while no grant is open: stop posternd with on_stop = \"remove\" first"),
                );
            }
            for finding in host::findings(settings, backend.name(), &host::snapshot(settings, None))
            {
                findings.add(finding);
            }
            for gap in confinement::gaps(settings, config, backend.name()) {
                findings.add(Finding::note("sandbox", sandbox::gap_line(&gap)));
            }
        }
    }
    check_hooks(settings, findings);
    if let Interfaces::Named(names) = &settings.gate.interfaces {
        for name in missing(names) {
            let what = format!("interface {name} does not exist");
            let finding = Finding::warning("interface-missing", what)
                .detail("posternd receives knocks on it once it appears")
                .detail("compare the name with: ip link");
            findings.add(finding);
        }
    }
}

/// The names that no interface has, as its name or as an alternative one.
fn missing(names: &[String]) -> Vec<&String> {
    let Ok(mut links) = Links::open() else {
        return Vec::new();
    };
    let is_missing = |name: &&String| matches!(links.index(name), Ok(None));
    names.iter().filter(is_missing).collect()
}

/// A clock that was far ahead when a knock was admitted.
fn check_clock(settings: &Settings, findings: &mut Findings) {
    let (gate, now) = (&settings.gate, clock::wall());
    if now < Timestamp::OLDEST {
        let what = format!("the system's clock says {now}, so it is not set yet");
        let finding = Finding::warning("clock-unset", what)
            .detail("knocks are dropped until it is set; then no restart is needed");
        findings.add(finding);
        return;
    }
    let ahead = match control::ask(&gate.control_socket, &Question::Status) {
        Ok(Answer::Status(status)) => Duration::from_millis(status.clock_ahead_ms),
        _ => match store::disk::read_times(&gate.state_dir) {
            Ok(times) => times.floor.since(now),
            // The start says it.
            Err(_) => return,
        },
    };
    if ahead > gate.window {
        let ahead = time::human(ahead);
        let what =
            format!("the gate's clock is {ahead} ahead of the system's, so no knock is admitted");
        let why = "the system's clock was ahead when a knock was admitted";
        let cure = "set the system's clock; if it is right now, stop posternd and run: posternd reset-clock";
        findings.add(
            Finding::warning("clock-ahead", what)
                .detail(why)
                .detail(cure),
        );
    }
}

fn check_hooks(settings: &Settings, findings: &mut Findings) {
    for (name, service) in &settings.catalog {
        for (key, template) in [
            ("on_open", &service.on_open),
            ("on_close", &service.on_close),
        ] {
            let program = template.as_ref().map(|template| template.program());
            if let Some(why) = program.and_then(program_fault) {
                let what = format!("{key} of service {name} cannot be run safely");
                findings.add(Finding::warning("hook-unfit", what).detail(why));
            }
        }
        let has_hook = service.on_open.is_some() || service.on_close.is_some();
        let unit = service.hook_unit.as_ref().filter(|_| has_hook);
        if let Some(why) = unit.and_then(|unit| transient::fault(&mut Programs::default(), unit)) {
            let what = format!("hooks of service {name} cannot run in a transient unit");
            let cure = "start systemd and dbus, and check run_hooks_as; or remove run_hooks_in";
            let finding = Finding::warning("hook-unit", what).detail(why).detail(cure);
            findings.add(finding);
        }
    }
}

fn check_sequences(settings: &Settings, findings: &mut Findings) {
    let users = &settings.sequences.readable;
    if users.is_empty() {
        return;
    }
    let users = some(users);
    let what = format!("anyone on the path can read and repeat the sequences of {users}");
    let finding = Finding::warning("sequence-readable", what)
        .detail("a sequence that stays the same is no secret once it was sent")
        .detail(
            "give them a key, or sequence = { key = \"…\", ports = \"20000-60000\", hits = 6 }",
        );
    findings.add(finding);
}

fn check_fwknop(settings: &Settings, findings: &mut Findings) {
    if settings.without_hmac.is_empty() {
        return;
    }
    let users = some(&settings.without_hmac);
    let finding = Finding::warning(
        "fwknop-without-hmac",
        format!("packets of {users} have no HMAC"),
    )
    .detail("such packets are hardly authenticated, and each one of a stranger costs a decryption")
    .detail("add hmac_key to fwknop of these users, and HMAC_KEY_BASE64 at their clients");
    findings.add(finding);
}

/// The first of these names, and how many more there are.
fn some(users: &[String]) -> String {
    const NAMED: usize = 8;
    let named: Vec<&str> = users.iter().take(NAMED).map(String::as_str).collect();
    let more = match users.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", named.join(", "))
}

fn check_config(settings: &Settings, findings: &mut Findings) {
    check_sequences(settings, findings);
    check_fwknop(settings, findings);
    if settings.policies.is_empty() {
        let what = "no user is configured, so nobody can open anything";
        let cure = "add one with: posternd user add NAME -s tcp/22";
        findings.add(Finding::warning("no-user", what).detail(cure));
    }
    if let Some(group) = settings.gate.capture.nflog_group() {
        let what = format!("knocks come through group {group} of NFLOG, without a packet socket");
        let how =
            "posternd adds the rules that send them there, before the host's own, and removes them";
        findings.add(Finding::note("nflog", what).detail(how));
    }
    if settings.gate.capture == CaptureKind::Udp && settings.gate.interfaces != Interfaces::Any {
        let why = "with capture = \"udp\", posternd receives on every interface";
        findings.add(Finding::warning("udp-interfaces", "`interfaces` has no effect").detail(why));
    }
    if let Some(sensor) = &settings.gate.log_sensor {
        log_sensor::check(&sensor.source, settings, findings);
    }
}

/// Users whose time is over, or soon will be.
///
/// The end of the roster has a finding of its own.
fn check_ends(
    settings: &Settings,
    roster_end: Option<Timestamp>,
    now: Timestamp,
    findings: &mut Findings,
) {
    const SOON: Duration = Duration::from_secs(14 * 86_400);
    for policy in settings.policies.iter() {
        let is_told = |end: &Timestamp| *end <= now.plus(SOON) && Some(*end) != roster_end;
        let Some(end) = policy.expires.filter(is_told) else {
            continue;
        };
        let user = &policy.user;
        let finding = if policy.is_expired(now) {
            let cure = "remove the user, or change expires";
            Finding::note("user-expired", format!("user {user} expired at {end}")).detail(cure)
        } else {
            let why = "then open grants end, too";
            Finding::note("user-expires", format!("user {user} expires at {end}")).detail(why)
        };
        findings.add(finding);
    }
}

fn summary(settings: &Settings) -> String {
    let closed = match settings.protection().closed() {
        closed if closed.is_empty() => "nothing".to_owned(),
        closed => closed,
    };
    let users = time::count(settings.policies.len(), "user");
    let gate = settings.gate.name.as_str();
    format!("gate {gate}, {users}; closed for everyone who has not knocked: {closed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture::settings;

    #[test]
    fn users_without_hmac_are_named() {
        let mut settings = settings(&[("a", &["tcp/22"])]);
        let said = |settings: &Settings| {
            let mut findings = Findings::default();
            check_config(settings, &mut findings);
            format!("{findings:?}")
        };
        assert!(!said(&settings).contains("HMAC"));
        settings.without_hmac = (0..10).map(|n| format!("u{n}")).collect();
        let said = said(&settings);
        assert!(
            said.contains("packets of u0, u1, u2, u3, u4, u5, u6, u7 and 2 more have no HMAC"),
            "{said}"
        );
    }
}
