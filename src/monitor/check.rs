//! `posternd check`: looks at config and host as `run` would, and says everything that is wrong or doubtful.
//!
//! Changes nothing that lasts. Errors are what would keep `run` from starting; warnings are what an administrator should know.

use std::fmt;
use std::path::Path;

use crate::backend::command::unfit;
use crate::monitor::{self, prepare};
use crate::settings::{CaptureKind, Interfaces, Settings};
use crate::stop::{CONFIG, Stop};

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// `error` or `warning`.
    pub level: &'static str,
    /// What it is and what to do.
    pub what: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
    exit_code: u8,
    summary: String,
}

/// Looks at everything.
pub fn check(config: &Path) -> Findings {
    let mut findings = Findings::default();
    match prepare::load(config) {
        Err(stop) => findings.error(&stop),
        Ok((bundle, settings)) => {
            drop(bundle);
            look_at_host(&settings, &mut findings);
            look_at_services(&settings, &mut findings);
            findings.summary = summary(&settings);
        }
    }
    findings
}

fn look_at_host(settings: &Settings, findings: &mut Findings) {
    match prepare::run_as(&settings.gate.run_as) {
        Ok(prepare::RunAs { note: Some(note), .. }) => findings.warning(note),
        Ok(_) => {}
        Err(stop) => findings.error(&stop),
    }
    if let Err(stop) = prepare::rights() {
        findings.warning(format!("{stop}; the firewall and the interfaces were not looked at"));
        return;
    }
    match monitor::backend(settings) {
        Err(stop) => findings.error(&stop),
        Ok(mut backend) => {
            if let Err(why) = backend.probe() {
                findings.error(&Stop::new(crate::stop::UNAVAILABLE, why));
            } else if let Err(why) = backend.kernel_expiry() {
                findings.warning(format!("the kernel does not end grants by itself: {why}; they end only while posternd runs"));
            }
        }
    }
    look_at_hooks(settings, findings);
    if let Interfaces::Named(names) = &settings.gate.interfaces {
        for name in names.iter().filter(|name| !Path::new("/sys/class/net").join(name).exists()) {
            findings.warning(format!(
                "interface {name} is not there now; knocks on it are heard once it appears (is the name right? see `ip link`)"
            ));
        }
    }
}

fn look_at_hooks(settings: &Settings, findings: &mut Findings) {
    for (service, options) in &settings.options {
        for recipe in [&options.on_open, &options.on_close].into_iter().flatten() {
            if let Some(why) = unfit(recipe.program()) {
                findings.warning(format!("a hook of service {service} is not safe to run or can't be run: {why}"));
            }
        }
    }
}

fn look_at_services(settings: &Settings, findings: &mut Findings) {
    let wanted = settings.policies.iter().filter_map(|policy| crate::policy::ports_of(&policy.services, &settings.named)).flatten();
    let all = crate::service::joined(wanted.collect());
    if settings.policies.is_empty() {
        findings.warning("no user is configured, so nobody can open anything; add one to the config".to_owned());
    }
    if !settings.firewall.protect {
        for service in &all {
            findings
                .warning(format!("{service} is not protected: firewall.protect is \"none\", so a rule of the host's own must close it"));
        }
    }
    if settings.gate.capture == CaptureKind::Udp && settings.gate.interfaces != Interfaces::Any {
        findings.warning("with capture = \"udp\" the sockets are bound on every interface; `interfaces` has no effect".to_owned());
    }
}

fn summary(settings: &Settings) -> String {
    let closed = crate::service::list(&settings.protection().services);
    let closed = if closed.is_empty() { "nothing".to_owned() } else { closed };
    format!(
        "gate {}, {}; closed for everyone who has not knocked: {closed}",
        settings.gate.name.as_str(),
        crate::time::count(settings.policies.len(), "user")
    )
}

impl Findings {
    fn error(&mut self, stop: &Stop) {
        self.found.extend(stop.message.lines().map(|what| Finding { level: "error", what: what.to_owned() }));
        if self.exit_code == 0 {
            self.exit_code = if stop.code == 0 { CONFIG } else { stop.code };
        }
    }

    fn warning(&mut self, what: String) {
        self.found.push(Finding { level: "warning", what });
    }

    /// 0 where nothing keeps `run` from starting; else the exit code that `run` would end with.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// The findings as JSON, version 1, with a newline.
    pub fn json(&self) -> String {
        let value = serde_json::json!({ "version": 1, "ok": self.exit_code == 0, "summary": self.summary, "findings": self.found });
        format!("{value:#}\n")
    }
}

/// A line a finding, errors first, then what is in force.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in ["error", "warning"] {
            for finding in self.found.iter().filter(|finding| finding.level == level) {
                writeln!(f, "{level}: {}", finding.what)?;
            }
        }
        if self.exit_code == 0 { writeln!(f, "ok: {}", self.summary) } else { Ok(()) }
    }
}
