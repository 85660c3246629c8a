//! Hosts whose own firewall drops by default, each with the rules of the real tool.

use libtest_mimic::Trial;
use postern_harness::Requirement::{self, Program};
use postern_harness::hosts::FW4;
use postern_harness::{Client, FAMILIES, GateConfig, Machine, SERVICE, World, text};

/// A host: its name, the programs that it needs, and the commands that set up its firewall.
struct Host {
    name: &'static str,
    needs: &'static [Requirement],
    /// Whose chains `check --plan` says they are.
    owner: &'static str,
    script: &'static str,
}

/// The lines that every rule set here has: loopback, established connections, neighbour discovery.
pub(super) const NFT_BASICS: &str = "iif lo accept; ct state established,related accept; ip saddr 198.51.100.9 drop; \
     meta l4proto ipv6-icmp accept;";

const HOSTS: [Host; 14] = [
    Host {
        name: "nft_policy_drop",
        needs: &[Program("nft")],
        owner: "",
        script: "nft -f - <<'X'
table inet filter {
  chain input { type filter hook input priority filter; policy drop; BASICS }
  chain forward { type filter hook forward priority filter; policy drop; }
}
X",
    },
    Host {
        name: "nft_final_drop_in_a_zone",
        needs: &[Program("nft")],
        owner: "",
        script: "nft -f - <<'X'
table inet fw {
  chain denied { counter drop; }
  chain zone { ip saddr 198.51.100.8 drop; tcp dport 80 accept; jump denied; }
  chain input { type filter hook input priority filter; BASICS iifname != \"lo\" goto zone; }
  chain forward { type filter hook forward priority filter; jump denied; }
}
X",
    },
    Host {
        name: "nft_two_tables_of_one_family_each",
        needs: &[Program("nft")],
        owner: "",
        script: "nft -f - <<'X'
table ip four { chain input { type filter hook input priority 5; policy drop; iif lo accept; ct state established accept; }; }
table ip6 six { chain input { type filter hook input priority 10; iif lo accept; ct state established accept; meta l4proto ipv6-icmp accept; counter drop; }; }
table inet more { chain input { type filter hook input priority 0; ct state established accept; meta l4proto ipv6-icmp accept; tcp dport 1-5000 counter drop; }; }
X",
    },
    Host {
        name: "openwrt",
        needs: &[Program("nft")],
        owner: "OpenWrt",
        script: "nft -f - <<'X'
FW4X",
    },
    Host {
        name: "firewalld",
        needs: &[Program("firewalld"), Program("dbus-daemon"), Requirement::Root],
        owner: "firewalld",
        script: "unshare -m sh -c 'mount -t tmpfs none /run; mkdir -p /run/dbus; cp -a /etc/firewalld /run/etc;
                 sed -i s/^CleanupOnExit=.*/CleanupOnExit=no/ /run/etc/firewalld.conf;
                 dbus-daemon --system --nofork --nopidfile & bus=$!; firewalld --nofork --nopid --system-config /run/etc & wall=$!;
                 timeout 30 sh -c \"until firewall-cmd --state; do sleep 0.1; done\"; kill $wall; wait $wall; kill $bus' >/dev/null 2>&1",
    },
    Host {
        name: "nft_drops_before_and_after_postern",
        needs: &[Program("nft")],
        owner: "",
        script: "nft -f - <<'X'
table inet filter {
  chain first { type filter hook input priority -500; policy drop; BASICS }
  chain same { type filter hook input priority -10; BASICS counter drop; }
  chain last { type filter hook input priority 5000; BASICS counter drop; }
}
X",
    },
    Host {
        name: "nft_leaves_zones_to_the_policy",
        needs: &[Program("nft")],
        owner: "",
        script: "nft -f - <<'X'
table inet fw {
  chain zone { ip saddr 198.51.100.8 drop; meta nfproto ipv6 return; tcp dport 80 accept; }
  chain input { type filter hook input priority filter; policy drop; BASICS meta nfproto ipv4 goto zone; tcp dport 2222 return; }
}
X",
    },
    Host {
        name: "nft_without_established_rule",
        needs: &[Program("nft")],
        owner: "",
        script: "nft 'table inet filter { chain input { type filter hook input priority filter; policy drop; meta l4proto ipv6-icmp accept; }; }'",
    },
    Host {
        name: "iptables_drops_in_mangle",
        needs: &[Program("iptables-nft"), Program("ip6tables-nft")],
        owner: "",
        script: "for v in 'iptables-nft -t mangle' 'ip6tables-nft -t mangle'; do IPTABLES; done",
    },
    Host {
        name: "iptables_nft_policy_drop",
        needs: &[Program("iptables-nft"), Program("ip6tables-nft")],
        owner: "",
        script: "for v in iptables-nft ip6tables-nft; do IPTABLES; done",
    },
    Host {
        name: "iptables_legacy_policy_drop",
        needs: &[Program("iptables-legacy"), Program("ip6tables-legacy")],
        owner: "",
        script: "for v in iptables-legacy ip6tables-legacy; do IPTABLES; done",
    },
    Host {
        name: "ferm",
        needs: &[Program("ferm"), Program("iptables-legacy")],
        owner: "",
        script: "ferm - <<'X'
domain (ip ip6) table filter { chain INPUT { policy DROP; interface lo ACCEPT; mod state state (ESTABLISHED RELATED) ACCEPT;
 proto (icmp ipv6-icmp) ACCEPT; } chain FORWARD { policy DROP; } }
X",
    },
    Host {
        name: "ufw",
        needs: &[Program("ufw"), Requirement::Root],
        owner: "ufw",
        script: "unshare -m sh -c 'mount -t tmpfs none /run; cp -a /etc/ufw /run/ufw.etc; mount --bind /run/ufw.etc /etc/ufw; \
                 ufw --force enable >/dev/null'",
    },
    Host {
        name: "shorewall",
        needs: &[Program("shorewall"), Program("ip6tables"), Requirement::Root],
        owner: "Shorewall",
        script: "unshare -m sh -c 'mount -t tmpfs none /var/lib/shorewall; d=/var/lib/shorewall/etc; mkdir $d; cp /etc/shorewall/shorewall.conf $d; \
                 printf \"fw firewall\\nnet ipv4\\n\" >$d/zones; printf \"?FORMAT 2\\n\" >$d/interfaces; for i in $(ip -o link | cut -d: -f2 | cut -d@ -f1 | grep -v lo); do echo net $i >>$d/interfaces; done; \
                 printf \"\\$FW net ACCEPT\\nnet all DROP\\nall all REJECT\\n\" >$d/policy; shorewall start $d >/dev/null 2>&1'; v=ip6tables; IPTABLES",
    },
];

/// For iptables and ip6tables alike.
pub(super) const IPTABLES: &str = "$v -P INPUT DROP; $v -P FORWARD DROP; $v -A INPUT -i lo -j ACCEPT; \
    $v -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; $v -A INPUT -p icmp -j ACCEPT; \
    case $v in ip6*) $v -A INPUT -p ipv6-icmp -j ACCEPT;; esac";

fn script(host: &Host) -> String {
    let script = host.script.replace("BASICS", NFT_BASICS);
    script.replace("IPTABLES", IPTABLES).replace("FW4", FW4)
}

/// Hosts whose tool loads its rules again if the script runs again.
pub(super) fn reloadable() -> impl Iterator<Item = (&'static str, &'static [Requirement], String)> {
    let names = ["ferm", "firewalld", "ufw", "shorewall"];
    let hosts = HOSTS.iter().filter(move |host| names.contains(&host.name));
    hosts.map(|host| (host.name, host.needs, script(host)))
}

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("hosts");
    let trial = |host: &Host, backend: &'static str| {
        let script = script(host);
        let needs = [host.needs, &[Program("ip"), Program("nft")]].concat();
        let (name, owner) = (format!("{}::{backend}", host.name), host.owner);
        machine.trial(name, &needs, move || {
            invariants_11_and_12_hold(backend, &script, owner)
        })
    };
    let by_auto = HOSTS.iter().map(|host| trial(host, "auto"));
    let of_iptables = ["iptables_nft_policy_drop", "ufw", "shorewall"];
    let is_of_iptables = |host: &&Host| of_iptables.contains(&host.name);
    let by_iptables = HOSTS.iter().filter(is_of_iptables);
    let by_iptables = by_iptables.map(|host| trial(host, "iptables"));
    by_auto.chain(by_iptables).collect()
}

/// All rules of the host, without counters and handles.
pub(super) fn rules(world: &World) -> String {
    let list = |command: &str| world.gate.sh(&format!("{command} 2>/dev/null || true"));
    let all = list("nft -s list ruleset")
        + &list("iptables-legacy-save")
        + &list("ip6tables-legacy-save");
    let kept = all.lines().filter(|line| !line.starts_with(['#', ':']));
    kept.collect::<Vec<_>>().join("\n")
}

fn invariants_11_and_12_hold(backend: &str, script: &str, owner: &str) {
    let mut world = World::prepare(&GateConfig::new(backend));
    world.gate.sh(script);
    expect_nobody_in(&world.first);
    let before = rules(&world);
    let plan = text(&world.daemon.at_gate(&world.gate, &["check", "--plan"]));
    let of_owner = format!(", of {owner}: packets to this host are dropped by ");
    assert!(owner.is_empty() || plan.contains(&of_owner), "{plan}");
    world.daemon.start(&world.gate);
    world.first.expect_both_shut_out();
    world.open_both("10m");
    world.first.expect_both_let_in();
    world.second.expect_both_shut_out();
    // Neither the death of both processes nor the loss of the table opens anything.
    let engine = world.daemon.engine();
    world.daemon.signal(rustix::process::Signal::KILL);
    world.daemon.wait();
    postern_harness::wait_until("the engine has ended", || !is_running(engine));
    world.second.expect_both_shut_out();
    world.gate.sh(match backend {
        "iptables" => "for v in iptables ip6tables; do $v -D INPUT -j POSTERN; done",
        _ => "nft delete table inet postern",
    });
    expect_nobody_in(&world.first);
    world.daemon.at_gate(&world.gate, &["flush"]);
    assert_eq!(rules(&world), before);
}

/// The host's own rules drop or reject.
fn expect_nobody_in(client: &Client) {
    for family in FAMILIES {
        let connected = client.connect(family, SERVICE);
        assert!(connected.is_err(), "{family:?} is open without Postern");
    }
}

fn is_running(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
