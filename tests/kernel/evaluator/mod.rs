//! `posternd check --from` against the kernel: random rule sets, random packets, and the counters of the rules.
//!
//! ```text
//!   peer0, raw frames ── gate0, 192.0.2.1 and 2001:db8::1: rules, and `posternd check --from`
//! ```
//!
//! The lengths of the packets are random, so the packets and bytes that a rule counted say which packets it decided.

use std::collections::BTreeMap;
use std::net::IpAddr;

use libtest_mimic::Trial;
use postern_harness::packets::RawLink;
use postern_harness::{
    Machine, Namespace, Random, Requirement, find, join, posternd, say, wait_until,
};
use serde_json::Value;

mod counters;
mod iptables_rules;
mod nft_rules;
mod packets;

use counters::Count;
use packets::Packet;

const NFTABLES_SETS: u64 = 24;
const IPTABLES_SETS: u64 = 13;
/// The share of packets that the evaluator may not be able to tell, in percent.
const UNKNOWN_MAX: usize = 2;
const ADDRESS_V4: [&str; 5] = [
    "192.0.2.2",
    "192.0.2.77",
    "198.51.100.9",
    "203.0.113.5",
    "10.1.2.3",
];
const ADDRESS_V6: [&str; 2] = ["2001:db8::2", "2001:db8:5::9"];

/// Around the rules: all packets that arrive, and those that pass.
const COUNTERS: &str = "
table inet before { chain count { type filter hook ingress device \"gate0\" priority -500; counter; }; }
table inet behind { chain count { type filter hook input priority 1000; counter; }; }
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Nftables,
    Iptables(&'static str),
}

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let legacy = Rules::Iptables("iptables-legacy");
    [
        ("nftables_rules", Rules::Nftables, "nft"),
        (
            "iptables_nft_rules",
            Rules::Iptables("iptables-nft"),
            "iptables-nft-restore",
        ),
        ("iptables_legacy_rules", legacy, "iptables-legacy-restore"),
    ]
    .into_iter()
    .map(|(name, rules, program)| {
        let has_tables = rules != legacy || find("iptables-legacy").is_some();
        let needs = [
            Requirement::Program("ip"),
            Requirement::Program("nft"),
            Requirement::Program(program),
            Requirement::Other("legacy tables", has_tables),
        ];
        machine.trial(name, &needs, move || are_judged_as_the_kernel_does(rules))
    })
    .collect()
}

fn are_judged_as_the_kernel_does(rules: Rules) {
    let (gate, peer) = (Namespace::new(), Namespace::new());
    join(&gate, &peer);
    // only the test sends packets: nobody looks for a neighbour in vain
    gate.ip("neigh replace 192.0.2.77 lladdr 02:00:00:00:00:02 dev gate0 nud permanent");
    peer.sh("sysctl -qw net.ipv6.conf.peer0.disable_ipv6=1");
    gate.sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.gate0.rp_filter=0");
    let mut link = RawLink::open(&peer, "peer0");
    let sets = if rules == Rules::Nftables {
        NFTABLES_SETS
    } else {
        IPTABLES_SETS
    };
    let (mut unknown, mut all, mut ports) = (0, 0, 20_000);
    for seed in 0..sets {
        let mut random = Random(seed);
        let text = match rules {
            Rules::Nftables => nft_rules::make(&mut random),
            Rules::Iptables(_) => iptables_rules::make(&mut random),
        };
        load(&gate, rules, &text);
        let judged = judge(&gate, rules, &mut random, &mut ports);
        all += judged.len();
        let known: Vec<&Packet> = judged
            .iter()
            .filter(|one| one.verdict != "unknown")
            .collect();
        unknown += judged.len() - known.len();
        for packet in &known {
            link.send_ip(&packet.bytes);
        }
        let sent = total(&known, |_| true);
        wait_until("packets to arrive", || {
            counters::of_table(&gate, "before").packets >= sent.packets
        });
        let place = format!("rule set {seed} of {rules:?}:\n{text}");
        assert_eq!(counters::of_table(&gate, "before"), sent, "{place}");
        let accepted = total(&known, |one| one.verdict == "accepted");
        let passed = counters::of_table(&gate, "behind");
        let counted = match rules {
            Rules::Nftables => counters::of_nft_rules(&gate),
            Rules::Iptables(program) => counters::of_iptables_rules(&gate, program),
        };
        let mut decided: BTreeMap<&str, Count> = BTreeMap::new();
        for packet in &known {
            *decided.entry(&packet.rule).or_default() += packet.count();
        }
        let mut wrong = Vec::new();
        for (rule, count) in &counted {
            let expected = decided.get(rule.as_str()).copied().unwrap_or_default();
            if *count != expected {
                wrong.push(format!(
                    "{rule}: {expected:?}, the kernel counted {count:?}"
                ));
            }
        }
        assert!(
            wrong.is_empty() && passed == accepted,
            "{}\naccepted: {accepted:?}, the kernel let pass {passed:?}\n{place}",
            wrong.join("\n")
        );
    }
    say(&format!(
        "{rules:?}: {all} packets, {unknown} of them unknown"
    ));
    assert!(unknown * 100 <= all * UNKNOWN_MAX, "{unknown} of {all}");
}

fn load(gate: &Namespace, rules: Rules, text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (path, nft) = (file.path().display(), "flush ruleset\n");
    let load = match rules {
        Rules::Nftables => {
            std::fs::write(&file, format!("{nft}{COUNTERS}{text}")).unwrap();
            format!("nft -f {path}")
        }
        Rules::Iptables(program) => {
            std::fs::write(&file, text).unwrap();
            format!("nft '{nft}{COUNTERS}' && {program}-restore {path}")
        }
    };
    gate.sh(&load);
}

/// All packets of a rule set, with what the evaluator says about each.
fn judge(gate: &Namespace, rules: Rules, random: &mut Random, ports: &mut u16) -> Vec<Packet> {
    let services = packets::services(random);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posternd.toml");
    let quoted: Vec<String> = services.iter().map(|one| format!("\"{one}\"")).collect();
    let config = format!(
        "[gate]\nname = \"g\"\ninterfaces = [\"gate0\"]\n[firewall]\nprotect = \"none\"\n\
         [[user]]\nname = \"alice\"\nkey = \"fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU=\"\nservices = [{}]\n",
        quoted.join(", ")
    );
    postern::adapters::files::write_private(&path, config.as_bytes(), false).unwrap();
    let addresses: Vec<&str> = match rules {
        Rules::Nftables => ADDRESS_V4[..3].iter().chain(&ADDRESS_V6).copied().collect(),
        Rules::Iptables(_) => ADDRESS_V4.to_vec(),
    };
    let mut judged = Vec::new();
    for address in addresses {
        let program = posternd();
        let output = gate.sh(&format!(
            "{program} check --config {} --json --from {address}",
            path.display()
        ));
        let json: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(json["unseen"], serde_json::json!([]));
        let address: IpAddr = address.parse().unwrap();
        // the evaluator tells apart which of its addresses a host is asked at, and no sender here has a grant
        let is_sent = |one: &&Value| {
            let to = one["destination"].as_str();
            let is_asked = to.is_none_or(|to| ["192.0.2.1", "2001:db8::1"].contains(&to));
            is_asked && one["with_grant"] == false
        };
        for one in json["packets"].as_array().unwrap().iter().filter(is_sent) {
            *ports += 1;
            judged.push(Packet::new(address, one, *ports, random));
        }
    }
    judged
}

fn total(packets: &[&Packet], choose: impl Fn(&Packet) -> bool) -> Count {
    let mut count = Count::default();
    for packet in packets.iter().filter(|packet| choose(packet)) {
        count += packet.count();
    }
    count
}
