//! Users of a roster: they open like local ones, and what they have open ends when a newer roster has them no longer.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_harness::traffic::serve_echo;
use postern_harness::world::{key, seed};
use postern_harness::{Family, GateConfig, SERVICE, World, echoes, wait_for, wait_until};
use postern_proto::PrivateKey;
use std::net::TcpListener;

use super::wiped::traces;

/// Another hidden service, which answers.
const ECHO: u16 = 2200;

/// A gate with a roster in force that has alice, and a local user.
fn start(backend: &'static str, section: &str) -> World {
    // alice's profile is written with a config that has her.
    let mut world = World::prepare(&GateConfig::new(backend));
    let (gate_key, config) = (
        PrivateKey::from_bytes(seed("the gate")),
        GateConfig::empty(backend),
    );
    world.write(
        "gate.key",
        &format!("{}\n", STANDARD.encode(seed("the gate"))),
    );
    world.write("alice.key", &format!("{}\n", key("alice")));
    let gate = format!("--gate=gate.test={}", gate_key.public());
    let said = author(&world, &["init", &gate]);
    let trust = said.lines().last().unwrap().trim();
    let config = config
        .member("local", "")
        .gate("private_key = \"gate.key\"");
    world.rewrite(&config.section(&format!("[roster]\n{trust}\n{section}")));
    let fleet = world.folder().join("fleet.toml");
    let services = format!("[\"tcp/{SERVICE}\", \"tcp/{ECHO}\"]\nend_connections = true");
    let text = fs::read_to_string(&fleet)
        .unwrap()
        .replace("[\"tcp/22\"]", &services);
    fs::write(&fleet, text).unwrap();
    let alice = world.folder().join("alice.key").display().to_string();
    author(&world, &["add", "alice", "--key-file", &alice]);
    apply(&world);
    world.start_again();
    world
}

/// Runs `posternd roster` on `fleet.toml`, signed with `sign.key`.
fn author(world: &World, arguments: &[&str]) -> String {
    let path = |name| world.folder().join(name).display().to_string();
    let (file, key) = (path("fleet.toml"), path("sign.key"));
    let options = ["--roster", &file, "--signing-key", &key];
    let arguments = [&["roster"], arguments, &options].concat();
    let ran = postern_harness::run(&world.gate, postern_harness::posternd(), &arguments);
    assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

fn apply(world: &World) -> std::process::Output {
    let file = world.folder().join("fleet.toml").display().to_string();
    world
        .daemon
        .at_gate(&world.gate, &["roster", "apply", &file])
}

pub(crate) fn removed_roster_user_loses_everything(backend: &'static str) {
    let world = start(backend, "");
    serve_echo(world.gate.run(|| TcpListener::bind(("::", ECHO)).unwrap()));
    let echo = format!("tcp/{ECHO}");
    let options = ["-s", &echo, "-s", "tcp/2222", "--for", "10m", "--wait=20s"];
    world.first.knock("alice", Family::V4, &options);
    let mut session = world.first.connect(Family::V4, ECHO).unwrap();
    assert!(echoes(&mut session));
    world.first.expect_let_in(Family::V4);
    let copy = ["fleet.toml", "fleet.toml.minisig"].map(|name| {
        let path = world.folder().join(name);
        (fs::read(&path).unwrap(), path)
    });
    author(&world, &["remove", "alice"]);
    // The reload fails after the roster was taken: the same one is loaded later.
    let config = world.folder().join("posternd.toml");
    let good = fs::read_to_string(&config).unwrap();
    let other = good.replace("run_as = \"daemon\"", "run_as = \"nobody\"");
    fs::write(&config, other).unwrap();
    let failed = apply(&world);
    let said = String::from_utf8_lossy(&failed.stdout);
    assert!(
        !failed.status.success() && said.contains(" is taken: "),
        "{failed:?}"
    );
    fs::write(&config, good).unwrap();
    let done = apply(&world);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains(" is confirmed: "),
        "{done:?}"
    );
    world.wait_until_closed();
    world.first.expect_both_shut_out();
    wait_until("the session to end", || !echoes(&mut session));
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    world.first.knock("alice", Family::V4, &[]);
    world.daemon.wait_for_count("drop unknown-hint", 1);
    world.expect_nothing_open();
    // The roster of before is refused, and the metrics tell.
    for (bytes, path) in copy {
        fs::write(path, bytes).unwrap();
    }
    let refused = apply(&world);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("refused, older:"),
        "{said}"
    );
    wait_for("the refusal in the metrics", || {
        let metrics = world.at_gate(&["metrics"]);
        let counted = metrics.contains("postern_roster_refused_total{reason=\"older\"} 1");
        (counted && metrics.contains("postern_roster_version 3")).then_some(())
    });
}

/// What is open stays until its end, and metrics and `check` say why each was refused.
pub(crate) fn bad_rosters_leave_grants_open(backend: &'static str) {
    let world = start(backend, "");
    world.first.open("alice", Family::V4, &["--for", "10m"]);
    let open = world.wait_for_grants(1);
    let names = ["fleet.toml", "fleet.toml.minisig"];
    let paths = names.map(|name| world.folder().join(name));
    let files = || {
        paths
            .each_ref()
            .map(|path| fs::read_to_string(path).unwrap())
    };
    let older = files();
    fs::write(&paths[0], older[0].clone() + "# a newer one\n").unwrap();
    author(&world, &["sign"]);
    assert!(apply(&world).status.success());
    let [text, signatures] = files();
    let until = text.lines().find(|line| line.starts_with("until")).unwrap();
    let newer = text.replace("version = 3", "version = 9");
    let ended = newer.replace(until, "until = 2026-01-01T00:00:00Z");
    let other = newer.replace("\"gate.test\"", "\"other.test\"");
    for (reason, [text, signatures], is_signed) in [
        ("unsigned", [text.clone(), String::new()], false),
        (
            "bad-signature",
            [text[..text.len() - 1].to_owned(), signatures],
            false,
        ),
        ("older", older, false),
        ("expired", [ended, String::new()], true),
        ("other-gate", [other, String::new()], true),
    ] {
        fs::write(&paths[0], text).unwrap();
        fs::write(&paths[1], signatures).unwrap();
        if is_signed {
            author(&world, &["sign"]);
        }
        let refused = apply(&world);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            said.contains(&format!("refused, {reason}:")),
            "{reason}: {refused:?}"
        );
        let line = format!("postern_roster_refused_total{{reason=\"{reason}\"}} 1");
        wait_until(&line, || world.at_gate(&["metrics"]).contains(&line));
        let check = world.daemon.at_gate(&world.gate, &["check"]).stdout;
        let check = String::from_utf8_lossy(&check).into_owned();
        assert!(check.contains(&format!(", {reason}: ")), "{check}");
        assert_eq!(world.daemon.grants(), open, "{reason}");
    }
    world.first.expect_let_in(Family::V4);
}

/// Lets the gate think that it took the roster earlier, so that it is stale after so many seconds.
fn stale_in(world: &World, max_age: u64, seconds: u64) {
    let path = world.folder().join("state.monitor/roster");
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| line.starts_with("confirmed"));
    let now = jiff::Timestamp::now().as_millisecond() as u64;
    let then = format!("confirmed = {}", now - (max_age - seconds) * 1000);
    fs::write(&path, text.replace(line.unwrap(), &then)).unwrap();
}

pub(crate) fn roster_keys_are_wiped_from_memory(backend: &'static str) {
    let world = start(backend, "");
    let kept = world.folder().join("state.monitor/roster.part");
    // The part is kept, and then it is made anew from the roster.
    for is_kept in [true, false] {
        for pid in [world.daemon.pid(), world.daemon.engine()] {
            let found = traces(pid, &["the key of alice", "the gate"]);
            assert_eq!(found, [""; 0], "in {pid}, kept: {is_kept}");
        }
        fs::remove_file(&kept).unwrap();
        let before = world.daemon.engine();
        world.at_gate(&["reload"]);
        wait_until("the old engine to end", || {
            !fs::exists(format!("/proc/{before}")).unwrap()
        });
        assert!(fs::exists(&kept).unwrap());
    }
}

pub(crate) fn stale_roster_admits_no_user(backend: &'static str) {
    let mut world = start(backend, "max_age = \"1h\"");
    let options = ["--for", "10m"];
    stale_in(&world, 3600, 15);
    world.at_gate(&["reload"]);
    world.first.knock("alice", Family::V4, &options);
    let grants = world.wait_for_grants(1);
    let left = grants[0].until.since(postern::adapters::clock::wall());
    assert!(left.as_secs() <= 15, "the grant lasts longer: {left:?}");
    world.first.expect_let_in(Family::V4);
    world.wait_until_closed();
    world.first.expect_both_shut_out();
    world.first.knock("alice", Family::V4, &options);
    world.daemon.wait_for_count("refuse expired", 1);
    let check = world.daemon.at_gate(&world.gate, &["check"]).stdout;
    let check = String::from_utf8_lossy(&check).into_owned();
    assert!(
        check.contains("its users are refused (stale = \"strict\")"),
        "{check}"
    );
    let metrics = world.at_gate(&["metrics"]);
    for line in [
        "postern_refused_total{rule=\"expired\"} 1",
        "postern_roster_stale_time_seconds ",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // Nor after a restart, but those of the config.
    world.restart();
    world.first.knock("alice", Family::V4, &options);
    world.daemon.wait_for_count("refuse expired", 1);
    world.expect_nothing_open();
    world.first.open("local", Family::V4, &[]);
    world.first.close("local", Family::V4);
    // The same roster again confirms it. What is open then stays, also when it is stale once more and only a warning is wanted.
    assert!(apply(&world).status.success());
    world.first.open("alice", Family::V4, &options);
    stale_in(&world, 3600, 0);
    let config = world.folder().join("posternd.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("max_age", "stale = \"best_effort\"\nmax_age");
    fs::write(&config, text).unwrap();
    world.at_gate(&["reload"]);
    world.wait_for_grants(1);
    world.first.open("alice", Family::V6, &options);
    let check = world.daemon.at_gate(&world.gate, &["check"]).stdout;
    let check = String::from_utf8_lossy(&check).into_owned();
    assert!(check.contains("its users are still admitted"), "{check}");
}
