//! A ban by the real fail2ban holds, made before and after the grant, with each of its actions.

use std::process::Command;

use libtest_mimic::Trial;
use postern_harness::Requirement::{Program, Root};
use postern_harness::{FAMILIES, GateConfig, Machine, SERVICE, World};

use super::hosts::{IPTABLES, NFT_BASICS};

/// The driver, the action of fail2ban, and the host's own firewall.
const CASES: [(&str, &str, &str); 8] = [
    ("iptables", "iptables-multiport", "IPTABLES"),
    ("iptables", "iptables-ipset", "IPTABLES"),
    ("iptables", "iptables-multiport", LEGACY),
    ("iptables", "nftables-multiport", ""),
    ("iptables", "ufw", UFW),
    ("auto", "iptables-multiport", "IPTABLES"),
    ("auto", "nftables-multiport", "NFT"),
    ("auto", "iptables-ipset", ""),
];

/// For a mount namespace: the plain names are those of the legacy variant.
const LEGACY: &str = "mkdir /run/alternatives; cp -a /etc/alternatives/. /run/alternatives; \
     for p in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do \
     ln -sf /usr/sbin/xtables-legacy-multi /run/alternatives/$p; done; mount --bind /run/alternatives /etc/alternatives;";

const UFW: &str = "ufw --force enable >/dev/null";

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("bans");
    let programs = ["ip", "nft", "iptables", "fail2ban-client", "ipset", "ufw"];
    let needs = [&programs.map(Program)[..], &[Root]].concat();
    let trial = |case: (&'static str, &'static str, &'static str)| {
        let variant = if case.2 == LEGACY { "legacy_" } else { "" };
        let name = format!(
            "{}_holds_with_{variant}{}",
            case.1.replace('-', "_"),
            case.0
        );
        machine.trial(name, &needs, move || ban_holds(case))
    };
    CASES.into_iter().map(trial).collect()
}

fn ban_holds((backend, action, host): (&str, &str, &str)) {
    let mut world = World::prepare(&GateConfig::new(backend));
    let ban = Fail2ban::start(&world, action, host);
    if host == LEGACY {
        let through = format!("mount -t tmpfs none /run; {LEGACY} exec \"$@\"");
        world.daemon.through = Some(through);
    }
    world.daemon.start(&world.gate);
    world.first.expect_both_shut_out();
    for (number, family) in (1..).zip(FAMILIES) {
        let address = world.first.address(family).to_string();
        let is_open = || world.first.connect(family, SERVICE).is_ok();
        // Made before the grant.
        ban.ask(&["set", "gate", "banip", &address]);
        world.first.knock("alice", family, &["--for", "10m"]);
        world.daemon.wait_for_admitted(number);
        assert!(!is_open(), "{family:?}");
        ban.ask(&["set", "gate", "unbanip", &address]);
        assert!(is_open(), "{family:?}");
        // Made while the grant is open.
        ban.ask(&["set", "gate", "banip", &address]);
        assert!(!is_open(), "{family:?}");
    }
    world.second.expect_both_shut_out();
}

/// A server in the gate's namespace, with a jail for the service.
struct Fail2ban {
    socket: String,
}

impl Fail2ban {
    fn start(world: &World, action: &str, host: &str) -> Self {
        let folder = world.folder().join("fail2ban").display().to_string();
        let firewall = match host {
            "NFT" => format!(
                "nft 'table inet filter {{ chain input {{ type filter hook input priority filter; policy drop; {NFT_BASICS} }}; }}'"
            ),
            "IPTABLES" => format!("for v in iptables ip6tables; do {IPTABLES} done"),
            LEGACY => format!("{LEGACY} for v in iptables ip6tables; do {IPTABLES} done"),
            other => other.to_owned(),
        };
        let script = format!(
            "set -e; mkdir {folder}; cp -a /etc/fail2ban {folder}/etc; rm -f {folder}/etc/jail.d/*; touch {folder}/log\n\
             printf '[Definition]\\ndbfile = None\\n' >{folder}/etc/fail2ban.local\n\
             printf '[gate]\\nenabled = true\\nfilter = sshd\\nbackend = polling\\nlogpath = {folder}/log\\nport = {SERVICE}\\nbanaction = {action}\\n' \
             >{folder}/etc/jail.local\n\
             mount -t tmpfs none /run; cp -a /etc/ufw /run/ufw.etc; mount --bind /run/ufw.etc /etc/ufw\n{firewall}\n\
             fail2ban-client -c {folder}/etc -s {folder}/socket -p {folder}/pid --logtarget {folder}/server.log start >/dev/null\n"
        );
        world.install("start-fail2ban", &script);
        let script = world.folder().join("start-fail2ban");
        world
            .gate
            .sh(&format!("unshare -m sh {}", script.display()));
        let socket = format!("{folder}/socket");
        Self { socket }
    }

    fn ask(&self, question: &[&str]) {
        let command = [&["-s", &self.socket], question].concat();
        let ran = Command::new("fail2ban-client")
            .args(command)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
}

impl Drop for Fail2ban {
    fn drop(&mut self) {
        self.ask(&["stop"]);
    }
}
