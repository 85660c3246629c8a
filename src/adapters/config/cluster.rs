//! The `[cluster]` section.

use std::time::Duration;

use super::fields::Fields;
use super::problem::{Refusal, is_not, refusal};
use super::values;
use crate::model::cluster::{Cluster, CoordinatorEndpoint, CoordinatorKind, ENDPOINTS_MAX};
use crate::model::settings::Gate;
use crate::model::time;

const KEYS: [&str; 11] = [
    "coordinator",
    "endpoints",
    "ca_file",
    "cert_file",
    "cert_key_file",
    "user",
    "password_file",
    "fleet_key_file",
    "prefix",
    "deadline",
    "member",
];

const DEADLINES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(2));

/// `gate` is `None` if it was refused.
pub(super) fn read(fields: &Fields<'_>, gate: Option<&Gate>) -> Option<Cluster> {
    fields.only(&KEYS);
    fields.require("coordinator", "\"etcd\"");
    fields.require("endpoints", "[\"https://10.0.0.1:2379\"]");
    let kinds = [CoordinatorKind::Etcd, CoordinatorKind::Redis].map(|kind| (kind.name(), kind));
    let coordinator = fields.word("coordinator", &kinds)?;
    if !coordinator.is_built() {
        let name = coordinator.name();
        let what = format!("this posternd is built without {name}");
        let cure = format!("build it with: cargo build --release --features {name}");
        fields.refuse("coordinator", what, cure);
    }
    let endpoints = endpoints(fields, coordinator)?;
    let file = |key| fields.text(key, |text| values::key_path(fields.file.path, text));
    let cluster = Cluster {
        coordinator,
        ca_file: file("ca_file"),
        cert_file: file("cert_file"),
        cert_key_file: file("cert_key_file"),
        user: fields.text("user", printable).map(str::to_owned),
        password_file: file("password_file"),
        fleet_key_file: file("fleet_key_file"),
        prefix: fields
            .text("prefix", prefix)
            .unwrap_or("/postern/")
            .to_owned(),
        deadline: fields
            .text("deadline", deadline)
            .unwrap_or(Duration::from_millis(50)),
        member: fields
            .text("member", values::gate_name)
            .map_or_else(String::new, |name| name.as_str().to_owned()),
        endpoints,
    };
    secure(fields, &cluster);
    // Keys with this name would open all gates without a claim (invariant 13).
    if gate.is_some_and(|gate| gate.name.as_str() == cluster.member) {
        let what = "member is the name in [gate], which all gates of the cluster have";
        let cure = "write a name that no other gate has, like \"gate1.example.org\"";
        fields.refuse("member", what, cure);
    }
    Some(cluster)
}

/// What belongs together, and what would send a password or a claim in the clear.
fn secure(fields: &Fields<'_>, cluster: &Cluster) {
    let is_secure = cluster.endpoints.iter().any(|endpoint| endpoint.secure);
    if is_secure && cluster.ca_file.is_none() {
        let cure = "add ca_file, for example \"/etc/ssl/certs/ca-certificates.crt\"";
        let what = "secure endpoints require ca_file, which signs their certificates";
        fields.refuse("endpoints", what, cure);
    }
    fields.requires(
        "cert_file",
        "cert_key_file",
        "add the key of the certificate",
    );
    fields.requires(
        "cert_key_file",
        "cert_file",
        "add the certificate of the key",
    );
    fields.requires("user", "password_file", "add password_file, or remove it");
    if cluster.coordinator == CoordinatorKind::Etcd {
        fields.requires("password_file", "user", "add user, or remove it");
    }
}

fn endpoints(fields: &Fields<'_>, kind: CoordinatorKind) -> Option<Vec<CoordinatorEndpoint>> {
    let endpoints = fields.texts("endpoints", |text| endpoint(text, kind))?;
    if endpoints.is_empty() || endpoints.len() > ENDPOINTS_MAX {
        let what = format!("endpoints lists {} endpoints", endpoints.len());
        fields.refuse("endpoints", what, format!("write 1 to {ENDPOINTS_MAX}"));
        return None;
    }
    // Two masters would let two gates admit the same knock (invariant 13).
    if kind == CoordinatorKind::Redis && endpoints.len() > 1 {
        let what = "redis has more than one endpoint, and gates at two masters admit a knock twice";
        fields.refuse("endpoints", what, "name the one master");
        return None;
    }
    Some(endpoints.into_iter().map(|(_, one)| one).collect())
}

fn endpoint(text: &str, kind: CoordinatorKind) -> Result<CoordinatorEndpoint, Refusal> {
    let (plain, secure, port) = kind.schemes();
    let wrong = || {
        let cure = format!("write {plain}://HOST:{port} or {secure}://HOST:{port}");
        is_not(&format!("an endpoint of {}", kind.name()), text, cure)
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, given) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            let address = host.parse::<std::net::Ipv6Addr>();
            address.map_err(|_| wrong())?;
            (host, rest.strip_prefix(':'))
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(is_host) {
        return Err(wrong());
    }
    let port = match given {
        Some(given) => given.parse().ok().filter(|port| *port > 0),
        None => Some(port),
    };
    Ok(CoordinatorEndpoint {
        secure: match scheme {
            _ if scheme == plain => false,
            _ if scheme == secure => true,
            _ => return Err(wrong()),
        },
        host: host.to_owned(),
        port: port.ok_or_else(wrong)?,
    })
}

fn printable(text: &str) -> Result<&str, Refusal> {
    let is_printable =
        !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_printable.then_some(text).ok_or_else(|| {
        is_not(
            "a user of the coordinator",
            text,
            "write 1 to 255 printable ASCII characters".to_owned(),
        )
    })
}

fn prefix(text: &str) -> Result<&str, Refusal> {
    let is_prefix = text.len() <= 100 && text.len() > 1 && text.ends_with('/');
    if is_prefix && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text);
    }
    let cure = "write up to 100 ASCII characters that end in /, like \"/postern/\"".to_owned();
    Err(is_not("a prefix of keys", text, cure))
}

fn deadline(text: &str) -> Result<Duration, Refusal> {
    let (low, high) = DEADLINES;
    let found = time::parse_duration(text).ok();
    found
        .filter(|found| (low..=high).contains(found))
        .ok_or_else(|| {
            refusal(
                format!("{text:?} is no valid deadline"),
                "write 5ms to 2s, like \"50ms\"",
            )
        })
}
