//! `posternd.toml` but for its users: the sections `[gate]`, `[firewall]`, `[metrics]` and `[service.NAME]`, with the defaults of DESIGN section 4.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use postern_proto::{GateName, PrivateKey};
use toml::de::{DeTable, DeValue};

use super::CONTROL_SOCKET;
use super::bounds;
use super::fields::{Fields, one_of, wrong_type};
use super::forward::{self, Forwards};
use super::metrics;
use super::page::Page;
use super::problem::{Fault, fault};
use super::programs;
use super::secret::KeyTexts;
use crate::model::catalog::{NamedServices, ServiceOptions};
use crate::model::endpoint::{DEFAULT_PORT, Endpoint};
use crate::model::policy::Policy;
use crate::model::settings::{
    CaptureKind, DriverKind, Firewall, Gate, INTERFACES_MAX, Interfaces, Metrics, OnStop,
    PORTS_MAX, Settings,
};

/// All that `posternd.toml` says besides users. Parts that are missing were refused on the page.
pub(super) struct Head {
    gate: Option<Gate>,
    firewall: Firewall,
    metrics: Metrics,
    services: Services,
    /// Names of services, also of those that are wrong otherwise: so nobody is told that they are unknown.
    pub(super) service_names: BTreeSet<String>,
    pub(super) gate_key: GateKey,
}

/// What the sections `[service.NAME]` say.
#[derive(Default)]
struct Services {
    named: NamedServices,
    options: BTreeMap<String, ServiceOptions>,
}

/// The key that users with key pairs need.
pub(super) enum GateKey {
    /// The config names none.
    None,
    /// The config names a file, on this line, that is not in the bundle: no user needs it, or it was not read.
    NotRead(PathBuf, usize),
    /// It was refused, and that was said.
    Refused,
    Held(PrivateKey),
}

const GATE: &[&str] = &[
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
];

const DEFAULT_FIREWALL: Firewall = Firewall {
    backend: DriverKind::Auto,
    protect: true,
    on_stop: OnStop::Keep,
    command: None,
};

pub(super) fn read(page: &mut Page<'_>, tree: &DeTable<'_>, texts: &KeyTexts<'_>) -> Head {
    let top = Fields::new("posternd.toml", tree, 0..0);
    top.only(page, &["gate", "firewall", "metrics", "service", "user"]);
    top.require_gate(page);
    let gate = top.table(page, "gate", "[gate]");
    let services = top.table(page, "service", "[service.NAME]");
    let firewall = top
        .table(page, "firewall", "[firewall]")
        .map(|fields| read_firewall(page, &fields));
    let metrics = top
        .table(page, "metrics", "[metrics]")
        .map(|fields| metrics::read(page, &fields));
    let backend = firewall
        .as_ref()
        .map_or(DEFAULT_FIREWALL.backend, |firewall| firewall.backend);
    let (services, service_names) = services
        .map(|fields| read_services(page, &fields, backend))
        .unwrap_or_default();
    Head {
        gate_key: gate
            .as_ref()
            .map_or(GateKey::Refused, |fields| gate_key(page, fields, texts)),
        gate: gate.and_then(|fields| read_gate(page, &fields)),
        firewall: firewall.unwrap_or(DEFAULT_FIREWALL),
        metrics: metrics.unwrap_or_default(),
        services,
        service_names,
    }
}

impl Head {
    pub(super) fn settings(self, policies: Vec<Policy>, disabled: Vec<Policy>) -> Option<Settings> {
        let Services { named, options } = self.services;
        Some(Settings {
            gate: self.gate?,
            firewall: self.firewall,
            metrics: self.metrics,
            named,
            options,
            policies,
            disabled,
        })
    }
}

impl Fields<'_> {
    fn require_gate(&self, page: &mut Page<'_>) {
        if !self.has("gate") {
            let cure =
                "add [gate] and under it name = \"…\", the name that clients know this gate by";
            page.refuse(self.span.clone(), fault("there is no [gate]", cure));
        }
    }
}

fn read_gate(page: &mut Page<'_>, fields: &Fields<'_>) -> Option<Gate> {
    fields.only(page, GATE);
    fields.require(
        page,
        "name",
        "\"gate.example.org\", the name that clients know this gate by",
    );
    let name = fields.text(page, "name", gate_name);
    let ports = if fields.has("port") {
        ports(page, fields)
    } else {
        Some(vec![DEFAULT_PORT])
    };
    let first_port = ports
        .as_deref()
        .and_then(|ports| ports.first())
        .copied()
        .unwrap_or(DEFAULT_PORT);
    let addresses = addresses(page, fields, first_port);
    let interfaces = if fields.has("interfaces") {
        interfaces(page, fields)
    } else {
        Some(Interfaces::Any)
    };
    let window = fields.text(page, "window", bounds::window);
    let state_dir = fields.text(page, "state_dir", bounds::absolute);
    let control_socket = fields.text(page, "control_socket", bounds::socket);
    let run_as = fields.text(page, "run_as", bounds::system_user);
    let kinds = [("packet", CaptureKind::Packet), ("udp", CaptureKind::Udp)];
    let capture = fields.text(page, "capture", |text| one_of("capture", &kinds, text));
    Some(Gate {
        name: name?,
        ports: ports?,
        addresses,
        interfaces: interfaces?,
        window: window.unwrap_or(Duration::from_secs(30)),
        state_dir: state_dir.unwrap_or_else(|| PathBuf::from("/var/lib/postern")),
        control_socket: control_socket.unwrap_or_else(|| PathBuf::from(CONTROL_SOCKET)),
        run_as: run_as.unwrap_or("nobody").to_owned(),
        capture: capture.unwrap_or(CaptureKind::Packet),
    })
}

/// The control socket alone.
pub(super) fn control_socket(page: &mut Page<'_>, tree: &DeTable<'_>) -> Option<PathBuf> {
    Fields::new("posternd.toml", tree, 0..0)
        .table(page, "gate", "[gate]")?
        .text(page, "control_socket", bounds::socket)
}

fn gate_name(text: &str) -> Result<GateName, Fault> {
    GateName::new(text).map_err(|error| {
        fault(
            error.to_string(),
            "write the name that clients know this gate by, like gate.example.org",
        )
    })
}

fn ports(page: &mut Page<'_>, fields: &Fields<'_>) -> Option<Vec<u16>> {
    let ports = fields.numbers(page, "port", 1, u16::MAX)?;
    if ports.is_empty() || ports.len() > PORTS_MAX {
        let what = format!("port lists {} ports", ports.len());
        page.refuse(
            fields.span_of("port"),
            fault(
                what,
                format!("write 1 to {PORTS_MAX} UDP ports, like 62201"),
            ),
        );
        return None;
    }
    let mut seen = BTreeSet::new();
    for (span, port) in ports {
        if !seen.insert(port) {
            page.refuse(
                span,
                fault(format!("port {port} is listed twice"), "write it once"),
            );
        }
    }
    Some(seen.into_iter().collect())
}

/// One address, or a list of them.
fn addresses(page: &mut Page<'_>, fields: &Fields<'_>, port: u16) -> Vec<Endpoint> {
    let listed = fields
        .get("address")
        .is_some_and(|value| matches!(value.get_ref(), DeValue::Array(_)));
    if !listed {
        return fields
            .text(page, "address", |text| bounds::endpoint(text, port))
            .into_iter()
            .collect();
    }
    let addresses = fields
        .texts(page, "address", |text| bounds::endpoint(text, port))
        .unwrap_or_default();
    if addresses.len() > bounds::ADDRESSES_MAX {
        let what = format!("address lists {} addresses", addresses.len());
        page.refuse(
            fields.span_of("address"),
            fault(
                what,
                format!(
                    "write at most {}: one for each family will do",
                    bounds::ADDRESSES_MAX
                ),
            ),
        );
    }
    addresses.into_iter().map(|(_, address)| address).collect()
}

fn interfaces(page: &mut Page<'_>, fields: &Fields<'_>) -> Option<Interfaces> {
    let names = fields.texts(page, "interfaces", bounds::interface)?;
    let mut seen = HashSet::new();
    let mut listed = Vec::with_capacity(names.len());
    for (span, name) in names {
        if seen.insert(name) {
            listed.push(name.to_owned());
        } else {
            page.refuse(
                span,
                fault(
                    format!("interface {name:?} is listed twice"),
                    "write it once",
                ),
            );
        }
    }
    match listed.as_slice() {
        [any] if any == "any" => Some(Interfaces::Any),
        [] => {
            page.refuse(
                fields.span_of("interfaces"),
                fault(
                    "interfaces is empty",
                    "write [\"any\"], or name those to listen on",
                ),
            );
            None
        }
        names if names.iter().any(|name| name == "any") => {
            page.refuse(
                fields.span_of("interfaces"),
                fault(
                    "\"any\" stands beside other interfaces",
                    "write [\"any\"] alone, or only names",
                ),
            );
            None
        }
        names if names.len() > INTERFACES_MAX => {
            let what = format!("interfaces lists {} names", names.len());
            let cure =
                format!("name at most {INTERFACES_MAX}, or write [\"any\"] to listen on every one");
            page.refuse(fields.span_of("interfaces"), fault(what, cure));
            None
        }
        _ => Some(Interfaces::Named(listed)),
    }
}

fn gate_key(page: &mut Page<'_>, fields: &Fields<'_>, texts: &KeyTexts<'_>) -> GateKey {
    if !fields.has("private_key") {
        return GateKey::None;
    }
    let file = page.path;
    let Some(path) = fields.text(page, "private_key", |text| bounds::key_path(file, text)) else {
        return GateKey::Refused;
    };
    let span = fields.span_of("private_key");
    if !texts.has(&path) {
        return GateKey::NotRead(path, page.place(span.start).0);
    }
    match texts.key(&path, PrivateKey::from_base64, &page.named(span.start)) {
        Ok(key) => GateKey::Held(key),
        Err(problem) => {
            page.refuse_other(problem);
            GateKey::Refused
        }
    }
}

fn read_firewall(page: &mut Page<'_>, fields: &Fields<'_>) -> Firewall {
    let mut firewall = DEFAULT_FIREWALL;
    fields.only(page, &["backend", "protect", "on_stop", "command"]);
    if let Some(kind) = fields.text(page, "backend", backend) {
        firewall.backend = kind;
    }
    if let Some(protect) = fields.text(page, "protect", |text| {
        one_of("protect", &[("services", true), ("none", false)], text)
    }) {
        firewall.protect = protect;
    }
    let stops = [("keep", OnStop::Keep), ("remove", OnStop::Remove)];
    if let Some(on_stop) = fields.text(page, "on_stop", |text| one_of("on_stop", &stops, text)) {
        firewall.on_stop = on_stop;
    }
    let command = fields.table(page, "command", "[firewall.command]");
    firewall.command = command.and_then(|fields| programs::read_command(page, &fields));
    if firewall.backend == DriverKind::Command {
        look_at_command(page, fields, firewall.protect);
    }
    firewall
}

/// What the backend "command" needs of its section.
fn look_at_command(page: &mut Page<'_>, fields: &Fields<'_>, protect: bool) {
    if !fields.has("command") {
        let cure =
            "add [firewall.command] with open = [\"/program\", …] and close = [\"/program\", …]";
        page.refuse(
            fields.span_of("backend"),
            fault("the backend \"command\" needs programs to run", cure),
        );
    }
    if protect {
        let what = "the backend \"command\" cannot protect services: its programs only open and close doors for one address";
        let span = if fields.has("protect") {
            fields.span_of("protect")
        } else {
            fields.span_of("backend")
        };
        page.refuse(
            span,
            fault(
                what,
                "close the services in the host's own firewall and write protect = \"none\"",
            ),
        );
    }
}

fn backend(text: &str) -> Result<DriverKind, Fault> {
    let kinds = [
        ("auto", DriverKind::Auto),
        ("iptables", DriverKind::Iptables),
        ("nftables", DriverKind::Nftables),
        ("command", DriverKind::Command),
    ];
    one_of("backend", &kinds, text)
}

/// What each service is, and all names.
fn read_services(
    page: &mut Page<'_>,
    services: &Fields<'_>,
    backend: DriverKind,
) -> (Services, BTreeSet<String>) {
    let mut read = Services::default();
    let mut forwards = Forwards::default();
    let mut names = BTreeSet::new();
    for (key, value) in services.entries() {
        let DeValue::Table(table) = value.get_ref() else {
            page.refuse(
                key.span(),
                wrong_type(
                    "a service",
                    "a table of its own, [service.NAME], with ports = [\"tcp/80\"]",
                    value.get_ref(),
                ),
            );
            continue;
        };
        names.insert(key.get_ref().to_string());
        let Some(name) = page.check(key.span(), bounds::service_name(key.get_ref())) else {
            continue;
        };
        let title = format!("[service.{name}]");
        let fields = Fields::new(&title, table, value.span());
        fields.only(
            page,
            &[
                "ports",
                "end_connections",
                "forward",
                "masquerade",
                "on_open",
                "on_close",
            ],
        );
        fields.require(page, "ports", "[\"tcp/80\"]");
        let ports = fields.texts(page, "ports", bounds::ports);
        let forward = forward::read(page, &fields, ports.as_deref());
        if forward.is_some() && backend == DriverKind::Command {
            let what = fault(
                "the backend \"command\" cannot lead a port to another host",
                "take forward out, or use another backend",
            );
            page.refuse(fields.span_of("forward"), what);
        }
        forwards.take(page, &fields, forward);
        let options = ServiceOptions {
            end_connections: fields.flag(page, "end_connections").unwrap_or_default(),
            forward,
            on_open: programs::read_template(page, &fields, "on_open"),
            on_close: programs::read_template(page, &fields, "on_close"),
        };
        read.options.insert(name.to_owned(), options);
        let Some(ports) = ports else { continue };
        if ports.is_empty() {
            page.refuse(
                fields.span_of("ports"),
                fault(
                    format!("service {name:?} has no ports"),
                    "write ports = [\"tcp/80\"], or take the service out",
                ),
            );
        }
        read.named.insert(
            name.to_owned(),
            ports.into_iter().map(|(_, ports)| ports).collect(),
        );
    }
    (read, names)
}
