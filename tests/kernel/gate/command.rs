//! The backend "command" in a real world: programs that write down what they are run for, and the two examples of `dist/`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;

use postern_harness::{FAMILIES, Family, GateConfig, SERVICE, World, run, text, wait_for};

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
        install(&world, name, text);
    }
    let plan = GateConfig::new("command")
        .firewall("protect = \"none\"")
        .firewall(&format!("[firewall.command]\n{}", programs(&here)));
    world.rewrite(&plan);
    world.start_again();
    world
}

/// Puts a program of root's own into the folder.
fn install(world: &World, name: &str, text: &str) {
    let path = world.folder().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn writing() -> World {
    let line = |here: &str, action: &str| {
        format!(
            "{action} = [\"{here}/writer\", \"{here}\", \"{action}\", \"{{user}}\", \"{{allow}}\", \"{{service}}\"]\n"
        )
    };
    world(|here| line(here, "open") + &line(here, "close"), &[])
}

fn ran(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.folder().join("ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn wait_for_ran(world: &World, count: usize) -> Vec<String> {
    wait_for(&format!("{count} runs of the program"), || {
        Some(ran(world)).filter(|ran| ran.len() >= count)
    })
}

fn fail(world: &World, lines: &str) {
    fs::write(world.folder().join("failures"), lines).unwrap();
}

fn journal(world: &World) -> PathBuf {
    world.folder().join("state.monitor/grants")
}

pub(crate) fn command_opens_and_closes(_: &'static str) {
    let mut world = writing();
    assert_eq!(
        world
            .daemon
            .logged(&["the kernel does not end grants by itself"])
            .len(),
        1,
        "{}",
        world.daemon.log()
    );
    let folder = journal(&world).parent().unwrap().metadata().unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    world.first.knock("alice", Family::V4, &["-s", "tcp/23"]);
    world.daemon.wait_for_count("refuse services", 1);
    assert_eq!(ran(&world), Vec::<String>::new());
    world.first.knock("alice", Family::V4, &["--for", "2s"]);
    world.first.knock("alice", Family::V6, &["--for", "10m"]);
    world.wait_for_grants(2);
    wait_for("the first grant's end", || {
        (world.daemon.grants().len() == 1).then_some(())
    });
    let mut expected = vec![
        format!("open alice 10.77.0.2/32 tcp/{SERVICE}"),
        format!("open alice fd77::2/128 tcp/{SERVICE}"),
        format!("close alice 10.77.0.2/32 tcp/{SERVICE}"),
    ];
    assert_eq!(wait_for_ran(&world, 3), expected);
    assert!(world.daemon.stop().success());
    expected.push(format!("close alice fd77::2/128 tcp/{SERVICE}"));
    assert_eq!(
        ran(&world),
        expected,
        "nobody would close it after the stop"
    );
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
    assert_eq!(
        ran(&world),
        [
            format!("open alice 10.77.0.2/32 tcp/{SERVICE}"),
            format!("close alice 10.77.0.2/32 tcp/{SERVICE}")
        ]
    );
    assert_eq!(world.daemon.grants(), []);
}

pub(crate) fn command_closes_after_a_kill(_: &'static str) {
    let mut world = writing();
    world.first.knock("alice", Family::V4, &["--for", "2s"]);
    world.first.knock("alice", Family::V6, &["--for", "10m"]);
    let grants = world.wait_for_grants(2);
    kill(&mut world);
    let end = grants.iter().map(|grant| grant.until).min().unwrap();
    wait_for("the first grant's end", || {
        (postern::adapters::clock::wall() > end).then_some(())
    });
    assert_eq!(ran(&world).len(), 2, "nobody is there to close");
    world.start_again();
    assert_eq!(
        wait_for_ran(&world, 3)[2],
        format!("close alice 10.77.0.2/32 tcp/{SERVICE}")
    );
    assert_eq!(
        world.daemon.grants(),
        [grants.into_iter().max_by_key(|grant| grant.until).unwrap()],
        "the other keeps its time"
    );
    world.daemon.asked(&["close", "--all"]);
    assert_eq!(
        ran(&world)[3],
        format!("close alice fd77::2/128 tcp/{SERVICE}")
    );
}

fn kill(world: &mut World) {
    let engine = world.daemon.engine();
    world.daemon.signal(Signal::KILL);
    world.daemon.wait();
    wait_for("the engine to end with its monitor", || {
        (!PathBuf::from(format!("/proc/{engine}/exe")).exists()).then_some(())
    });
}

pub(crate) fn failed_close_command_is_retried(_: &'static str) {
    let world = writing();
    fail(&world, "close\nclose\nclose\n");
    world.first.knock("alice", Family::V4, &["--for", "1s"]);
    let ran = wait_for_ran(&world, 5);
    assert_eq!(
        ran[1..],
        vec![format!("close alice 10.77.0.2/32 tcp/{SERVICE}"); 4]
    );
    world.wait_until_closed();
    assert_eq!(
        world
            .daemon
            .wait_for_lines(3, &["not closed, trying again", "the set is busy"])
            .len(),
        3
    );
    wait_for("the journal to forget it", || {
        (!fs::read_to_string(journal(&world))
            .unwrap()
            .contains("alice"))
        .then_some(())
    });
}

pub(crate) fn damaged_journal_stops_the_start(_: &'static str) {
    let mut world = writing();
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    world.wait_for_grants(1);
    kill(&mut world);
    let whole = fs::read_to_string(journal(&world)).unwrap();
    postern::adapters::files::write_private(
        &journal(&world),
        whole.replace("alice", "alick").as_bytes(),
        true,
    )
    .unwrap();
    world.daemon.start_process(&world.gate);
    assert_eq!(
        world.daemon.wait().code(),
        Some(69),
        "{}",
        world.daemon.log()
    );
    assert_eq!(
        world
            .daemon
            .logged(&["state.monitor/grants", "is damaged", "close by hand"])
            .len(),
        1,
        "{}",
        world.daemon.log()
    );
    let checked = world.daemon.at_gate(&world.gate, &["check"]);
    assert!(text(&checked).contains("is damaged"), "{}", text(&checked));
    postern::adapters::files::write_private(&journal(&world), whole.as_bytes(), true).unwrap();
    let flushed = world.daemon.at_gate(&world.gate, &["flush"]);
    assert!(
        text(&flushed).contains("command: closed 1 grant"),
        "{flushed:?}"
    );
    assert_eq!(
        ran(&world)[1],
        format!("close alice 10.77.0.2/32 tcp/{SERVICE}")
    );
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
    for line in [
        "ipset create postern4 hash:net,port timeout 0",
        "ipset create postern6 hash:net,port family inet6 timeout 0",
    ] {
        at_gate(&world, line);
    }
    for (program, set) in [("iptables", "postern4"), ("ip6tables", "postern6")] {
        at_gate(
            &world,
            &format!("{program} -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
        );
        at_gate(
            &world,
            &format!("{program} -A INPUT -m set --match-set {set} src,dst -j ACCEPT"),
        );
        at_gate(
            &world,
            &format!("{program} -A INPUT -p tcp --dport {SERVICE} -j DROP"),
        );
    }
    world.first.expect_both_shut_out();
    for family in FAMILIES {
        world.first.knock("alice", family, &["--for", "10m"]);
        world.first.expect_let_in(family);
        world.second.expect_shut_out(family);
    }
    assert!(
        at_gate(&world, "ipset list postern4")
            .contains(&format!("10.77.0.2,tcp:{SERVICE} timeout 5"))
    );
    world.daemon.asked(&["close", "--all"]);
    world.first.expect_both_shut_out();
    world.second.knock("alice", Family::V4, &["--for", "3s"]);
    world.second.expect_let_in(Family::V4);
    world.wait_until_closed();
    world.second.expect_shut_out(Family::V4);
    assert!(
        !at_gate(&world, "ipset list").contains("timeout 5"),
        "nothing is left in the sets"
    );
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
    let ids: Vec<u64> = world
        .wait_for_grants(2)
        .iter()
        .map(|grant| grant.id.0)
        .collect();
    let rule = |id: u64, inet: &str, from: &str| {
        let ports = format!("{SERVICE}:{SERVICE}");
        format!(
            "pass in quick {inet} proto tcp from {from} to any port {ports} keep state # postern {id} tcp/{SERVICE}-{SERVICE}\n"
        )
    };
    let (four, six) = (
        rule(ids[0], "inet", "10.77.0.2/32"),
        rule(ids[1], "inet6", "fd77::2/128"),
    );
    assert_eq!(loaded(), four.clone() + &six);
    let pfctl = fs::read_to_string(world.folder().join("pfctl-ran")).unwrap();
    assert_eq!(
        pfctl.lines().next(),
        Some(&*format!(
            "-q -a postern -f {}/anchor.conf",
            world.folder().display()
        ))
    );

    world.daemon.asked(&["close", "--id", &ids[0].to_string()]);
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

fn at_gate(world: &World, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let ran = run(&world.gate, words[0], &words[1..]);
    assert!(
        ran.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    text(&ran)
}
