//! The metrics in their three outputs, each read by a parser that monitoring systems use.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::DRIVER;
use postern_harness::world::checks::kill;
use postern_harness::{Family, GateConfig, LONGEST_WAIT, World, wait_for, wait_until};

/// Reads either form from standard input, strictly, and prints each sample with its labels and the type of its family.
const PARSER: &str = r#"
import importlib, json, sys
parser = importlib.import_module(sys.argv[1])
families = list(parser.text_string_to_metric_families(sys.stdin.read()))
assert len({family.name for family in families}) == len(families), "a family twice"
assert all(family.documentation for family in families), "a family without help"
for family in families:
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        print(json.dumps([f"{sample.name}{{{labels}}} {family.type}", sample.value]))
"#;

const OPEN_METRICS: &str = "prometheus_client.openmetrics.parser";
const OLDER: &str = "prometheus_client.parser";

type Samples = BTreeMap<String, f64>;

fn parsed(parser: &str, text: &str) -> Samples {
    let mut command = Command::new("/usr/bin/python3");
    command
        .args(["-c", PARSER, parser])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines()
        .map(|line| serde_json::from_str::<(String, f64)>(line).unwrap())
        .collect()
}

/// Two knocks that are admitted, of which one opens and one renews, one that is refused, and junk.
fn something_happens(world: &World) {
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    world.wait_for_grants(1);
    world.first.knock("alice", Family::V4, &["--for", "20m"]);
    world.first.knock("alice", Family::V6, &["-s", "tcp/1"]);
    (0..3).for_each(|_| world.first.send(Family::V4, &[7; 200]));
    world.daemon.wait_for_count("drop unknown-hint", 3);
    world.daemon.wait_for_count("refuse services", 1);
    world.daemon.wait_for_admitted(2);
    world.daemon.wait_for_lines(1, &["INFO", "open: grant"]);
    world.daemon.wait_for_lines(1, &["INFO", "extended: grant"]);
}

const EXPECTED: [(&str, f64); 12] = [
    ("postern_admitted_total{} counter", 2.0),
    ("postern_dropped_total{reason=unknown-hint} counter", 3.0),
    ("postern_dropped_total{reason=replay} counter", 0.0),
    ("postern_malformed_total{rule=padding} counter", 0.0),
    ("postern_refused_total{rule=services} counter", 1.0),
    ("postern_grants{} gauge", 1.0),
    ("postern_grants_opened_total{} counter", 1.0),
    ("postern_grants_extended_total{} counter", 1.0),
    ("postern_users{} gauge", 1.0),
    ("postern_engine_serving{} gauge", 1.0),
    ("postern_engine_starts_total{} counter", 1.0),
    ("postern_capture_listening{capture=any} gauge", 1.0),
];

fn expect_told(samples: &Samples) {
    for (name, value) in EXPECTED {
        assert_eq!(samples.get(name), Some(&value), "{name} in {samples:#?}");
    }
    let names_nobody = |name: &String| !name.contains("alice") && !name.contains("10.77");
    assert!(samples.keys().all(names_nobody), "{samples:#?}");
}

pub(crate) fn metrics_file_is_complete_and_removed() {
    let plan = GateConfig::new(DRIVER);
    let mut world = World::prepare(&plan);
    let path = world.folder().join("postern.prom");
    let section = format!(
        "[metrics]\nfile = \"{}\"\ninterval = \"1s\"",
        path.display()
    );
    world.rewrite(&plan.clone().section(&section));
    world.start_again();
    something_happens(&world);
    let text = wait_for("the figures in the file", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "half a file: {text}"
        );
        text.contains("\npostern_admitted_total 2\n")
            .then_some(text)
    });
    expect_told(&parsed(OLDER, &text));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    // An engine that has ended counts nothing, and its last counters are not repeated.
    kill(world.daemon.engine());
    let serves_again = |text: &str| {
        text.contains("\npostern_engine_starts_total 2\n")
            && text.contains("\npostern_engine_serving 1\n")
    };
    let text = wait_for("a second engine", || {
        fs::read_to_string(&path)
            .ok()
            .filter(|text| serves_again(text))
    });
    assert_eq!(parsed(OLDER, &text)["postern_grants{} gauge"], 1.0);

    // Where the config says another place, it moves there.
    let other = world.folder().join("other.prom");
    world.rewrite(
        &plan
            .clone()
            .section(&section.replace("postern.prom", "other.prom")),
    );
    world.daemon.signal(Signal::HUP);
    wait_until("the other file", || other.exists() && !path.exists());
    assert!(world.daemon.stop().success());
    assert!(!other.exists(), "figures of a daemon that has stopped");
    let left = fs::read_dir(world.folder()).unwrap();
    let mut names = left.map(|entry| entry.unwrap().file_name());
    let left = names.find(|name| name.to_string_lossy().contains("prom"));
    assert_eq!(left, None);
}

const FIRST: &str = "127.0.0.1:9162";
const SECOND: &str = "[::1]:9162";

fn connect(world: &World, address: &str, within: Duration) -> Result<TcpStream, ErrorKind> {
    let address: SocketAddr = address.parse().unwrap();
    let stream = world
        .gate
        .run(move || TcpStream::connect_timeout(&address, within).map_err(|error| error.kind()))?;
    stream.set_read_timeout(Some(LONGEST_WAIT)).unwrap();
    Ok(stream)
}

fn get(world: &World, address: &str, request: &str) -> String {
    let mut stream = connect(world, address, Duration::from_secs(5)).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn page(world: &World, address: &str) -> Samples {
    let answer = get(world, address, "GET /metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    for part in ["application/openmetrics-text; version=1.0.0", &length] {
        assert!(head.contains(part), "{head}");
    }
    parsed(OPEN_METRICS, body)
}

fn listening_on(address: &str) -> GateConfig {
    GateConfig::new(DRIVER).section(&format!("[metrics]\nlisten = \"{address}\""))
}

pub(crate) fn metrics_over_http_survive_reloads() {
    let mut world = World::start(&listening_on(FIRST));
    something_happens(&world);
    expect_told(&page(&world, FIRST));
    assert!(get(&world, FIRST, "GET /").starts_with("HTTP/1.1 404 "));
    assert!(get(&world, FIRST, "DELETE /metrics").starts_with("HTTP/1.1 405 "));
    assert!(
        world.first.connect(Family::V4, 9162).is_err(),
        "from outside nobody reads it"
    );

    // The socket goes from engine to engine, and where the config says another address, another one is bound.
    world.daemon.signal(Signal::HUP);
    world.daemon.wait_for_lines(2, &["the engine serves"]);
    let starts = page(&world, FIRST)["postern_engine_starts_total{} counter"];
    assert_eq!(starts, 2.0);
    world.rewrite(&listening_on(SECOND));
    world.daemon.signal(Signal::HUP);
    world.daemon.wait_for_lines(3, &["the engine serves"]);
    assert_eq!(page(&world, SECOND)["postern_users{} gauge"], 1.0);
    wait_for("the first address to be left", || {
        let attempt = connect(&world, FIRST, Duration::from_secs(5));
        (attempt.err() == Some(ErrorKind::ConnectionRefused)).then_some(())
    });
    world.restart();
    // The old grant, and the address is free again at once.
    assert_eq!(page(&world, SECOND)["postern_grants{} gauge"], 1.0);
}

/// Clients that send nothing, half a request, or an endless one delay only each other.
pub(crate) fn hostile_readers_delay_no_knock() {
    let world = World::start(&listening_on(FIRST));
    let mut held = Vec::new();
    for n in 0..40 {
        // Beyond those that wait for their turn the kernel lets nobody in.
        let Ok(mut stream) = connect(&world, FIRST, Duration::from_millis(300)) else {
            break;
        };
        match n % 3 {
            0 => {}
            1 => stream.write_all(b"GET /metr").unwrap(),
            _ => drop(stream.write_all(&[b'x'; 16_384])),
        }
        held.push(stream);
    }
    assert!(held.len() > 3 && held.len() < 40, "{}", held.len());
    for family in postern_harness::FAMILIES {
        world.first.open("alice", family, &["--for", "10m"]);
    }
    let tasks = format!("/proc/{}/task", world.daemon.engine());
    let threads = fs::read_dir(tasks).unwrap().count();
    assert!(threads < 16, "{threads} for {} connections", held.len());
    // Each is disconnected at its deadline, and the next one is served.
    for mut stream in held {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("postern_"));
    }
    assert_eq!(page(&world, FIRST)["postern_admitted_total{} counter"], 2.0);
}

pub(crate) fn metrics_address_in_use_is_one_error() {
    let mut world = World::prepare(&listening_on(FIRST));
    let taken = world
        .gate
        .run(|| std::net::TcpListener::bind(FIRST).unwrap());
    world.daemon.start_process(&world.gate);
    assert_eq!(world.daemon.wait().code(), Some(71));
    let said =
        "posternd: metrics.listen: listening on 127.0.0.1:9162 (is another program using it?): ";
    world.daemon.wait_for_lines(1, &[said]);
    drop(taken);
}
