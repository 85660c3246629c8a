//! Every exit status, and the one line that goes with it.

use std::fs::{Permissions, set_permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use assert_cmd::Command;
use serde_json::Value;

use crate::gate::FakeGate;
use crate::program::{GATE, Home, key, postern, program, run};

fn says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part}\n{line}");
    }
}

/// A whole knock to a gate that is not there, but for what the test adds.
fn knock(more: &[&str]) -> Command {
    let mut command = postern(&[&["knock", "--gate", GATE, "-s", "tcp/22"], more].concat());
    command.env("POSTERN_KEY", key(1));
    command
}

#[test]
fn a_wrong_command_line_is_2() {
    for (arguments, part) in [
        (&[][..], "no command; try postern --help"),
        (&["knock"], "<PROFILE>"),
        (&["open"], "unrecognized subcommand 'open'"),
        (
            &["knock", "home", "--colour"],
            "unexpected argument '--colour'",
        ),
        (
            &["knock", "home", "-s", "tcp/0"],
            "\"tcp/0\" is not a service; write tcp/22",
        ),
        (
            &["knock", "home", "--for", "30"],
            "\"30\" is not a length of time; write it like 30s",
        ),
        (
            &["knock", "home", "--for", "0s"],
            "\"0s\" is not a length that can be granted; ",
        ),
        (
            &["knock", "home", "--allow", "192.0.2.1/24"],
            "has bits beyond its prefix; write 192.0.2.0/24",
        ),
        (
            &["knock", "home", "--address", "gate:0"],
            "\"gate:0\" is not an address to knock at; ",
        ),
        (
            &["knock", "home", "--gate", ""],
            "a gate name must have 1 to 255 bytes",
        ),
        (
            &["knock", "home", "--print", "--dry-run"],
            "cannot be used with",
        ),
        (
            &["knock", "home", "--print", "--wait"],
            "cannot be used with",
        ),
        (&["knock", "home", "-4", "-6"], "cannot be used with"),
        (&["close", "home", "--wait"], "unexpected argument '--wait'"),
        (
            &["knock", "--gate", GATE, "-s", "tcp/22"],
            "no key for gate.example.org; name it in the profile or with --key-file",
        ),
    ] {
        says(&run(&mut postern(arguments)).failed(2), &[part]);
    }
    let nothing = run(postern(&["knock", "--gate", "127.0.0.1"]).env("POSTERN_KEY", key(1)));
    says(
        &nothing.failed(2),
        &["no service to open; name one with -s tcp/22"],
    );
    let no_tcp = run(
        postern(&["knock", "--gate", "127.0.0.1", "-s", "udp/53", "--wait"])
            .env("POSTERN_KEY", key(1)),
    );
    says(&no_tcp.failed(2), &["--wait needs a TCP port to try; "]);
    let both = run(postern(&["open-packet", "--gate", GATE, "--key-stdin"]).write_stdin("x"));
    says(
        &both.failed(2),
        &["key and packet cannot both come from standard input; "],
    );
}

#[test]
fn seventeen_services_are_2_and_nothing_is_sent() {
    let gate = FakeGate::v4();
    let address = gate.address().to_string();
    let ports: Vec<String> = (1..=16).map(|port| format!("tcp/{port}")).collect();
    let services: Vec<&str> = ports.iter().flat_map(|port| ["-s", port]).collect();
    let line = run(&mut knock(
        &[&["--address", &address], &services[..]].concat(),
    ))
    .failed(2);
    says(
        &line,
        &["17 services are more than one knock can ask for (16); "],
    );
    gate.heard_nothing();
}

#[test]
fn help_and_version_are_0_and_no_complaint() {
    assert!(run(&mut postern(&["--help"])).ok().contains("Exit status:"));
    assert!(
        run(&mut postern(&["knock", "--help"]))
            .ok()
            .ends_with("Print version\n")
    );
    assert_eq!(
        run(&mut postern(&["--version"])).ok(),
        format!("postern {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_port_that_does_not_open_is_3_after_the_knock_was_told() {
    let gate = FakeGate::v4();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = gate.address().to_string();
    let service = format!("tcp/{}", closed.port());
    let arguments = [
        "knock",
        "--gate",
        GATE,
        "--address",
        &address,
        "-s",
        &service,
        "--wait=200ms",
    ];
    let ran = run(postern(&arguments).env("POSTERN_KEY", key(1)));
    assert_eq!(ran.code, 3);
    assert!(
        ran.out.starts_with("knocked ") && ran.out.lines().count() == 1,
        "{}",
        ran.out
    );
    assert!(
        ran.err
            .starts_with(&format!("postern: {service} did not open within 200ms; "))
            && ran.err.lines().count() == 1,
        "{}",
        ran.err
    );
    let ran = run(postern(&[&arguments[..], &["--json"]].concat()).env("POSTERN_KEY", key(1)));
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &said["wait"]["open"]), (3, &Value::Bool(false)));
}

#[test]
fn a_missing_file_is_66() {
    let home = Home::new();
    says(
        &home.run(&["knock", "home"]).failed(66),
        &["config.toml", "does not exist; "],
    );
    says(
        &run(&mut knock(&["--key-file", "/nonexistent/key"])).failed(66),
        &["/nonexistent/key", "; "],
    );
    let by_default = run(postern(&["knock", "home"]).env("XDG_CONFIG_HOME", home.path("xdg")));
    says(
        &by_default.failed(66),
        &[&home.path("xdg/postern/config.toml").display().to_string()],
    );
}

#[test]
fn an_unknown_host_is_68() {
    let line = run(&mut knock(&["--address", "nowhere.invalid"])).failed(68);
    says(
        &line,
        &["nowhere.invalid has no address: ", "; check the name"],
    );
    let line = run(&mut knock(&["--address", "127.0.0.1", "-6"])).failed(68);
    says(&line, &["127.0.0.1 has no IPv6 address; "]);
    let line = run(&mut knock(&[
        "--address",
        "127.0.0.1",
        "--target",
        "nowhere.invalid",
    ]))
    .failed(68);
    says(&line, &["nowhere.invalid has no address: "]);
}

#[test]
fn no_network_is_69_and_names_every_address() {
    // In a network namespace of its own not even the loopback interface is up.
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--net"])
        .arg(program())
        .env("POSTERN_KEY", key(1));
    command.args([
        "knock",
        "--gate",
        GATE,
        "-s",
        "tcp/22",
        "--address",
        "192.0.2.1:1000",
        "--address",
        "2001:db8::1",
    ]);
    says(
        &run(&mut command).failed(69),
        &[
            "no way to 192.0.2.1:1000: ",
            "no way to [2001:db8::1]:62201: ",
            "; check this machine's network",
        ],
    );
    command.args(["--allow", "source"]);
    says(
        &run(&mut command).failed(69),
        &[
            "no way to 192.0.2.1:1000: ",
            "no way to [2001:db8::1]:62201: ",
        ],
    );
}

#[test]
fn a_place_where_no_file_can_be_made_is_73() {
    let home = Home::new();
    home.write("key", "here already");
    let file = home.path("key").display().to_string();
    says(
        &run(&mut postern(&["keygen", "--output", &file])).failed(73),
        &[&file, "; "],
    );
    says(
        &run(&mut postern(&[
            "keygen",
            "--pair",
            "-o",
            "/nonexistent/key",
        ]))
        .failed(73),
        &["/nonexistent", "; "],
    );
}

#[test]
fn output_that_cannot_be_written_is_74_but_a_reader_who_leaves_is_none() {
    let through = |script: &str| {
        let mut command = Command::new("/bin/bash");
        run(command
            .args(["-o", "pipefail", "-c", script, "bash"])
            .arg(program()))
    };
    says(
        &through("\"$1\" keygen > /dev/full").failed(74),
        &["cannot write to standard output: ", "; "],
    );
    assert_eq!(through("\"$1\" keygen | true").ok(), "");
}

#[test]
fn what_this_machine_forbids_is_77() {
    let line = run(&mut knock(&["--address", "255.255.255.255"])).failed(77);
    says(
        &line,
        &["no way to 255.255.255.255:62201: Permission denied", "; "],
    );
}

#[test]
fn a_config_or_key_file_that_others_can_read_is_78_with_what_to_run() {
    let home = Home::with_profile(&format!(
        "address = \"127.0.0.1\"\nkey = \"{}\"\nservices = [\"tcp/22\"]",
        key(1)
    ));
    home.write("key", &key(1));
    for (name, arguments) in [
        ("config.toml", &["knock", "home"][..]),
        (
            "key",
            &["knock", "--gate", "127.0.0.1", "-s", "tcp/22", "--key-file"],
        ),
    ] {
        let file = home.path(name);
        set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let path = file.display().to_string();
        let with_file = [arguments, &[&path]].concat();
        let line = home
            .run(if name == "key" { &with_file } else { arguments })
            .failed(78);
        says(&line, &[&path, &format!("; run chmod 600 {path}")]);
    }
}

#[test]
fn a_config_that_is_wrong_is_78_with_file_line_and_column() {
    let home = Home::with_profile("services = [\"tcp/22\"]\ncolour = \"red\"");
    says(
        &home.run(&["knock", "home"]).failed(78),
        &["config.toml:4:1: unknown field `colour`", "; "],
    );
    let home = Home::with_profile("services = [\"tcp/22\"]");
    says(
        &home.run(&["knock", "work"]).failed(78),
        &["no profile work in ", "; it has home"],
    );
    let home = Home::with_profile("key_file = \"key\"\nservices = [\"tcp/22\"]");
    home.write("key", "no key");
    says(
        &home.run(&["knock", "home"]).failed(78),
        &["/key: a key must have exactly 44 characters of base64; "],
    );
    says(
        &run(knock(&[]).env("POSTERN_KEY", "no key")).failed(78),
        &["POSTERN_KEY: a key must have exactly 44"],
    );
    says(
        &run(knock(&["--key-stdin"]).write_stdin("")).failed(78),
        &["standard input: a key must have exactly 44"],
    );
}

#[test]
fn a_gate_key_that_leads_to_nothing_is_78() {
    let zero = "A".repeat(43) + "=";
    let home = Home::with_profile(&format!(
        "private_key = \"{}\"\ngate_public_key = \"{zero}\"\nservices = [\"tcp/22\"]",
        key(1)
    ));
    says(
        &home.run(&["knock", "home"]).failed(78),
        &[
            "gate_public_key: the public key is a weak point",
            "; ask the gate's administrator",
        ],
    );
}
