//! The `[gate]` section and the gate's private key.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use postern_proto::PrivateKey;
use toml::de::DeValue;

use super::capture;
use super::fields::{Fields, Items};
use super::key::KeyFiles;
use super::problem::refusal;
use super::values;
use crate::model::endpoint::{DEFAULT_PORT, Endpoint};
use crate::model::settings::{Gate, INTERFACES_MAX, Interfaces, PORTS_MAX};

pub(crate) const CONTROL_SOCKET: &str = "/run/postern/control.sock";

/// The most addresses of one gate: two of each family.
const ADDRESSES_MAX: usize = 4;

pub(super) enum GateKey {
    None,
    /// The config names a file, on this line, that is not in the bundle: no user needs it, or it was not read.
    NotRead(PathBuf, usize),
    Refused,
    Read(PrivateKey),
}

pub(super) fn read(fields: &Fields<'_>) -> Option<Gate> {
    fields.only(&[
        "name",
        "port",
        "address",
        "interfaces",
        "window",
        "private_key",
        "state_dir",
        "control_socket",
        "run_as",
        "capture",
    ]);
    fields.require(
        "name",
        "\"gate.example.org\", the name that clients use for this gate",
    );
    let name = fields.text("name", values::gate_name);
    let ports = if fields.has("port") {
        ports(fields)
    } else {
        Some(vec![DEFAULT_PORT])
    };
    let first_port = ports.iter().flatten().next().copied();
    let addresses = addresses(fields, first_port.unwrap_or(DEFAULT_PORT));
    let interfaces = if fields.has("interfaces") {
        interfaces(fields)
    } else {
        Some(Interfaces::Any)
    };
    let window = fields.text("window", values::window);
    let state_dir = fields.text("state_dir", values::absolute);
    let control_socket = control_socket(fields);
    let run_as = fields.text("run_as", values::system_user);
    let captures = capture::read(fields);
    let (capture, log_sensor) = captures?;
    Some(Gate {
        name: name?,
        ports: ports?,
        addresses,
        interfaces: interfaces?,
        window: window.unwrap_or(Duration::from_secs(30)),
        state_dir: state_dir.unwrap_or_else(|| PathBuf::from("/var/lib/postern")),
        control_socket: control_socket.unwrap_or_else(|| PathBuf::from(CONTROL_SOCKET)),
        run_as: run_as.unwrap_or("postern").to_owned(),
        capture,
        log_sensor,
    })
}

pub(super) fn control_socket(fields: &Fields<'_>) -> Option<PathBuf> {
    fields.text("control_socket", values::socket)
}

pub(super) fn read_key(fields: &Fields<'_>, key_files: &KeyFiles<'_>) -> GateKey {
    if !fields.has("private_key") {
        return GateKey::None;
    }
    let file = fields.file;
    let Some(path) = fields.text("private_key", |text| values::key_path(file.path, text)) else {
        return GateKey::Refused;
    };
    let at = fields.at("private_key");
    if !key_files.has(&path) {
        return GateKey::NotRead(path, file.place(at).0);
    }
    match key_files.key(&path, PrivateKey::from_base64, &file.place_name(at)) {
        Ok(key) => GateKey::Read(key),
        Err(problem) => {
            file.refuse_other(problem);
            GateKey::Refused
        }
    }
}

fn ports(fields: &Fields<'_>) -> Option<Vec<u16>> {
    let ports = fields.numbers("port", 1..=u16::MAX)?;
    if ports.is_empty() || ports.len() > PORTS_MAX {
        let what = format!("port lists {} ports", ports.len());
        let cure = format!("write 1 to {PORTS_MAX} UDP ports, like 62201");
        fields.refuse("port", what, cure);
        return None;
    }
    let mut ports = once_each(fields, ports, |port| format!("port {port}"));
    ports.sort_unstable();
    Some(ports)
}

fn addresses(fields: &Fields<'_>, port: u16) -> Vec<Endpoint> {
    let read = |text| values::endpoint(text, port);
    let value = fields.get("address").map(|value| value.get_ref());
    if !matches!(value, Some(DeValue::Array(_))) {
        return fields.text("address", read).into_iter().collect();
    }
    let addresses = fields.texts("address", read).unwrap_or_default();
    if addresses.len() > ADDRESSES_MAX {
        let what = format!("address lists {} addresses", addresses.len());
        let cure = format!("write at most {ADDRESSES_MAX} (one for each family is enough)");
        fields.refuse("address", what, cure);
    }
    addresses.into_iter().map(|(_, address)| address).collect()
}

fn interfaces(fields: &Fields<'_>) -> Option<Interfaces> {
    let names = fields.texts("interfaces", values::interface)?;
    let names = once_each(fields, names, |name| format!("interface {name:?}"));
    let (what, cure) = match names.as_slice() {
        ["any"] => return Some(Interfaces::Any),
        [] => (
            "interfaces is empty".to_owned(),
            "write [\"any\"], or the names of the interfaces".to_owned(),
        ),
        names if names.contains(&"any") => (
            "\"any\" cannot be combined with other interfaces".to_owned(),
            "write [\"any\"] alone, or only names".to_owned(),
        ),
        names if names.len() > INTERFACES_MAX => (
            format!("interfaces lists {} names", names.len()),
            format!("name at most {INTERFACES_MAX}, or write [\"any\"] for every interface"),
        ),
        names => {
            let names = names.iter().map(|name| (*name).to_owned());
            return Some(Interfaces::Named(names.collect()));
        }
    };
    fields.refuse("interfaces", what, cure);
    None
}

/// The values of a list, in order, without those that it repeats, which are refused.
fn once_each<T: Ord + Copy>(
    fields: &Fields<'_>,
    items: Items<T>,
    name: impl Fn(T) -> String,
) -> Vec<T> {
    let mut seen = BTreeSet::new();
    let mut once = Vec::with_capacity(items.len());
    for (at, item) in items {
        if seen.insert(item) {
            once.push(item);
        } else {
            let what = format!("{} is listed twice", name(item));
            fields.file.refuse(at, refusal(what, "write it once"));
        }
    }
    once
}
