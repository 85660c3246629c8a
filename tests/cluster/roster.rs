//! Rosters of the coordinator: every gate takes a newer one by itself, and ends what a removed user has open.
//!
//! POSTERN_GATES sets how many gates there are. Each is a whole posternd in a namespace of its own, on this machine.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::core::roster::minisign::SecretKey;
use postern::core::roster::published::{HEAD, Head, PART_MAX};
use postern::core::roster::sealed;
use postern_harness::world::{GATE_NAME, key, seed};
use postern_harness::{KnockMaker, SERVICE, number, say, text, wait_until};
use postern_proto::PrivateKey;

use super::claims::Test;
use super::fleet::{Fleet, GATE_KEY, folder};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "roster_ends_grants_at_every_gate",
        roster_ends_grants_at_every_gate,
    ),
    (
        "new_roster_is_watched_and_not_polled",
        new_roster_is_watched_and_not_polled,
    ),
    (
        "roster_may_be_long_but_not_forged",
        roster_may_be_long_but_not_forged,
    ),
    (
        "part_that_is_too_long_is_replaced",
        part_that_is_too_long_is_replaced,
    ),
    (
        "older_roster_at_the_coordinator_is_told",
        older_roster_at_the_coordinator_is_told,
    ),
];

fn signer() -> SecretKey {
    SecretKey::from_random([1; 8], &zeroize::Zeroizing::new(seed("a signer")))
}

fn section(more: &str) -> String {
    let trust = signer().public().line();
    format!("[roster]\ntrust = [\"{trust}\"]\nfrom = \"coordinator\"\n{more}")
}

/// A roster with these users, each with a sealed key.
fn roster(version: u64, users: &[&str]) -> String {
    let own = PrivateKey::from_bytes(seed(GATE_KEY)).public();
    let mut text = format!(
        "version = {version}\nuntil = 2100-01-01T00:00:00Z\n[gate.\"{GATE_NAME}\"]\n[policy.p]\nservices = [\"tcp/{SERVICE}\"]\nquota = \"1000/s\"\nmax_grants = 1000\nduration = \"5m\"\n"
    );
    for name in users {
        let secret = format!("key = \"{}\"\n", key(name));
        let fresh = PrivateKey::from_bytes(seed(&format!("{name} {version}")));
        let sealed = sealed(GATE_NAME, &own, name, &secret, &fresh).unwrap();
        text += &format!(
            "[[user]]\nname = \"{name}\"\npolicy = \"p\"\ngates = [\"{GATE_NAME}\"]\nsealed = {{ \"{GATE_NAME}\" = \"{sealed}\" }}\n"
        );
    }
    text
}

/// What `posternd roster publish` says of this text, at the first gate.
fn publish(fleet: &Fleet, folder: &Path, roster: &str) -> String {
    let file = folder.join("fleet.toml");
    fs::write(&file, roster).unwrap();
    let signed = signer().sign(roster.as_bytes(), "").lines();
    fs::write(folder.join("fleet.toml.minisig"), signed).unwrap();
    let ran = fleet.gates[0].at_gate(&["roster", "publish", &file.display().to_string()]);
    text(&ran) + &String::from_utf8_lossy(&ran.stderr)
}

fn wait_for_metric(fleet: &Fleet, line: &str) {
    for gate in &fleet.gates {
        wait_until(line, || {
            text(&gate.daemon.asked(&["metrics"])).contains(line)
        });
    }
}

fn roster_ends_grants_at_every_gate(kind: &'static str) {
    let gates = u8::try_from(number("POSTERN_GATES", 3)).unwrap();
    let fleet = Fleet::start_with(kind, gates, &section(""));
    let own = folder();
    let said = publish(&fleet, own.path(), &roster(1, &["carol", "dave"]));
    assert!(
        said.starts_with("roster version 1 is at the coordinator: 2 users"),
        "{said}"
    );
    wait_for_metric(&fleet, "postern_roster_version 1\n");
    fleet.wait_until_back();
    let knocks = KnockMaker::new("carol");
    for (number, gate) in (0_u8..).zip(&fleet.gates) {
        wait_until("carol to be admitted", || {
            let knock = knocks.open([10, 98, 0, number].into(), SERVICE, 300);
            fleet.deliver_to(gate, &knock);
            std::thread::sleep(Duration::from_millis(200));
            !gate.daemon.grants().is_empty()
        });
    }
    let before = jiff::Timestamp::now();
    publish(&fleet, own.path(), &roster(2, &["dave"]));
    for gate in &fleet.gates {
        wait_until("the grants of carol to end", || {
            gate.daemon.grants().is_empty()
        });
    }
    let mut times: Vec<f64> = fleet
        .gates
        .iter()
        .map(|gate| closed_after(&gate.daemon.log(), before))
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let figures = format!(
        "{kind}: {gates} gates closed the grants of a removed user within {:.2} s (50 %), {:.2} s (99 %), {:.2} s (all)",
        at(50),
        at(99),
        at(100)
    );
    say(&figures);
    // The one before does not come back.
    let said = publish(&fleet, own.path(), &roster(1, &["carol", "dave"]));
    assert!(
        said.contains("refused, older: the coordinator has version 2"),
        "{said}"
    );
    // Somebody else has made another version 2.
    let said = publish(&fleet, own.path(), &roster(2, &["carol", "dave"]));
    assert!(
        said.contains("refused, older: the coordinator has another roster of version 2"),
        "{said}"
    );
}

/// What the coordinator answers until it closes the connection.
fn ask(fleet: &Fleet, kind: &str, request: &str) -> String {
    let port = if kind == "redis" { 6379 } else { 2379 };
    let mut stream = fleet
        .space
        .run(move || TcpStream::connect(("127.0.0.1", port)).unwrap());
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

/// Writes a value as somebody with access to the coordinator can.
fn write(fleet: &Fleet, kind: &str, name: &str, value: &str) {
    let key = format!("/postern/{name}");
    let (request, done) = if kind == "redis" {
        let (key_len, len) = (key.len(), value.len());
        let set = format!("*3\r\n$3\r\nSET\r\n${key_len}\r\n{key}\r\n${len}\r\n{value}\r\n");
        (set + "QUIT\r\n", "+OK")
    } else {
        let [key, value] = [&*key, value].map(|text| STANDARD.encode(text));
        let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
        let length = body.len();
        let head = format!("POST /v3/kv/put HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
        (head + &body, " 200 OK")
    };
    let said = ask(fleet, kind, &request);
    assert!(said.contains(done), "{said}");
}

/// How often the coordinator was asked for a value.
fn reads(fleet: &Fleet, kind: &str) -> u64 {
    let (request, count) = match kind {
        "redis" => ("INFO commandstats\r\nQUIT\r\n", "cmdstat_get:calls="),
        _ => (
            "GET /metrics HTTP/1.0\r\n\r\n",
            "grpc_server_started_total{grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} ",
        ),
    };
    let said = ask(fleet, kind, request);
    let (_, number) = said.split_once(count).unwrap_or(("", "0"));
    let digits = number.find(|c: char| !c.is_ascii_digit());
    number[..digits.unwrap_or(number.len())].parse().unwrap()
}

fn new_roster_is_watched_and_not_polled(kind: &'static str) {
    let fleet = Fleet::start_with(kind, 1, &section(""));
    let own = folder();
    publish(&fleet, own.path(), &roster(1, &["carol"]));
    wait_for_metric(&fleet, "postern_roster_version 1\n");
    fleet.wait_until_back();
    // A look each second would be at least nine reads. A slow one, and the check of the coordinator, are up to four.
    let (before, start) = (reads(&fleet, kind), Instant::now());
    wait_until("ten seconds", || start.elapsed() > Duration::from_secs(10));
    let asked = reads(&fleet, kind) - before;
    assert!(asked < 7, "{asked} reads in ten seconds");
    // Each is told before the next slow look.
    for version in [2, 3] {
        publish(&fleet, own.path(), &roster(version, &["carol"]));
        let start = Instant::now();
        wait_for_metric(&fleet, &format!("postern_roster_version {version}\n"));
        assert!(start.elapsed() < Duration::from_secs(20), "{version}");
    }
}

/// The time from then to the last grant that this log says is closed, in seconds.
fn closed_after(log: &str, then: jiff::Timestamp) -> f64 {
    let line = log
        .lines()
        .rfind(|line| line.contains("were closed"))
        .unwrap();
    let time: jiff::Timestamp = line.split(' ').next().unwrap().parse().unwrap();
    time.duration_since(then).as_secs_f64()
}

fn roster_may_be_long_but_not_forged(kind: &'static str) {
    let fleet = Fleet::start_with(kind, 1, &section("max_age = \"60s\""));
    let own = folder();
    // Longer than a request to etcd may be.
    let long = roster(3, &["carol"]) + &"# a comment that nobody needs\n".repeat(100_000);
    assert!(long.len() > 2 << 20);
    publish(&fleet, own.path(), &long);
    wait_for_metric(&fleet, "postern_roster_version 3\n");
    // The owner of the coordinator writes another key's signature beside a newer one.
    let other = roster(4, &["mallory"]);
    let file = own.path().join("fleet.toml");
    fs::write(&file, &other).unwrap();
    let stranger = SecretKey::from_random([1; 8], &zeroize::Zeroizing::new(seed("a stranger")));
    let signed = stranger.sign(other.as_bytes(), "").lines();
    fs::write(own.path().join("fleet.toml.minisig"), signed).unwrap();
    let config = fleet.gates[0].config();
    let trusting = fs::read_to_string(&config).unwrap();
    let trusting = trusting.replace(&signer().public().line(), &stranger.public().line());
    let theirs = config.with_file_name("theirs.toml");
    fs::write(&theirs, trusting).unwrap();
    fs::set_permissions(&theirs, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = file.display().to_string();
    // A config with another folder for its state, which has no roster of the gate's signer.
    let state = fs::read_to_string(&theirs)
        .unwrap()
        .replace("/state\"", "/theirs\"");
    fs::write(&theirs, state).unwrap();
    let ran = fleet.gates[0].posternd(&[
        "roster",
        "publish",
        &file,
        "--config",
        &theirs.display().to_string(),
    ]);
    assert!(ran.status.success(), "{ran:?}");
    wait_for_metric(
        &fleet,
        "postern_roster_refused_total{reason=\"bad-signature\"} 1\n",
    );
    wait_for_metric(&fleet, "postern_roster_version 3\n");
    // A better one follows, and the gate takes that.
    publish(&fleet, own.path(), &roster(5, &["dave"]));
    wait_for_metric(&fleet, "postern_roster_version 5\n");
}

fn part_that_is_too_long_is_replaced(kind: &'static str) {
    let fleet = Fleet::start_with(kind, 1, &section(""));
    let own = folder();
    publish(&fleet, own.path(), &roster(3, &["carol"]));
    wait_for_metric(&fleet, "postern_roster_version 3\n");
    let forged = Head::new(9, &"0".repeat(16), 1, 1);
    let part = forged.parts().next().unwrap();
    // The first is found in the value, the second before the value is read to its end.
    for (version, length) in [(4, PART_MAX + 1), (5, 2 * PART_MAX)] {
        write(&fleet, kind, &part, &"x".repeat(length));
        write(&fleet, kind, HEAD, &forged.write());
        let said = publish(&fleet, own.path(), &roster(version, &["carol"]));
        assert!(said.contains("is at the coordinator: 1 user"), "{said}");
        wait_for_metric(&fleet, &format!("postern_roster_version {version}\n"));
    }
    write(&fleet, kind, HEAD, &"9".repeat(100_000));
    publish(&fleet, own.path(), &roster(6, &["carol"]));
    wait_for_metric(&fleet, "postern_roster_version 6\n");
    // A trusted one is not replaced.
    let said = publish(&fleet, own.path(), &roster(5, &["carol"]));
    assert!(
        said.contains("refused, older: the coordinator has version 6"),
        "{said}"
    );
}

fn older_roster_at_the_coordinator_is_told(kind: &'static str) {
    let fleet = Fleet::start_with(kind, 1, &section(""));
    let own = folder();
    publish(&fleet, own.path(), &roster(1, &["carol"]));
    wait_for_metric(&fleet, "postern_roster_version 1\n");
    let newer = roster(2, &["carol"]);
    let file = own.path().join("newer.toml");
    fs::write(&file, &newer).unwrap();
    let signed = signer().sign(newer.as_bytes(), "").lines();
    fs::write(own.path().join("newer.toml.minisig"), signed).unwrap();
    let ran = fleet.gates[0].at_gate(&["roster", "apply", &file.display().to_string()]);
    assert!(ran.status.success(), "{ran:?}");
    let refused = "postern_roster_refused_total{reason=\"older\"} 1\n";
    wait_for_metric(&fleet, refused);
    wait_for_metric(&fleet, "postern_roster_version 2\n");
    let said = text(&fleet.gates[0].at_gate(&["check"]));
    assert!(
        said.contains("older: its version 1 is not higher than 2"),
        "{said}"
    );
}
