//! Hosts whose own firewall drops by default, each with the rules of the real tool.

use libtest_mimic::Trial;
use postern_harness::Requirement::{self, Program};
use postern_harness::{GateConfig, Machine, World};

/// A host: its name, the programs that it needs, and the commands that set up its firewall.
struct Host {
    name: &'static str,
    needs: &'static [Requirement],
    script: &'static str,
}

/// The lines that every rule set here has: loopback, established connections, neighbour discovery.
pub(super) const NFT_BASICS: &str = "iif lo accept; ct state established,related accept; ip saddr 198.51.100.9 drop; \
     meta l4proto ipv6-icmp accept;";

const HOSTS: [Host; 8] = [
    Host {
        name: "nft_policy_drop",
        needs: &[Program("nft")],
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
        script: "nft -f - <<'X'
table ip four { chain input { type filter hook input priority 5; policy drop; iif lo accept; ct state established accept; }; }
table ip6 six { chain input { type filter hook input priority 10; iif lo accept; ct state established accept; meta l4proto ipv6-icmp accept; counter drop; }; }
table inet more { chain input { type filter hook input priority 0; ct state established accept; meta l4proto ipv6-icmp accept; tcp dport 1-5000 counter drop; }; }
X",
    },
    Host {
        name: "iptables_nft_policy_drop",
        needs: &[Program("iptables-nft"), Program("ip6tables-nft")],
        script: "for v in iptables-nft ip6tables-nft; do IPTABLES; done",
    },
    Host {
        name: "iptables_legacy_policy_drop",
        needs: &[Program("iptables-legacy"), Program("ip6tables-legacy")],
        script: "for v in iptables-legacy ip6tables-legacy; do IPTABLES; done",
    },
    Host {
        name: "ferm",
        needs: &[Program("ferm"), Program("iptables-legacy")],
        script: "ferm - <<'X'
domain (ip ip6) table filter { chain INPUT { policy DROP; interface lo ACCEPT; mod state state (ESTABLISHED RELATED) ACCEPT;
 proto (icmp ipv6-icmp) ACCEPT; } chain FORWARD { policy DROP; } }
X",
    },
    Host {
        name: "ufw",
        needs: &[Program("ufw"), Requirement::Root],
        script: "unshare -m sh -c 'mount -t tmpfs none /run; cp -a /etc/ufw /run/ufw.etc; mount --bind /run/ufw.etc /etc/ufw; \
                 ufw --force enable >/dev/null'",
    },
    Host {
        name: "shorewall",
        needs: &[Program("shorewall"), Program("ip6tables"), Requirement::Root],
        script: "unshare -m sh -c 'mount -t tmpfs none /var/lib/shorewall; d=/var/lib/shorewall/etc; mkdir $d; cp /etc/shorewall/shorewall.conf $d; \
                 printf \"fw firewall\\nnet ipv4\\n\" >$d/zones; printf \"?FORMAT 2\\n\" >$d/interfaces; for i in $(ip -o link | cut -d: -f2 | cut -d@ -f1 | grep -v lo); do echo net $i >>$d/interfaces; done; \
                 printf \"\\$FW net ACCEPT\\nnet all DROP\\nall all REJECT\\n\" >$d/policy; shorewall start $d >/dev/null 2>&1'; v=ip6tables; IPTABLES",
    },
];

/// For iptables and ip6tables alike.
const IPTABLES: &str = "$v -P INPUT DROP; $v -P FORWARD DROP; $v -A INPUT -i lo -j ACCEPT; \
    $v -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; $v -A INPUT -p icmp -j ACCEPT; \
    case $v in ip6*) $v -A INPUT -p ipv6-icmp -j ACCEPT;; esac";

pub(super) fn tests(machine: &Machine) -> Vec<Trial> {
    let machine = machine.module("hosts");
    HOSTS
        .into_iter()
        .map(|host| {
            let script = host
                .script
                .replace("BASICS", NFT_BASICS)
                .replace("IPTABLES", IPTABLES);
            let needs = [host.needs, &[Program("ip"), Program("nft")]].concat();
            machine.trial(host.name, &needs, move || {
                grant_opens_and_nothing_else(&script)
            })
        })
        .collect()
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

fn grant_opens_and_nothing_else(script: &str) {
    let mut world = World::prepare(&GateConfig::new("auto"));
    world.gate.sh(script);
    world.first.expect_both_shut_out();
    let before = rules(&world);
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
    world.gate.sh("nft delete table inet postern");
    world.first.expect_both_shut_out();
    world.daemon.at_gate(&world.gate, &["flush"]);
    assert_eq!(rules(&world), before);
}

fn is_running(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
