//! Random rules of nftables, in one table `inet t`. Each rule counts.

use std::fmt::Write;

use postern_harness::Random;

use super::packets::LAST_PORT;

const CHAINS: u64 = 5;
const RULES_MAX: u64 = 9;

const SOURCES_V4: [&str; 9] = [
    "ip saddr . tcp dport @pairs",
    "ip saddr 192.0.2.0/24",
    "ip saddr != 192.0.2.2",
    "ip saddr 192.0.2.50-192.0.2.99",
    "ip saddr { 198.51.100.0/24, 192.0.2.77 }",
    "ip saddr != { 192.0.2.2, 192.0.2.77 }",
    "ip saddr @nets4",
    "ip saddr & 255.255.0.0 == 192.0.0.0",
    "ip saddr 192.0.2.0/25 ip daddr 192.0.2.1",
];
const SOURCES_V6: [&str; 4] = [
    "ip6 saddr 2001:db8::/64",
    "ip6 saddr != 2001:db8:5::/48",
    "ip6 saddr { 2001:db8::2, 2001:db8:7::/48 }",
    "ip6 saddr != @nets6",
];
const OTHERS: [&str; 22] = [
    "meta nfproto ipv4",
    "meta nfproto ipv6",
    "ip daddr 192.0.2.1",
    "ip daddr != 192.0.2.0/24",
    "ip6 daddr 2001:db8::1",
    "fib daddr type local",
    "fib daddr type != local",
    "ct state new",
    "ct state established,related",
    "ct state { new, untracked }",
    "ct state != new",
    "ct state invalid",
    "iifname \"gate0\"",
    "iifname != \"gate0\"",
    "iifname \"gate*\"",
    "iifname { \"lo\", \"peer*\" }",
    "iif lo",
    "meta mark 1",
    "meta mark & 0x3 == 0x1",
    "meta mark != 0",
    "meta pkttype host",
    "ct direction original",
];

/// A base chain after early ones, and chains that it jumps to.
pub(super) fn make(random: &mut Random) -> String {
    let mut text = "table inet t {\n\
        set nets4 { type ipv4_addr; flags interval; elements = { 192.0.2.64/26, 10.0.0.0/8, 198.51.100.9 } }\n\
        set nets6 { type ipv6_addr; flags interval; elements = { 2001:db8:5::/48 } }\n\
        set ports { type inet_service; flags interval; elements = { 10-30, 44, 60-64 } }\n\
        set pairs { type ipv4_addr . inet_service; flags interval; elements = { 192.0.2.0/24 . 8-40, 198.51.100.9 . 50 } }\n\
        map ways { type inet_service : verdict; flags interval; elements = { 2-20 : jump c3, 22 : goto c4, 90-100 : jump c2 } }\n"
        .to_owned();
    // a chain can be named only behind its definition
    for chain in (1..=CHAINS).rev() {
        writeln!(text, "chain c{chain} {{").unwrap();
        rules(random, &mut text, chain, true);
        text += "}\n";
    }
    text += "chain early_ingress { type filter hook ingress device \"gate0\" priority 0;\n";
    for _ in 0..random.below(3) {
        let source = one(
            random,
            &["ip saddr 198.51.100.0/24", "ip6 saddr != 2001:db8::2", ""],
        );
        let port = transport(random, true);
        writeln!(text, "  {source} {port} counter drop").unwrap();
    }
    text += "}\nchain early_mark { type filter hook prerouting priority -150;\n";
    rules(random, &mut text, CHAINS, false);
    text += "}\nchain early_input { type filter hook input priority -10;\n";
    rules(random, &mut text, CHAINS, false);
    let policy = one(random, &["accept", "drop"]);
    writeln!(
        text,
        "}}\nchain input {{ type filter hook input priority 0; policy {policy};"
    )
    .unwrap();
    rules(random, &mut text, 0, true);
    rules(random, &mut text, 0, true);
    text + "}\n}\n"
}

fn one<'a>(random: &mut Random, choices: &[&'a str]) -> &'a str {
    choices[usize::try_from(random.below(choices.len() as u64)).unwrap()]
}

fn rules(random: &mut Random, text: &mut String, chain: u64, is_in_input: bool) {
    for _ in 0..random.below(RULES_MAX) {
        let mut conditions = Vec::new();
        // a family may be named once
        let mut others: Vec<&str> = OTHERS.to_vec();
        match random.below(6) {
            0 | 1 => conditions.push(one(random, &SOURCES_V4).to_owned()),
            2 => conditions.push(one(random, &SOURCES_V6).to_owned()),
            _ => {}
        }
        if !conditions.is_empty() {
            others.retain(|other| !other.starts_with("ip") && !other.contains("nfproto"));
            others.extend(["iifname \"gate0\""]);
        }
        if random.below(2) == 0 {
            conditions.push(one(random, &others).to_owned());
        }
        let so_far = conditions.join(" ");
        let has_family = so_far.contains("ip") || so_far.contains("nfproto");
        if random.below(3) > 0 && !so_far.contains("dport") {
            conditions.push(transport(random, has_family));
        }
        let target = chain + 1 + random.below((CHAINS - chain).max(1));
        let way = format!("c{target}");
        let verdict = match random.below(14) {
            0..=2 if is_in_input => "counter accept".to_owned(),
            3 | 4 => "counter drop".to_owned(),
            5 if is_in_input => "counter reject".to_owned(),
            6 | 7 if chain < CHAINS => format!("counter jump {way}"),
            8 if chain < CHAINS => format!("counter goto {way}"),
            9 if chain > 0 && is_in_input => "counter return".to_owned(),
            10 => "meta mark set 1 counter".to_owned(),
            11 => "meta mark set meta mark | 2 counter".to_owned(),
            12 if chain < 2 => {
                conditions.retain(|one| !one.contains("dport") && !one.contains("l4proto"));
                conditions.retain(|one| !one.contains("flags") && !one.contains("icmp"));
                conditions.retain(|one| !one.contains("protocol"));
                one(
                    random,
                    &[
                        "tcp dport vmap @ways",
                        "udp dport vmap { 2 : jump c4, 30-50 : goto c5 }",
                        "ct state vmap { new : jump c5, established : accept, invalid : drop }",
                    ],
                )
                .to_owned()
            }
            _ => "counter".to_owned(),
        };
        writeln!(text, "  {} {verdict}", conditions.join(" ")).unwrap();
    }
}

fn transport(random: &mut Random, has_family: bool) -> String {
    let port = 1 + random.below(LAST_PORT);
    let last = port + random.below(40);
    match random.below(13) {
        0 => format!("tcp dport {port}"),
        1 | 2 => format!("tcp dport {port}-{last}"),
        3 => format!("tcp dport != {port}-{last}"),
        4 => format!("udp dport {{ {port}, {}-{} }}", last + 2, last + 30),
        5 => format!("udp dport != {port}"),
        6 => format!("meta l4proto {{ tcp, udp }} th dport {port}-{last}"),
        7 => "meta l4proto { icmp, ipv6-icmp }".to_owned(),
        8 if !has_family => "icmp type echo-request".to_owned(),
        9 => "tcp flags & (fin|syn|rst|ack) == syn".to_owned(),
        10 => "tcp flags != syn".to_owned(),
        11 => "tcp dport @ports".to_owned(),
        _ => format!("udp dport < {port}"),
    }
}
