//! Whether the hosts behind the gate can be reached: the kernel must forward packets, which the administrator must turn on,
//! and they must be other hosts.

use std::path::Path;

use crate::adapters::files;
use crate::adapters::routes::Routes;
use crate::model::catalog::Forward;
use crate::model::exit::{CONFIG, ExitError};
use crate::model::settings::Settings;

/// Whether it is IPv6, the name, the kernel's switch, and its name for `sysctl`.
const SWITCHES: [(bool, &str, &str, &str); 2] = [
    (
        false,
        "IPv4",
        "/proc/sys/net/ipv4/ip_forward",
        "net.ipv4.ip_forward",
    ),
    (
        true,
        "IPv6",
        "/proc/sys/net/ipv6/conf/all/forwarding",
        "net.ipv6.conf.all.forwarding",
    ),
];

/// A warning for each address family that the config needs and the kernel does not forward.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    warnings_by(settings, |path| files::read_system(Path::new(path)).ok())
}

fn warnings_by(settings: &Settings, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let behind = settings.protection().behind;
    let is_needed = |v6: bool| behind.iter().any(|(net, _)| net.addr().is_ipv6() == v6);
    let is_off = |path: &str| read(path).is_none_or(|text| text.trim() == "0");
    let switches = SWITCHES.iter();
    let off = switches.filter(|(v6, _, path, _)| is_needed(*v6) && is_off(path));
    off.map(|(_, family, _, name)| {
        format!("hosts behind the gate cannot be reached: the kernel does not forward {family}; turn it on with sysctl -w {name}=1")
    })
    .collect()
}

/// Refuses a forward to an address of this host: its packets pass no hook for forwarded packets, so it opens nothing.
pub(crate) fn check_forwards(config: &Path, settings: &Settings) -> Result<(), ExitError> {
    let lines = forwards_to_this_host(settings);
    if lines.is_empty() {
        return Ok(());
    }
    let place = config.display();
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("{place}: {line}"))
        .collect();
    Err(ExitError::new(CONFIG, lines.join("\n")))
}

/// A line for each such forward. Without an answer of the kernel there is none.
pub(crate) fn forwards_to_this_host(settings: &Settings) -> Vec<String> {
    let services = settings.catalog.iter();
    let mut forwards = services
        .filter_map(|(name, service)| Some((name, service.forward?)))
        .filter_map(|(name, forward)| Some((name, forward, forward.host?)))
        .peekable();
    if forwards.peek().is_none() {
        return Vec::new();
    }
    let own = Routes::open().map(|mut routes| routes.own_addresses());
    let Ok(Ok(own)) = own else {
        return Vec::new();
    };
    let here = forwards.filter(|(_, _, host)| own.contains(host));
    here.map(|(name, forward, host)| {
        let inner = forward.inner();
        let cure = match Forward::redirect(forward.at, inner) {
            Ok(_) => format!("remove it and write redirect = \"{inner}\""),
            Err(_) => "remove it".to_owned(),
        };
        format!("forward of [service.{name}] leads to {host}, which is this host, so it opens nothing; {cure}")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Settings {
        let text = format!(
            "[gate]\nname = \"g\"\n[[user]]\nname = \"a\"\nkey = \"{}\"\nservices = [\"tcp/22\"]\n{more}",
            "A".repeat(42) + "E="
        );
        let bundle = crate::adapters::config::bundle::Bundle::of_main("p.toml", text);
        crate::adapters::config::load(&bundle).unwrap().settings
    }

    #[test]
    fn needed_family_without_forwarding_is_warned() {
        let off = |_: &str| Some("0\n".to_owned());
        let v4_only =
            |path: &str| Some(if path.contains("ipv4") { "1\n" } else { "0\n" }.to_owned());
        assert!(warnings_by(&settings(""), off).is_empty());
        let [warning] = warnings_by(&settings("targets = [\"fd00::/64\"]"), off)
            .try_into()
            .unwrap();
        assert!(
            warning.contains("sysctl -w net.ipv6.conf.all.forwarding=1"),
            "{warning}"
        );
        let both = settings("targets = [\"10.0.0.0/24\", \"fd00::/64\"]");
        assert_eq!(warnings_by(&both, off).len(), 2);
        assert_eq!(warnings_by(&both, v4_only).len(), 1);
        assert!(warnings_by(&settings("targets = [\"10.0.0.0/24\"]"), v4_only).is_empty());
    }
}
