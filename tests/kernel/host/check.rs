//! What `posternd check` finds on a host, the rule sets of the host, and whether a user gets in.

use postern_harness::world::World;
use postern_harness::{Family, Namespace, SERVICE, posternd, repository, run, text};
use serde_json::Value;

/// A finding of `posternd check --json`.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Found {
    pub(crate) level: String,
    pub(crate) id: String,
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) cure: Vec<String>,
}

pub(crate) fn ids(found: &[Found]) -> Vec<&str> {
    let mut ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

/// A script for a mount namespace: /usr/sbin then holds only firewall programs, without these.
pub(crate) fn without(world: &World, programs: &str) -> String {
    let folder = world.folder().join("sbin").display().to_string();
    format!(
        "set -e; mkdir -p {folder}; cp -a /usr/sbin/xtables* /usr/sbin/ip*tables* /usr/sbin/nft {folder}; \
         for program in {programs}; do rm -f {folder}/$program; done; mount --bind {folder} /usr/sbin; exec \"$@\""
    )
}

/// The findings, where the daemon runs. Most rule sets here drop by a policy; that note is left out.
pub(crate) fn check(world: &World) -> Vec<Found> {
    let mut found = all_findings(world);
    found.retain(|one| one.id != "policy-leak");
    found
}

pub(crate) fn all_findings(world: &World) -> Vec<Found> {
    check_through(world, world.daemon.through.as_deref())
}

/// The findings, with a script in between.
pub(crate) fn check_through(world: &World, script: Option<&str>) -> Vec<Found> {
    let config = world.folder().join("posternd.toml").display().to_string();
    let ask = |more: &[&str]| {
        let command = [&[posternd(), "check", "--config", &config][..], more].concat();
        let ran = match script {
            Some(script) => {
                let before = ["--mount", "sh", "-c", script, "sh"];
                run(&world.gate, "unshare", &[&before, &command[..]].concat())
            }
            None => run(&world.gate, command[0], &command[1..]),
        };
        assert!(ran.status.success(), "{ran:?}");
        text(&ran)
    };
    let json: Value = serde_json::from_str(&ask(&["--json"])).unwrap();
    let found: Vec<Found> = serde_json::from_value(json["findings"].clone()).unwrap();
    let said = ask(&[]);
    let first_lines = said.lines().filter(|line| !line.starts_with("  "));
    // one for each finding, and the summary
    assert_eq!(first_lines.count(), found.len() + 1, "{said}");
    for one in &found {
        assert!(said.contains(&format!("[{}]", one.id)), "{said}");
    }
    // The sandbox does not depend on the host's rules.
    let depends = |one: &Found| one.id != "sandbox";
    found.into_iter().filter(depends).collect()
}

pub(crate) fn cure(world: &World, found: &Found) {
    assert!(!found.cure.is_empty(), "{found:?}");
    for line in &found.cure {
        world.gate.sh(line);
    }
}

pub(crate) fn load(world: &World, name: &str) {
    let folder = repository().join("tests/rulesets").display().to_string();
    world.gate.sh(&match name {
        "ufw" => format!(
            "iptables-restore < {folder}/ufw.save && ip6tables-restore < {folder}/ufw6.save"
        ),
        "docker" => format!("iptables-restore < {folder}/docker.save"),
        name => format!("nft -f {folder}/{name}.nft"),
    });
}

/// A container as Docker adds it, with a service on port 80.
pub(crate) fn container(world: &World) -> Namespace {
    let container = Namespace::new();
    let (here, there) = (["172.17.0.1/16"], ["172.17.0.2/16"]);
    let names = ["docker0", "eth0"];
    world.gate.link_as(&container, names, &here, &there);
    container.ip("route add default via 172.17.0.1");
    // By its default route the gate is known to face the first client.
    world.gate.ip("route add default via 10.77.0.2");
    world.gate.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    container.serve_echo(80);
    container
}

/// Whether a knock over IPv4 opens the port within two seconds.
pub(crate) fn knock_opens(world: &World) -> bool {
    let ran = world.first.postern("alice", &["knock", "v4", "--wait=2s"]);
    match ran.code {
        Some(0) => true,
        Some(3) => false,
        _ => panic!("{ran:?}"),
    }
}

/// Whether the service answers over IPv4 and over IPv6.
pub(crate) fn answers(world: &World) -> (bool, bool) {
    let is_open = |family| world.first.connect(family, SERVICE).is_ok();
    (is_open(Family::V4), is_open(Family::V6))
}
