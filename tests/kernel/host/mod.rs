//! `posternd check` with real rule sets in a real kernel. Each finding is tried with a real gate and a real knock, and its
//! commands are run and tried again.

use libtest_mimic::Trial;
use postern_harness::Requirement::{Other, Program, Root};
use postern_harness::firewall::has_legacy_tables;
use postern_harness::traffic::serve_echo;
use postern_harness::{Family, GateConfig, Machine, SERVICE, World, echoes, trials, wait_until};
use rustix::process::Signal;

pub(crate) mod check;

use check::{
    Found, all_findings, answers, check, check_through, container, cure, ids, knock_opens, load,
    without,
};

const BACKENDS: [&str; 2] = ["iptables", "nftables"];
const NEITHER: (bool, bool) = (false, false);

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let needs = ["ip", "nft", "iptables", "ip6tables", "unshare", "mount"];
    let mut needs = needs.map(Program).to_vec();
    needs.push(Root);
    let mut trials = trials![
        machine, &needs;
        host_without_rules_has_no_warning,
        drop_of_the_host_is_opened_or_refused,
        ufw_lets_grants_in,
        unprotected_service_is_reachable_per_family,
        accept_of_others_is_put_below,
        session_is_cut_without_established_rule,
        untracked_session_ends_with_its_grant,
        short_memory_and_policy_leak_are_told,
        docker_port_is_open_until_cured,
        missing_ip6tables_leaves_ipv6_open,
        udp_capture_needs_accepted_knock_port,
        leftover_rules_are_removed_at_start,
        rules_are_read_without_nft,
    ];
    needs.push(Other("legacy tables", has_legacy_tables(machine)));
    trials.extend(trials![machine, &needs; legacy_drop_is_opened_or_refused]);
    trials
}

/// A host whose gate is yet to be started.
fn host(backend: &str) -> World {
    World::prepare(&GateConfig::new(backend))
}

fn unprotected(backend: &str) -> World {
    World::prepare(&GateConfig::new(backend).firewall("protect = \"none\""))
}

fn host_without_rules_has_no_warning() {
    for backend in BACKENDS {
        let mut host = host(backend);
        let before = check(&host);
        assert_eq!(ids(&before), ["not-installed"], "{before:?}");
        assert_eq!(before[0].level, "note");
        host.start_again();
        assert_eq!(check(&host), [], "{backend}");
        assert!(!answers(&host).0 && knock_opens(&host), "{backend}");
    }
}

fn drop_of_the_host_is_opened_or_refused() {
    for (rules, place) in [
        ("drop", "nft table inet filter"),
        ("firewalld", "nft table inet firewalld"),
    ] {
        let mut opened = host("nftables");
        load(&opened, rules);
        expect_opened(&mut opened);
        let mut refused = host("iptables");
        load(&refused, rules);
        expect_refused(&mut refused, place);
    }
}

/// The nftables driver puts a rule of its own into the host's chain, and strangers stay out.
fn expect_opened(host: &mut World) {
    assert_eq!(ids(&check(host)), ["host-rules", "not-installed"]);
    host.start_again();
    assert_eq!(check(host), []);
    assert_eq!(answers(host), NEITHER);
    assert!(knock_opens(host));
}

/// The iptables driver cannot open what other chains drop, and says so before the start.
fn expect_refused(host: &mut World, place: &str) {
    assert_eq!(ids(&check(host)), ["later-drop", "not-installed"]);
    host.daemon.start_process(&host.gate);
    assert_eq!(host.daemon.wait().code(), Some(69));
    let said = format!("no grant would open on this host: {place}");
    let log = host.daemon.log();
    assert!(
        log.contains(&said) && log.contains("write backend = \"auto\""),
        "{log}"
    );
    assert!(!host.firewall().contains("POSTERN"));
}

fn ufw_lets_grants_in() {
    for backend in BACKENDS {
        let mut host = host(backend);
        load(&host, "ufw");
        host.start_again();
        assert_eq!(check(&host), [], "{backend}");
        assert!(knock_opens(&host), "{backend}");
    }
}

fn legacy_drop_is_opened_or_refused() {
    let with_drop = |backend| {
        let host = host(backend);
        host.gate
            .sh("iptables-legacy -A INPUT -p tcp --dport 2222 -m conntrack --ctstate NEW -j DROP");
        host
    };
    expect_opened(&mut with_drop("nftables"));
    expect_refused(&mut with_drop("iptables"), "iptables-legacy table filter");
}

fn unprotected_service_is_reachable_per_family() {
    let host = unprotected("iptables");
    assert_eq!(ids(&check(&host)), ["reachable"]);
    assert_eq!(answers(&host), (true, true));
    host.gate
        .sh("iptables -A INPUT -p tcp --dport 2222 -j DROP");
    let expected = ["host-rules", "ipv6-open", "no-established"];
    assert_eq!(ids(&check(&host)), expected);
    assert_eq!(answers(&host), (false, true));
    host.gate
        .sh("ip6tables -A INPUT -p tcp --dport 2222 -j DROP");
    assert!(!ids(&check(&host)).contains(&"ipv6-open"));
    assert_eq!(answers(&host), NEITHER);
}

/// As `wg-quick` and Tailscale put it there. The nftables driver's own table comes first, whatever the host has.
fn accept_of_others_is_put_below() {
    for backend in BACKENDS {
        let mut host = host(backend);
        host.start_again();
        host.daemon.signal(Signal::STOP);
        host.gate
            .sh("iptables -I INPUT 1 -p tcp --dport 2222 -j ACCEPT");
        let is_open = backend == "iptables";
        let expected: &[&str] = if is_open { &["reachable"] } else { &[] };
        assert_eq!(ids(&check(&host)), expected);
        assert_eq!(answers(&host).0, is_open);
        host.daemon.signal(Signal::CONT);
        wait_until("the service is hidden again", || !answers(&host).0);
        assert_eq!(check(&host), []);
        assert!(knock_opens(&host));
    }
}

fn session_is_cut_without_established_rule() {
    let hosts = [unprotected("iptables"), host("iptables"), host("nftables")];
    for (mut host, cured) in hosts.into_iter().zip([false, true, false]) {
        serve_echo(host.service.try_clone().unwrap());
        host.gate
            .sh("iptables -P INPUT DROP; ip6tables -P INPUT DROP");
        let found = check(&host);
        let cut: Vec<&Found> = found
            .iter()
            .filter(|one| one.id == "no-established")
            .collect();
        assert_eq!(cut.len(), 2, "{found:?}");
        if cured {
            cut.iter().for_each(|one| cure(&host, one));
            assert!(!ids(&check(&host)).contains(&"no-established"));
        }
        host.start_again();
        assert!(knock_opens(&host));
        let told = host
            .at_gate(&["status"])
            .contains("a session ends with its grant");
        assert_eq!(told, !cured);
        let mut session = host.first.connect(Family::V4, SERVICE).unwrap();
        assert!(echoes(&mut session), "while the grant lasts");
        host.daemon.asked(&["close", "--all"]);
        assert_eq!(echoes(&mut session), cured);
    }
}

fn untracked_session_ends_with_its_grant() {
    for backend in BACKENDS {
        let mut host = host(backend);
        serve_echo(host.service.try_clone().unwrap());
        host.gate.sh("nft 'table inet raw { chain p { type filter hook prerouting priority raw; tcp dport 2222 notrack; }; \
             chain o { type filter hook output priority raw; tcp sport 2222 notrack; }; }'");
        let found = check(&host);
        assert!(ids(&found).contains(&"untracked"), "{found:?}");
        host.start_again();
        assert!(knock_opens(&host));
        let status = host.at_gate(&["status"]);
        assert!(
            status.contains("exempts it from connection tracking"),
            "{status}"
        );
        let mut session = host.first.connect(Family::V4, SERVICE).unwrap();
        assert!(echoes(&mut session), "while the grant lasts");
        host.daemon.asked(&["close", "--all"]);
        assert!(!echoes(&mut session));
    }
}

fn short_memory_and_policy_leak_are_told() {
    let host = host("nftables");
    host.gate
        .sh("sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=3600");
    load(&host, "drop");
    let found = all_findings(&host);
    for id in ["short-memory", "policy-leak"] {
        let one = found.iter().find(|one| one.id == id);
        cure(&host, one.unwrap_or_else(|| panic!("{id}: {found:?}")));
    }
    let left = all_findings(&host);
    let is_told = |id: &str| ids(&left).contains(&id);
    assert!(
        !is_told("short-memory") && !is_told("policy-leak"),
        "{left:?}"
    );
}

fn docker_port_is_open_until_cured() {
    let services = "services = [\"tcp/2222\", \"tcp/8080\"]";
    let mut host = World::prepare(&GateConfig::empty("iptables").user("alice", services));
    load(&host, "docker");
    let _container = container(&host);
    host.first.space.ip("route add default via 10.77.0.1");
    host.start_again();
    let found = check(&host);
    assert_eq!(ids(&found), ["docker-published"], "{found:?}");
    let is_published = || host.first.connect(Family::V4, 8080).is_ok();
    assert!(is_published(), "Postern closes it");
    cure(&host, &found[0]);
    assert_eq!(check(&host), []);
    assert!(!is_published());
}

fn missing_ip6tables_leaves_ipv6_open() {
    let mut host = host("iptables");
    host.daemon.through = Some(without(&host, "ip6tables-restore ip6tables-save"));
    assert_eq!(ids(&check(&host)), ["ipv6-open", "not-installed"]);
    host.start_again();
    assert_eq!(ids(&check(&host)), ["ipv6-open"]);
    assert_eq!(answers(&host), (false, true));
}

fn udp_capture_needs_accepted_knock_port() {
    let mut host = World::prepare(&GateConfig::new("nftables").gate("capture = \"udp\""));
    load(&host, "drop");
    let found = check(&host);
    let expected = ["host-rules", "knock-closed", "not-installed"];
    assert_eq!(ids(&found), expected, "{found:?}");
    host.start_again();
    assert!(!knock_opens(&host));
    assert_eq!(host.daemon.status().admitted, 0, "the knock arrives");
    let closed = found.iter().find(|one| one.id == "knock-closed");
    cure(&host, closed.unwrap());
    assert!(knock_opens(&host));
    assert_eq!(check(&host), []);
}

fn leftover_rules_are_removed_at_start() {
    let mut host = host("nftables");
    host.start_again();
    host.daemon.stop();
    host.rewrite(&GateConfig::new("iptables"));
    assert!(ids(&check(&host)).contains(&"left-over"));
    host.start_again();
    assert_eq!(check(&host), []);
    assert!(knock_opens(&host));
}

fn rules_are_read_without_nft() {
    let host = host("iptables");
    load(&host, "drop");
    let found = check_through(&host, Some(&without(&host, "nft")));
    assert!(ids(&found).contains(&"later-drop"), "{found:?}");
    assert_eq!(found, all_findings(&host));
}
