//! Findings for real rule sets, captured from the tools that wrote them into a kernel.

use super::findings;
use crate::adapters::config;
use crate::adapters::config::bundle::Bundle;
use crate::adapters::firewall::host::{
    HostSnapshot, Network, Recording, read_iptables_save, read_recording,
};
use crate::admin::check::findings::{Finding, Level};
use crate::core::host_rules::{Chain, Ruleset};
use crate::model::address::Family;
use crate::model::settings::Settings;

const DROP: &[u8] = include_bytes!("../../../../tests/rulesets/drop.netlink");
const EVERY_MATCH: &[u8] = include_bytes!("../../../../tests/rulesets/every-match.netlink");
const NATIVE: &[u8] = include_bytes!("../../../../tests/rulesets/postern.netlink");
const POSTERN: &str = include_str!("../../../../tests/rulesets/postern.save");
const DOCKER: &str = include_str!("../../../../tests/rulesets/docker.save");

fn settings(gate: &str, firewall: &str, user: &str) -> Settings {
    let text = format!(
        "[gate]\nname = \"g\"\n{gate}\n[firewall]\n{firewall}\n[[user]]\nname = \"al\"\nkey = \"fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU=\"\n{user}\n"
    );
    let bundle = Bundle::of_main("/etc/postern/posternd.toml", text);
    config::load(&bundle).unwrap().settings
}

fn services(names: &str) -> String {
    let quoted: Vec<String> = names.split(' ').map(|name| format!("\"{name}\"")).collect();
    format!("services = [{}]", quoted.join(", "))
}

fn protecting(names: &str) -> Settings {
    settings("", "protect = \"services\"", &services(names))
}

fn open(names: &str) -> Settings {
    settings("", "protect = \"none\"", &services(names))
}

fn nft(recording: &'static [u8]) -> Vec<Chain> {
    read_recording(Recording(recording))
}

fn v4(text: &str) -> Vec<Chain> {
    read_iptables_save("iptables", Family::V4, text)
}

fn v6(text: &str) -> Vec<Chain> {
    read_iptables_save("ip6tables", Family::V6, text)
}

fn both(text4: &str, text6: &str) -> Vec<Chain> {
    [v4(text4), v6(text6)].concat()
}

fn host(chains: Vec<Chain>) -> HostSnapshot {
    let addresses = ["192.0.2.1/32", "2001:db8::1/128"];
    HostSnapshot {
        rules: Ruleset { chains },
        network: Network {
            interfaces: vec!["eth0".to_owned()],
            addresses: addresses.map(|text| text.parse().unwrap()).to_vec(),
            connected: Vec::new(),
        },
        has_ip6tables: true,
        ..HostSnapshot::default()
    }
}

fn found(settings: &Settings, backend: &str, chains: Vec<Chain>) -> Vec<Finding> {
    findings(settings, backend, &host(chains))
}

fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.id).collect()
}

/// Asserts that there is one finding of this kind, with this text and these commands.
#[track_caller]
fn assert_one(findings: &[Finding], id: &str, text: &str, cure: &[&str]) {
    let all: Vec<&Finding> = findings.iter().filter(|finding| finding.id == id).collect();
    let [one] = all.as_slice() else {
        panic!("{id}: {findings:#?}");
    };
    let what = one.what.to_string();
    assert!(what.contains(text) && !what.contains('\n'), "{what}");
    assert_eq!(one.cure, cure);
}

#[test]
fn drops_of_the_host_are_found() {
    let services = protecting("tcp/22 tcp/80 udp/5000-5010");
    let findings = found(&services, "iptables", nft(DROP));
    let expected = ["not-installed", "later-drop", "policy-leak"];
    assert_eq!(ids(&findings), expected);
    let text = "tcp/22, udp/5000-5010: nft table inet filter, chain input, drops it";
    assert_one(&findings, "later-drop", text, &[]);
    // The chain accepts these services from some networks only.
    let some = found(&protecting("tcp/5432 tcp/8005 icmp"), "iptables", nft(DROP));
    assert_one(&some, "later-drop", "tcp/5432", &[]);
    // The nftables driver puts a rule there.
    for (settings, expected) in [
        (
            services,
            &[
                "not-installed",
                "host-rules",
                "open-without-postern",
                "policy-leak",
            ][..],
        ),
        (open("tcp/22"), &["host-rules", "policy-leak"]),
    ] {
        let findings = found(&settings, "nftables", nft(DROP));
        assert_eq!(ids(&findings), expected);
        let rule = "chain input: tcp dport 22 meta mark & 0x3c00 == 0x2400 accept";
        assert_one(&findings, "host-rules", rule, &[]);
    }
}

#[test]
fn unprotected_service_is_reachable() {
    assert_one(
        &found(&open("tcp/22"), "iptables", Vec::new()),
        "reachable",
        "tcp/22 can be reached without a knock over IPv4: firewall.protect is \"none\", and no rule",
        &[],
    );
    let accepting = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT\nCOMMIT\n";
    let accepting = both(accepting, accepting);
    let findings = found(&open("tcp/22 tcp/25"), "iptables", accepting);
    assert_eq!(ids(&findings), ["reachable", "host-rules"]);
    assert_one(
        &findings,
        "reachable",
        "the rule \"-A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT\" in iptables table filter accepts it",
        &[],
    );
}

#[test]
fn service_open_over_ipv6_only_is_found() {
    let closing =
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n";
    let listening = HostSnapshot {
        listeners: vec!["[::]:22".parse().unwrap()],
        ..host(v4(closing))
    };
    assert_one(
        &findings(&open("tcp/22"), "iptables", &listening),
        "ipv6-open",
        "tcp/22 can be reached without a knock over IPv6, though not over IPv4: a socket listens on [::]:22",
        &[],
    );
    let mut host_v4 = host(v4(closing));
    host_v4.network.addresses.truncate(1);
    let without_ipv6 = findings(&open("tcp/22"), "iptables", &host_v4);
    assert!(!ids(&without_ipv6).contains(&"ipv6-open"));

    let without_ip6tables = HostSnapshot {
        has_ip6tables: false,
        ..host(nft(NATIVE))
    };
    let native = findings(&protecting("tcp/22"), "nftables", &without_ip6tables);
    assert_eq!(native, []);
}

#[test]
fn rules_before_the_jump_count() {
    let check = |rules: &str| {
        let text = POSTERN.replace("-A INPUT -j POSTERN\n", rules);
        found(&protecting("tcp/22"), "iptables", both(&text, POSTERN))
    };
    for harmless in [
        "-s 10.0.0.1/32 -j DROP",
        "-i lo -j ACCEPT",
        "-p udp -j ACCEPT",
        "-m conntrack --ctstate ESTABLISHED -j ACCEPT",
    ] {
        let findings = check(&format!("-A INPUT {harmless}\n-A INPUT -j POSTERN\n"));
        assert_eq!(findings, [], "{harmless}");
    }
    let jump_first = ["iptables -I INPUT 1 -j POSTERN"];
    let accept = "-A INPUT -p tcp -m tcp --dport 1:1023 -j ACCEPT";
    assert_one(
        &check(&format!("{accept}\n-A INPUT -j POSTERN\n")),
        "reachable",
        &format!("the jump to POSTERN is not the first rule of INPUT, and the rule \"{accept}\""),
        &jump_first,
    );
    assert_one(
        &check("-A INPUT -p tcp -j REJECT\n-A INPUT -j POSTERN\n"),
        "earlier-drop",
        "the jump to POSTERN is not the first rule",
        &jump_first,
    );
    let missing = "no rule of INPUT jumps to it";
    assert_one(&check(""), "reachable", missing, &jump_first);
}

#[test]
fn rules_of_postern_must_match_the_config() {
    assert_one(
        &found(&protecting("tcp/443"), "nftables", nft(NATIVE)),
        "reachable",
        "start posternd again, so that its rules match the config",
        &[],
    );
    let cases = [
        ("nftables", [nft(NATIVE), v4(POSTERN)].concat()),
        ("iptables", [nft(NATIVE), v4(POSTERN), v6(POSTERN)].concat()),
    ];
    for (backend, chains) in cases {
        let findings = found(&protecting("tcp/22"), backend, chains);
        assert_eq!(ids(&findings), ["left-over"], "{findings:#?}");
        assert_eq!(findings[0].cure, ["posternd flush"]);
    }
}

#[test]
fn published_ports_are_found() {
    let services = protecting("tcp/8080 tcp/9090 tcp/22");
    let check = |text: &str| found(&services, "iptables", v4(text));
    let close = "iptables -I DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j DROP";
    let (id, text) = ("docker-published", "-p 127.0.0.1:8080:80");
    assert_one(&check(DOCKER), id, text, &[close]);
    let rule = close.replace("iptables -I DOCKER-USER", "-A DOCKER-USER");
    let closed = check(&DOCKER.replace("-A DOCKER-USER -j RETURN", &rule));
    assert!(!ids(&closed).contains(&"docker-published"));

    let redirecting = |services| found(&protecting(services), "iptables", nft(EVERY_MATCH));
    let redirected = redirecting("tcp/443 tcp/8443");
    assert_one(
        &redirected,
        "redirected",
        "Postern's rules see tcp/8443",
        &[],
    );
    assert_one(&redirecting("tcp/8080"), "published", "tcp/8080", &[]);
}

#[test]
fn drop_behind_the_gate_is_found() {
    let user = "services = [\"tcp/443\"]\ntargets = [\"10.1.0.0/16\"]";
    let behind = settings("", "", user);
    assert_one(
        &found(&behind, "iptables", nft(DROP)),
        "later-drop",
        "of the hosts behind this one: nft table inet filter, chain forward",
        &[],
    );
    // The driver itself opens what FORWARD drops.
    let docker = found(&behind, "iptables", v4(DOCKER));
    assert_eq!(ids(&docker), ["not-installed", "host-rules"]);
}

#[test]
fn unknown_match_decides_nothing() {
    let odd =
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m u32 --u32 \"0x0=0x1\" -j ACCEPT\nCOMMIT\n";
    let findings = found(&open("tcp/22"), "iptables", both(odd, odd));
    assert!(!ids(&findings).contains(&"reachable"), "{findings:#?}");
    let unclear = findings.iter().find(|finding| finding.id == "unclear");
    assert_eq!(unclear.unwrap().level, Level::Note);
    // A rule that names a part of the range only.
    let findings = found(&protecting("tcp/8000-8020"), "iptables", nft(DROP));
    assert_eq!(ids(&findings), ["not-installed", "unclear"]);
}
