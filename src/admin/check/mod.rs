//! `posternd check`: looks at config and host as `run` would, and says everything that is wrong or doubtful.
//!
//! Changes nothing that lasts. Errors are what would keep `run` from starting; warnings are what an administrator should
//! mend; notes are good to know. What the host's own rules do is `host`'s.

use std::path::Path;

pub mod findings;
mod host;

use crate::adapters::config::disk;
use crate::adapters::firewall::command::unfit;
use crate::adapters::sandbox;
use crate::admin::check::findings::{Finding, Findings};
use crate::daemon::monitor::{self, enclosure, prepare, routing};
use crate::model::exit::{ExitError, UNAVAILABLE};
use crate::model::settings::{CaptureKind, Interfaces, Settings};

/// Looks at everything.
pub fn check(config: &Path) -> Findings {
    let mut findings = Findings::default();
    match disk::load(config) {
        Err(stop) => findings.error("config", &stop),
        Ok((bundle, settings)) => {
            drop(bundle);
            look_at_host(config, &settings, &mut findings);
            look_at_config(&settings, &mut findings);
            findings.summary = summary(&settings);
        }
    }
    findings
}

fn look_at_host(config: &Path, settings: &Settings, findings: &mut Findings) {
    routing::warnings(settings)
        .into_iter()
        .for_each(|what| findings.add(Finding::warning("not-routing", what)));
    match prepare::run_as(&settings.gate.run_as) {
        Ok(prepare::RunAs {
            note: Some(note), ..
        }) => findings.add(Finding::warning("run-as", note)),
        Ok(_) => {}
        Err(stop) => findings.error("run-as", &stop),
    }
    if let Err(stop) = prepare::rights() {
        findings.add(Finding::warning(
            "rights",
            format!("{stop}; the firewall and the interfaces were not looked at"),
        ));
        return;
    }
    match monitor::backend(settings) {
        Err(stop) => findings.error("backend", &stop),
        Ok(mut backend) => {
            if let Err(why) = backend.probe() {
                findings.error("backend", &ExitError::new(UNAVAILABLE, why));
            } else if let Err(why) = backend.kernel_expiry() {
                let what = format!(
                    "the kernel does not end grants by itself: {why}; they end only while posternd runs"
                );
                findings.add(Finding::warning("kernel-expiry", what));
            }
            host::look(settings, backend.name())
                .into_iter()
                .for_each(|finding| findings.add(finding));
            for gap in enclosure::gaps(settings, config, backend.name()) {
                findings.add(Finding::note("sandbox", sandbox::told(&gap)));
            }
        }
    }
    look_at_hooks(settings, findings);
    if let Interfaces::Named(names) = &settings.gate.interfaces {
        for name in names
            .iter()
            .filter(|name| !Path::new("/sys/class/net").join(name).exists())
        {
            let what = format!(
                "interface {name} is not there now; knocks on it are heard once it appears (is the name right? see `ip link`)"
            );
            findings.add(Finding::warning("interface-missing", what));
        }
    }
}

fn look_at_hooks(settings: &Settings, findings: &mut Findings) {
    for (service, options) in &settings.options {
        for (key, template) in [
            ("on_open", &options.on_open),
            ("on_close", &options.on_close),
        ] {
            if let Some(why) = template
                .as_ref()
                .and_then(|template| unfit(template.program()))
            {
                findings.add(Finding::warning(
                    "hook-unfit",
                    format!("{key} of service {service} can't be run, or not safely: {why}"),
                ));
            }
        }
    }
}

fn look_at_config(settings: &Settings, findings: &mut Findings) {
    if settings.policies.is_empty() {
        findings.add(Finding::warning(
            "no-user",
            "no user is configured, so nobody can open anything; add one with: posternd user add NAME -s tcp/22",
        ));
    }
    if settings.gate.capture == CaptureKind::Udp && settings.gate.interfaces != Interfaces::Any {
        let what = "with capture = \"udp\" the sockets are bound on every interface; `interfaces` has no effect";
        findings.add(Finding::warning("udp-interfaces", what));
    }
}

fn summary(settings: &Settings) -> String {
    let closed = settings.protection().closed();
    let closed = if closed.is_empty() {
        "nothing".to_owned()
    } else {
        closed
    };
    format!(
        "gate {}, {}; closed for everyone who has not knocked: {closed}",
        settings.gate.name.as_str(),
        crate::model::time::count(settings.policies.len(), "user")
    )
}
