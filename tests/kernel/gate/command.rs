//! The backend "command" in a real world: programs that record their runs, and the two examples of `dist/`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use postern_harness::world::checks::is_gone;
use postern_harness::{
    FAMILIES, Family, GateConfig, SERVICE, World, now, text, wait_for, wait_until,
};

const OPEN4: &str = "open alice 10.77.0.2/32 tcp/2222";
const OPEN6: &str = "open alice fd77::2/128 tcp/2222";
const CLOSE4: &str = "close alice 10.77.0.2/32 tcp/2222";
const CLOSE6: &str = "close alice fd77::2/128 tcp/2222";

/// Writes a line for each run into `ran`; fails once for each line that `failures` has for this action.
const WRITER: &str = r#"#!/bin/sh
folder=$1; shift
echo "$*" >>"$folder/ran"
if grep -q "^$1$" "$folder/failures" 2>/dev/null; then
  sed -i "0,/^$1$/{/^$1$/d}" "$folder/failures"
  echo "the set is busy" >&2
  exit 3
fi
"#;

/// A world whose posternd is yet to be started, with a program in its folder.
fn world(programs: impl FnOnce(&str) -> String, more: &[(&str, &str)]) -> World {
    let mut world = World::prepare(&GateConfig::new("command"));
    let here = world.folder().display().to_string();
    for (name, text) in more.iter().chain(&[("writer", WRITER)]) {
        world.install(name, text);
    }
    let plan = GateConfig::new("command")
        .firewall("protect = \"none\"")
        .firewall(&format!("[firewall.command]\n{}", programs(&here)));
    world.rewrite(&plan);
    world.start_again();
    world
}

fn writing() -> World {
    let line = |here: &str, action: &str| {
        format!(
            "{action} = [\"{here}/writer\", \"{here}\", \"{action}\", \"{{user}}\", \"{{allow}}\", \"{{service}}\"]\n"
        )
    };
    world(|here| line(here, "open") + &line(here, "close"), &[])
}

fn fail(world: &World, lines: &str) {
    fs::write(world.folder().join("failures"), lines).unwrap();
}

fn journal(world: &World) -> PathBuf {
    world.folder().join("state.monitor/grants")
}

pub(crate) fn command_opens_and_closes(_: &'static str) {
    let mut world = writing();
    let said = ["the kernel does not end grants by itself"];
    world.daemon.expect_logged(1, &said);
    let folder = journal(&world).parent().unwrap().metadata().unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    world.first.knock("alice", Family::V4, &["-s", "tcp/23"]);
    world.daemon.wait_for_count("refuse services", 1);
    assert_eq!(world.lines_in("ran"), Vec::<String>::new());
    world.first.knock("alice", Family::V4, &["--for", "2s"]);
    world.first.knock("alice", Family::V6, &["--for", "10m"]);
    world.wait_for_grants(2);
    world.wait_for_grants(1);
    assert_eq!(world.wait_for_lines_in("ran", 3), [OPEN4, OPEN6, CLOSE4]);
    assert!(world.daemon.stop().success());
    // Nobody would close it after the stop.
    assert_eq!(world.lines_in("ran"), [OPEN4, OPEN6, CLOSE4, CLOSE6]);
}

pub(crate) fn failed_command_refuses_the_knock(_: &'static str) {
    let world = writing();
    fail(&world, "open\n");
    world.first.knock("alice", Family::V4, &[]);
    world.daemon.wait_for_count("refuse firewall", 1);
    let said = world
        .daemon
        .logged(&["writer failed with exit status 3: the set is busy"]);
    assert!(!said.is_empty(), "{}", world.daemon.log());
    assert_eq!(world.lines_in("ran"), [OPEN4, CLOSE4]);
    assert_eq!(world.daemon.grants(), []);
}

pub(crate) fn command_closes_after_a_kill(_: &'static str) {
    let mut world = writing();
    world.first.knock("alice", Family::V4, &["--for", "2s"]);
    world.first.knock("alice", Family::V6, &["--for", "10m"]);
    let grants = world.wait_for_grants(2);
    kill(&mut world);
    wait_until("the first grant's end", || now() > grants[0].until);
    assert_eq!(world.lines_in("ran").len(), 2, "nobody is there to close");
    world.start_again();
    assert_eq!(world.wait_for_lines_in("ran", 3)[2], CLOSE4);
    let left = world.daemon.grants();
    assert_eq!(left, grants[1..], "the other keeps its time");
    world.daemon.asked(&["close", "--all"]);
    assert_eq!(world.lines_in("ran")[3], CLOSE6);
}

fn kill(world: &mut World) {
    let engine = world.daemon.engine();
    world.kill();
    wait_until("the engine to end with its monitor", || is_gone(engine));
}

pub(crate) fn failed_close_command_is_retried(_: &'static str) {
    let world = writing();
    fail(&world, "close\nclose\nclose\n");
    world.first.knock("alice", Family::V4, &["--for", "1s"]);
    assert_eq!(world.wait_for_lines_in("ran", 5)[1..], [CLOSE4; 4]);
    world.wait_until_closed();
    let failed = ["not closed, trying again", "the set is busy"];
    assert_eq!(world.daemon.wait_for_lines(3, &failed).len(), 3);
    wait_for("the journal to forget it", || {
        let journal = fs::read_to_string(journal(&world)).unwrap();
        (!journal.contains("alice")).then_some(())
    });
}

pub(crate) fn damaged_journal_stops_the_start(_: &'static str) {
    let mut world = writing();
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    world.wait_for_grants(1);
    kill(&mut world);
    let whole = fs::read_to_string(journal(&world)).unwrap();
    fs::write(journal(&world), whole.replace("alice", "alick")).unwrap();
    world.daemon.start_process(&world.gate);
    let status = world.daemon.wait();
    assert_eq!(status.code(), Some(69), "{}", world.daemon.log());
    let said = ["state.monitor/grants", "is damaged", "close by hand"];
    world.daemon.expect_logged(1, &said);
    let checked = world.daemon.at_gate(&world.gate, &["check"]);
    assert!(text(&checked).contains("is damaged"), "{}", text(&checked));
    fs::write(journal(&world), whole).unwrap();
    let said = world.at_gate(&["flush"]);
    assert!(said.contains("command: closed 1 grant"), "{said}");
    assert_eq!(world.lines_in("ran")[1], CLOSE4);
}

/// `dist/examples/ipset.sh` with a real set and a real firewall.
pub(crate) fn ipset_example_opens_a_real_set(_: &'static str) {
    let script = include_str!("../../../dist/examples/ipset.sh");
    let world = world(
        |here| {
            config_of(
                script,
                "/usr/local/sbin/postern-ipset",
                &format!("{here}/example"),
            )
        },
        &[("example", script)],
    );
    for (program, set, family) in [
        ("iptables", "postern4", "inet"),
        ("ip6tables", "postern6", "inet6"),
    ] {
        world.gate.sh(&format!(
            "set -e; ipset create {set} hash:net,port family {family} timeout 0
            {program} -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
            {program} -A INPUT -m set --match-set {set} src,dst -j ACCEPT
            {program} -A INPUT -p tcp --dport {SERVICE} -j DROP"
        ));
    }
    world.first.expect_both_shut_out();
    world.open_both("10m");
    world.second.expect_both_shut_out();
    let listed = world.gate.sh("ipset list postern4");
    assert!(listed.contains(&format!("10.77.0.2,tcp:{SERVICE} timeout 5")));
    world.daemon.asked(&["close", "--all"]);
    world.first.expect_both_shut_out();
    world.second.open("alice", Family::V4, &["--for", "3s"]);
    world.wait_until_closed();
    world.second.expect_shut_out(Family::V4);
    let left = world.gate.sh("ipset list");
    assert!(!left.contains("timeout 5"), "{left}");
}

/// `dist/examples/pf-anchor.sh` with a pfctl that keeps what it was given.
pub(crate) fn pf_example_loads_each_change(_: &'static str) {
    let script = include_str!("../../../dist/examples/pf-anchor.sh");
    let world = world(
        |here| {
            let config = config_of(
                script,
                "/usr/local/sbin/postern-pf",
                &format!("{here}/example"),
            );
            // The example with the pfctl of this test.
            config.replace("/run/postern/anchor.conf", &format!("{here}/anchor.conf"))
        },
        &[
            (
                "example",
                &script.replace("pfctl=/sbin/pfctl", "pfctl=${0%/*}/pfctl"),
            ),
            ("pfctl", PFCTL),
        ],
    );
    let loaded = || fs::read_to_string(world.folder().join("loaded")).unwrap_or_default();
    for family in FAMILIES {
        world.first.knock("alice", family, &["--for", "10m"]);
    }
    let grants = world.wait_for_grants(2);
    let [four, six] = [("inet", "10.77.0.2/32", 0), ("inet6", "fd77::2/128", 1)].map(
        |(inet, from, at)| {
            let id = grants[at].id.0;
            format!(
                "pass in quick {inet} proto tcp from {from} to any port {SERVICE}:{SERVICE} keep state # postern {id} tcp/{SERVICE}-{SERVICE}\n"
            )
        },
    );
    assert_eq!(loaded(), four + &six);
    let pfctl = fs::read_to_string(world.folder().join("pfctl-ran")).unwrap();
    let folder = world.folder().display();
    assert!(pfctl.starts_with(&format!("-q -a postern -f {folder}/anchor.conf\n")));

    let first = grants[0].id.to_string();
    world.daemon.asked(&["close", "--id", &first]);
    assert_eq!(loaded(), six);
}

const PFCTL: &str =
    "#!/bin/sh\necho \"$*\" >>\"${0%/*}/pfctl-ran\"\ncp \"$5\" \"${0%/*}/loaded\"\n";

/// The `[firewall.command]` that an example shows in its comment, with the program where the test has it.
fn config_of(script: &str, shown: &str, here: &str) -> String {
    let lines = script
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .skip_while(|line| *line != "[firewall.command]")
        .skip(1);
    let lines: Vec<String> = lines
        .take_while(|line| line.contains(" = ["))
        .map(|line| line.replace(shown, here))
        .collect();
    assert!(lines.len() >= 2, "the example shows no config any more");
    lines.join("\n") + "\n"
}
