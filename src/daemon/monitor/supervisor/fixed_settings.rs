//! Settings that a reload cannot change, because the monitor uses them only once, when it starts.

use std::path::Path;

use crate::daemon::monitor::confinement;
use crate::model::exit::{CONFIG, ExitError};
use crate::model::settings::{NflogGroup, Settings};

/// The sandbox of a monitor without hooks cannot be lifted.
const FIRST_HOOK: &str = "a first hook (on_open, on_close) can't be added while posternd runs; remove it, or restart posternd";

/// Nor can it get another folder.
const FIRST_ROSTER: &str =
    "a first [roster] can't be added while posternd runs; restart posternd, or remove it";

/// `nflog_group` is the one that the config asked for at the start.
pub(super) fn check(
    old: &Settings,
    nflog_group: NflogGroup,
    new: &Settings,
) -> Result<(), ExitError> {
    let is_sandboxed = !confinement::runs_config_programs(old);
    let metrics_folder = |settings: &Settings| {
        let file = settings.metrics.file.as_deref();
        file.and_then(Path::parent).map(Path::to_owned)
    };
    let is_part = |new: &Settings, old: &Settings| {
        let old = confinement::connected_ports(old);
        let mut ports = confinement::connected_ports(new).into_iter();
        ports.all(|port| old.contains(&port))
    };
    let source = |settings: &Settings| {
        let sensor = settings.gate.log_sensor.as_ref();
        sensor.map(|sensor| sensor.source.clone())
    };
    let (gate, firewall) = ((&old.gate, &new.gate), (&old.firewall, &new.firewall));
    let changes = [
        (
            "the folder of metrics.file",
            is_sandboxed
                && new.metrics.file.is_some()
                && metrics_folder(new) != metrics_folder(old),
        ),
        (
            "the log sensor of gate.capture",
            is_sandboxed && source(old) != source(new),
        ),
        (
            "the ports of cluster.endpoints",
            is_sandboxed && !is_part(new, old),
        ),
        ("gate.state_dir", gate.0.state_dir != gate.1.state_dir),
        (
            "gate.control_socket",
            gate.0.control_socket != gate.1.control_socket,
        ),
        ("gate.run_as", gate.0.run_as != gate.1.run_as),
        ("firewall.backend", firewall.0.backend != firewall.1.backend),
        ("firewall.command", firewall.0.command != firewall.1.command),
        (
            "firewall.nflog_group",
            nflog_group != firewall.1.nflog_group,
        ),
    ];
    let cure = "change it back, or restart";
    let changed = changes.iter().filter(|(_, is_changed)| *is_changed);
    let lines = changed.map(|(what, _)| format!("{what} can't change while posternd runs; {cure}"));
    let hooked = is_sandboxed && confinement::runs_config_programs(new);
    let lines = lines.chain(hooked.then(|| FIRST_HOOK.to_owned()));
    let first_roster = is_sandboxed && old.roster.is_none() && new.roster.is_some();
    let lines = lines.chain(first_roster.then(|| FIRST_ROSTER.to_owned()));
    match lines.collect::<Vec<_>>().join("\n") {
        lines if lines.is_empty() => Ok(()),
        lines => Err(ExitError::new(CONFIG, lines)),
    }
}
