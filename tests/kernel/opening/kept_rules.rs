//! Others change the rules while posternd runs: it knows what a program knows that reads them anew.

use libtest_mimic::Trial;
use postern_harness::Requirement::Program;
use postern_harness::{GateConfig, Machine, Random, World, wait_until};
use serde_json::Value;

const CHANGES: u64 = 40;

/// Rules of which some decide and some do not.
const NFT_RULES: [&str; 6] = [
    "tcp dport 2222 ip daddr 10.77.0.1 counter drop",
    "tcp dport 2222 counter accept",
    "tcp dport 25 accept",
    "tcp dport @ports drop",
    "jump other",
    "ip saddr 192.0.2.7 drop",
];
const IPTABLES_RULES: [&str; 6] = [
    "-p tcp --dport 2222 -d 10.77.0.1 -j DROP",
    "-p tcp --dport 2222 -j ACCEPT",
    "-p tcp --dport 25 -j ACCEPT",
    "-p tcp --dport 2000:3000 -j DROP",
    "-j other",
    "-s 192.0.2.7 -j DROP",
];

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("kept_rules");
    let needs = [Program("ip"), Program("nft"), Program("iptables-nft")];
    vec![
        machine.trial("changes_in_nft_are_followed", &needs, || {
            are_followed(nft_setup, nft_change)
        }),
        machine.trial("changes_in_iptables_are_followed", &needs, || {
            are_followed(iptables_setup, iptables_change)
        }),
    ]
}

fn nft_setup(world: &World) {
    world.gate.sh("nft 'table inet filter { set ports { type inet_service; }; chain other { }; chain unseen { };
        chain input { type filter hook input priority 0; policy drop; ct state established accept; tcp dport 80 accept; }; }'");
}

/// One to three changes in one transaction.
fn nft_change(world: &World, random: &mut Random) {
    let mut batch = String::new();
    for _ in 0..=random.below(3) {
        let chain = ["input", "input", "other", "unseen"][random.below(4) as usize];
        let rule = NFT_RULES[random.below(if chain == "input" { 6 } else { 4 }) as usize];
        let listed = world
            .gate
            .sh(&format!("nft -a list chain inet filter {chain}"));
        let handles: Vec<&str> = listed
            .lines()
            .filter(|line| !line.contains("postern") && !line.contains("chain"))
            .filter_map(|line| line.split_once("# handle ").map(|(_, handle)| handle))
            .collect();
        let place = format!("inet filter {chain}");
        let handle =
            (!handles.is_empty()).then(|| handles[random.below(handles.len() as u64) as usize]);
        batch += &match (random.below(7), handle) {
            (0, Some(handle)) => format!("add rule {place} handle {handle} {rule}\n"),
            (1, Some(handle)) => format!("insert rule {place} handle {handle} {rule}\n"),
            (2, Some(handle)) if batch.is_empty() => {
                format!("replace rule {place} handle {handle} {rule}\n")
            }
            (3, Some(handle)) if batch.is_empty() => {
                format!("delete rule {place} handle {handle}\n")
            }
            (4, _) => "add element inet filter ports { 2222 }\n".to_owned(),
            (5, _) => "flush set inet filter ports\n".to_owned(),
            (6, _) => format!("insert rule {place} {rule}\n"),
            _ => format!("add rule {place} {rule}\n"),
        };
    }
    world.gate.sh(&format!("nft -f - <<'X'\n{batch}X"));
}

fn iptables_setup(world: &World) {
    world.gate.sh(
        "iptables-nft -P INPUT DROP; iptables-nft -N other; iptables-nft -N unseen; \
        iptables-nft -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    );
}

fn iptables_change(world: &World, random: &mut Random) {
    let mut batch = String::new();
    for _ in 0..=random.below(3) {
        let chain = ["INPUT", "INPUT", "other", "unseen"][random.below(4) as usize];
        let rule = IPTABLES_RULES[random.below(if chain == "INPUT" { 6 } else { 4 }) as usize];
        let command = ["-A", "-I", "-D"][random.below(3) as usize];
        if command == "-D" {
            // it may not be there
            let text = format!("iptables-nft -D {chain} {rule} 2>/dev/null || true");
            world.gate.sh(&text);
        } else {
            batch += &format!("{command} {chain} {rule}\n");
        }
    }
    world.gate.sh(&format!(
        "iptables-nft-restore --noflush <<'X'\n*filter\n{batch}COMMIT\nX"
    ));
}

fn are_followed(setup: fn(&World), change: fn(&World, &mut Random)) {
    // without Postern's own drop, the host's rules decide about strangers
    let config = GateConfig::new("nftables").firewall("protect = \"none\"");
    let mut world = World::prepare(&config);
    setup(&world);
    world.daemon.start(&world.gate);
    for seed in 0..CHANGES {
        change(&world, &mut Random(seed));
        wait_until("the same verdict as of a new reader", || {
            let status: Value =
                serde_json::from_slice(&world.daemon.ask(&["status", "--json"]).stdout).unwrap();
            let kept = status["firewall"]["tests"][0]["stranger"]
                .as_str()
                .unwrap()
                .to_owned();
            kept == read_anew(&world)
        });
    }
}

/// What `check --from` says about an address that no rule names.
fn read_anew(world: &World) -> String {
    let output = world.at_gate(&["check", "--json", "--from", "10.77.0.99", "tcp/2222"]);
    let json: Value = serde_json::from_str(&output).unwrap();
    let packet = &json["packets"][0];
    let (verdict, rule) = (
        packet["verdict"].as_str().unwrap(),
        packet["rule"].as_str().unwrap(),
    );
    format!("{verdict} by {rule}")
}
