//! Findings about the log sensor of `capture`.

use std::path::Path;

use super::findings::{Finding, Findings};
use crate::adapters::files;
use crate::daemon::monitor::open_log;
use crate::model::settings::{Interfaces, LogSource, Settings};

const ALL_NETNS: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// Who else could write the lines, and whether anybody needs them.
pub(super) fn check(source: &LogSource, settings: &Settings, findings: &mut Findings) {
    if let Err(stop) = open_log::check(source) {
        findings.error("log-sensor", &stop);
    }
    if let LogSource::File(path) = source {
        let what = format!("any local user can forge a line of {}", path.display());
        let finding = Finding::warning("log-file", what)
            .detail("such a line counts as a hit, so a local user can open what a sequence opens")
            .detail("use kmsg = true or journal = true instead of log");
        findings.add(finding);
    }
    let switch = files::read_system(Path::new(ALL_NETNS));
    if switch.is_ok_and(|value| value.trim() != "0") {
        let what = "log rules of every network namespace write to the kernel's log";
        let finding = Finding::warning("log-all-netns", what)
            .detail(
                "anyone who may make rules in a namespace, such as a container's root, can forge hits",
            )
            .detail("sysctl -w net.netfilter.nf_log_all_netns=0");
        findings.add(finding);
    }
    if settings.gate.interfaces != Interfaces::Any {
        let what = "`interfaces` has no effect on log lines";
        let cure = "name the interfaces in the log rule";
        findings.add(Finding::warning("log-interfaces", what).detail(cure));
    }
    if settings.sequences.is_empty() {
        let what = "no user has a sequence, so the log sensor opens nothing";
        let cure =
            "add a user with sequence = [\"tcp/7000\", …], or remove the sensor from capture";
        findings.add(Finding::warning("log-unused", what).detail(cure));
    }
}
