//! The `[service.NAME]` sections.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use toml::de::DeValue;

use super::fields::{Fields, wrong_type};
use super::firewall::program;
use super::problem::{Refusal, is_not, refusal};
use super::values;
use crate::model::address;
use crate::model::catalog::{Catalog, Forward, ForwardError, NamedService};
use crate::model::hook_unit::HookUnit;
use crate::model::host_set::HostSet;
use crate::model::service::Ports;
use crate::model::settings::DriverKind;

const KEYS: [&str; 10] = [
    "ports",
    "end_connections",
    "forward",
    "masquerade",
    "redirect",
    "nft_set",
    "on_open",
    "on_close",
    "run_hooks_in",
    "run_hooks_as",
];

#[derive(Default)]
pub(super) struct Services {
    pub(super) catalog: Catalog,
    /// All names, also of refused services, so that a user of one gets no second problem, with their places.
    pub(super) names: BTreeMap<String, String>,
    forwards: Vec<PlacedForward>,
}

/// A forward with the place of its ports.
struct PlacedForward {
    place: String,
    forward: Forward,
}

/// Reads the sections of one file, and adds them to those of the files before.
pub(super) fn read(sections: &Fields<'_>, backend: DriverKind, services: &mut Services) {
    let file = sections.file;
    for (key, value) in sections.entries() {
        let at = key.span().start;
        let DeValue::Table(table) = value.get_ref() else {
            let wanted = "a table of its own, [service.NAME], with ports = [\"tcp/80\"]";
            file.refuse(at, wrong_type("a service", wanted, value.get_ref()));
            continue;
        };
        let place = file.place_name(at);
        if let Some(first) = services.names.insert(key.get_ref().to_string(), place) {
            let what = format!("this service is defined twice, first at {first}");
            file.refuse(at, refusal(what, "rename or remove one of the two"));
            continue;
        }
        let Some(name) = file.check(at, values::service_name(key.get_ref())) else {
            continue;
        };
        let title = format!("[service.{name}]");
        let fields = Fields::new(file, &title, table, value.span().start);
        fields.only(&KEYS);
        fields.require("ports", "[\"tcp/80\"]");
        let ports = fields.texts("ports", values::ports);
        let forward = lead(&fields, ports.as_deref());
        if let Some(forward) = forward {
            if backend == DriverKind::Command {
                let key = forward.host.map_or("redirect", |_| "forward");
                let cure = format!("remove {key}, or use another backend");
                fields.refuse(key, "backend \"command\" cannot forward ports", cure);
            }
            check_forward(&fields, forward, &mut services.forwards);
        }
        if ports.as_ref().is_some_and(Vec::is_empty) {
            let cure = "write ports = [\"tcp/80\"], or remove the service";
            fields.refuse("ports", format!("service {name:?} has no ports"), cure);
        }
        let ports = ports.into_iter().flatten().map(|(_, ports)| ports);
        let sets = sets(&fields, backend);
        let service = NamedService {
            sets,
            ports: ports.collect(),
            end_connections: fields.flag("end_connections").unwrap_or_default(),
            forward,
            on_open: program(&fields, "on_open"),
            on_close: program(&fields, "on_close"),
            hook_unit: hook_unit(&fields),
        };
        services.catalog.insert(name.to_owned(), service);
    }
}

/// Where the service leads: by `forward` or `redirect`; `None` without them or if they are wrong. `ports` is `None` if they were
/// refused.
fn lead(fields: &Fields<'_>, ports: Option<&[(usize, Ports)]>) -> Option<Forward> {
    if fields.has("redirect") && fields.has("forward") {
        let cure =
            "keep forward for a host behind the gate, or redirect for another port of the gate";
        fields.refuse("redirect", "redirect does not go with forward", cure);
        return None;
    }
    let forward = forward(fields, ports);
    if fields.has("redirect") {
        redirect(fields, ports)
    } else {
        forward
    }
}

/// `redirect`: another port of the gate itself.
fn redirect(fields: &Fields<'_>, ports: Option<&[(usize, Ports)]>) -> Option<Forward> {
    let to = fields.text("redirect", values::ports)?;
    let [(_, at)] = ports? else {
        let cure = "write ports = [\"tcp/2222\"], and a service for each port";
        fields.refuse(
            "ports",
            "a service with redirect has exactly one port",
            cure,
        );
        return None;
    };
    let redirect = Forward::redirect(*at, to).map_err(|_| {
        let what = format!("{at} cannot be redirected to {to}");
        refusal(what, "write one port and another one of the same protocol: ports = [\"tcp/2222\"], redirect = \"tcp/22\"")
    });
    fields.file.check(fields.at("redirect"), redirect)
}

/// `forward` and `masquerade`; `None` without them or if they are wrong. `ports` is `None` if they were refused.
fn forward(fields: &Fields<'_>, ports: Option<&[(usize, Ports)]>) -> Option<Forward> {
    let masquerade = fields.flag("masquerade");
    if !fields.has("forward") {
        let cure = "add forward = \"10.0.0.5:22\", or remove masquerade";
        fields.requires("masquerade", "forward", cure);
        return None;
    }
    let (host, port) = fields.text("forward", host)?;
    let [(place, at)] = ports? else {
        let cure = "write ports = [\"tcp/2222\"], and a service for each port";
        fields.refuse("ports", "a service with forward has exactly one port", cure);
        return None;
    };
    let forward = Forward::new(*at, host, port, masquerade.unwrap_or_default());
    let forward = forward.map_err(|error| match error {
        ForwardError::NoPorts => refusal(
            format!("{at} cannot be forwarded"),
            "write tcp, udp or sctp with a port, like tcp/2222",
        ),
        ForwardError::RangeToPort => refusal(
            format!("{at} is a range and cannot go to one port"),
            format!("write forward = \"{host}\" without a port: the ports are kept"),
        ),
        ForwardError::NotAnotherPort => refusal(error.to_string(), "write redirect"),
    });
    fields.file.check(*place, forward)
}

/// `run_hooks_in` and `run_hooks_as`.
fn hook_unit(fields: &Fields<'_>) -> Option<HookUnit> {
    let words = [("posternd", false), ("transient-unit", true)];
    let is_unit = fields.word("run_hooks_in", &words).unwrap_or_default();
    let user = fields.text("run_hooks_as", values::system_user);
    if user.is_some() && !is_unit {
        let cure = "add run_hooks_in = \"transient-unit\", or remove run_hooks_as";
        let what = "run_hooks_as requires run_hooks_in = \"transient-unit\"";
        fields.refuse("run_hooks_as", what, cure);
    }
    let user = user.map(str::to_owned);
    is_unit.then_some(HookUnit { user })
}

/// `nft_set`: one set or a list.
fn sets(fields: &Fields<'_>, backend: DriverKind) -> Vec<HostSet> {
    let sets = fields.texts_or_one("nft_set", |text| {
        let cure = "write its table's family, the table and its name, like \"inet filter ssh4\"";
        text.parse::<HostSet>()
            .map_err(|error| refusal(format!("{text:?} is not a set for grants: {error}"), cure))
    });
    if fields.has("nft_set") && backend == DriverKind::Command {
        let cure = "remove nft_set, or use another backend";
        fields.refuse("nft_set", "backend \"command\" adds nothing to a set", cure);
    }
    for (key, is) in [
        ("forward", "one of a host behind the gate"),
        ("redirect", "that of the other port"),
    ] {
        if fields.has("nft_set") && fields.has(key) {
            let cure = format!("remove nft_set; the service is {is}");
            fields.refuse("nft_set", format!("nft_set does not go with {key}"), cure);
        }
    }
    sets.into_iter().flatten().map(|(_, set)| set).collect()
}

fn host(text: &str) -> Result<(IpAddr, Option<u16>), Refusal> {
    let cure = "write address and port, like \"10.0.0.5:22\" or \"[fd00::5]:22\"";
    let bracketed = || -> Option<Ipv6Addr> {
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse().ok()
    };
    let (address, port) = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(socket), _) => (socket.ip(), Some(socket.port())),
        (_, Ok(address)) => (address, None),
        _ => match bracketed() {
            Some(address) => (address.into(), None),
            None => return Err(is_not("an address with a port", text, cure)),
        },
    };
    let address = address.to_canonical();
    if port == Some(0) {
        return Err(refusal("port 0 is not valid", cure));
    }
    if address.is_loopback() {
        let cure = "remove forward: the service is then one of the gate itself; if it has another port there, write redirect = \"tcp/22\"";
        return Err(refusal(format!("{address} is the gate itself"), cure));
    }
    if address::is_no_host(address) {
        let what = format!("{address} is not the address of a host");
        return Err(refusal(what, cure));
    }
    Ok((address, port))
}

/// Refuses a forward that conflicts with an earlier one.
fn check_forward(fields: &Fields<'_>, forward: Forward, earlier: &mut Vec<PlacedForward>) {
    let mut before = earlier.iter();
    if let Some(other) = before.find(|other| other.forward.collides(&forward)) {
        let (place, other) = (&other.place, &other.forward);
        let what = match other.host {
            Some(host) => format!("{} is already forwarded to {host}, at {place}", forward.at),
            None => format!(
                "{} is already redirected to {}, at {place}",
                forward.at,
                other.inner()
            ),
        };
        fields.refuse("ports", what, "choose another port of the gate");
        return;
    }
    // Only host and port tell to which service a forwarded packet belongs.
    let differs = |other: &Forward| {
        let same_port = other.inner().overlap(forward.inner()).is_some();
        other.host == forward.host && same_port && other.masquerade != forward.masquerade
    };
    if let Some(other) = earlier.iter().find(|other| differs(&other.forward)) {
        let place = &other.place;
        let what =
            format!("the service at {place} has the same host and port, but another masquerade");
        fields.refuse("forward", what, "write the same masquerade for both");
        return;
    }
    earlier.push(PlacedForward {
        place: fields.file.place_name(fields.at("ports")),
        forward,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forward_host_is_an_address_of_another_host() {
        for (text, address, port) in [
            ("10.0.0.5:22", "10.0.0.5", Some(22)),
            ("[fd00::5]:22", "fd00::5", Some(22)),
            ("10.0.0.5", "10.0.0.5", None),
            ("fd00::5", "fd00::5", None),
            ("[fd00::5]", "fd00::5", None),
            ("[::ffff:10.0.0.5]:22", "10.0.0.5", Some(22)),
        ] {
            assert_eq!(host(text).unwrap(), (address.parse().unwrap(), port));
        }
        for text in ",10.0.0.5:,10.0.0.5:0,10.0.0.5:70000,[::1]:22,0.0.0.0:22".split(',') {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
