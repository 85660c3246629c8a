//! The text of a new config: the given values, and every other key as a comment with its default.

use crate::client::profile::{list, quoted};
use crate::model::endpoint::Endpoint;

#[derive(Debug)]
pub(super) struct Template<'a> {
    pub(super) name: &'a str,
    pub(super) port: u16,
    pub(super) addresses: &'a [Endpoint],
    pub(super) run_as: &'a str,
}

impl Template<'_> {
    pub(super) fn text(&self) -> String {
        let (name, port, run_as) = (quoted(self.name), self.port, quoted(self.run_as));
        let address = match self.addresses {
            [] => format!("# address = \"gate.example.org:{port}\""),
            [one] => format!("address = {}", quoted(&one.to_string())),
            many => format!("address = {}", list(many)),
        };
        format!(
            r#"# The config of this Postern gate, made by posternd init. Lines after a # are comments; keys in them show their defaults.
# After a change: posternd check, then posternd reload. Only the owner may have access to this file.

[gate]
# The gate's name. It is part of every key: users need new profiles if it changes.
name = {name}
# The UDP port for knocks, or a list. Postern never answers on it. A firewall in front of this host must accept it.
port = {port}
# Where clients send knocks. posternd user add writes it into profiles. Default: the gate's name.
{address}
# The gate's private key, for users with key pairs.
private_key = "gate.key"
# The engine runs as this user, without any privilege.
run_as = {run_as}
# Receive knocks on "any" interface, or on these. Interfaces may appear later.
# interfaces = ["any"]
# The greatest difference between the clocks of client and gate, 5s to 5m.
# window = "30s"
# state_dir = "/var/lib/postern"
# control_socket = "/run/postern/control.sock"
# "packet" captures packets; "udp" binds a socket that never answers, for hosts without raw capture.
# capture = "packet"

[firewall]
# "nftables", "iptables", "command", or "auto": nftables, or iptables where the kernel has no nf_tables.
# backend = "auto"
# "postern": posternd puts rules that accept granted packets into the host's own chains. "mine": you do; posternd check --plan
# prints them.
# host_rules = "postern"
# "services": Postern closes every service that some user may open. "none": the host's own rules close services.
# protect = "services"
# When posternd stops: "keep" leaves the protection, and grants end by themselves; "remove" removes all rules.
# on_stop = "keep"

# Named services, for posternd user add -s web:
# [service.web]
# ports = ["tcp/80", "tcp/443"]

# Each user has a file in users.d, made by posternd user add NAME -s tcp/22.
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::config;
    use crate::adapters::config::bundle::Bundle;
    use crate::model::settings::Settings;

    fn load(text: &str) -> Settings {
        config::load(&Bundle::of_main("/etc/postern/posternd.toml", text))
            .unwrap_or_else(|problems| panic!("{problems}"))
            .settings
    }

    #[test]
    fn new_config_has_given_values() {
        let addresses = [
            "gate.example.org:5000".parse().unwrap(),
            "[2001:db8::1]:5000".parse().unwrap(),
        ];
        for count in 0..=2 {
            let template = Template {
                name: "a \"gate\"",
                port: 5000,
                addresses: &addresses[..count],
                run_as: "postern",
            };
            let gate = load(&template.text()).gate;
            let found = (gate.name.as_str(), &gate.ports[..], gate.run_as.as_str());
            assert_eq!(found, ("a \"gate\"", &[5000][..], "postern"));
            assert_eq!(gate.addresses, addresses[..count]);
        }
    }

    #[test]
    fn commented_keys_show_defaults() {
        let text = Template {
            name: "g",
            port: 62201,
            addresses: &[],
            run_as: "nobody",
        }
        .text();
        let is_key = |line: &str| {
            line.split_once(" = ")
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let uncommented: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key) if is_key(key) || key.starts_with('[') => key,
                _ => line,
            })
            .collect();
        let (shown, plain) = (load(&uncommented.join("\n")), load(&text));
        let lines = uncommented.iter().zip(text.lines());
        let changed = lines.filter(|(one, other)| *one != other).count();
        assert_eq!(changed, 12, "keys of [gate], [firewall], [service]");
        let expected = format!("{:?}", plain.firewall);
        assert_eq!(format!("{:?}", shown.firewall), expected);
        let found = shown.gate.addresses[0].to_string();
        assert_eq!(found, "gate.example.org:62201");
        let without_address = |settings: &Settings| {
            let mut gate = settings.gate.clone();
            gate.addresses.clear();
            format!("{gate:?}")
        };
        assert_eq!(without_address(&shown), without_address(&plain));
        assert_eq!(shown.catalog.len(), 1);
    }
}
