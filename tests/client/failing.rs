//! Every exit status and its error line.

use assert_cmd::Command;

use crate::setup::{
    ClosedPort, GATE, Home, World, key, postern, postern_behind, program, run, says, set_mode,
};

/// A complete knock without a profile.
fn knock(more: &[&str]) -> Command {
    let mut command = postern(&[&["knock", "--gate", GATE, "-s", "tcp/22"], more].concat());
    command.env("POSTERN_KEY", key(1));
    command
}

/// Arguments, and a part of the error. The golden files have more.
const WRONG_USAGE: &str = r#"
=> no command; try postern --help
open => unrecognized subcommand 'open'
knock home --colour => unexpected argument '--colour'
knock home -s tcp/0 => "tcp/0" is not a service; write tcp/22
knock home --for 30 => "30" is not a length of time; write it like 30s
knock home --for 0s => "0s" cannot be granted;
knock home --allow 192.0.2.1/24 => has bits beyond its prefix; write 192.0.2.0/24
knock home --address gate:0 => "gate:0" is not an address
knock home --gate= => a gate name must have 1 to 255 bytes
knock home --print --dry-run => cannot be used with
knock home --code-stdin --key-stdin => cannot be used with
knock home --spoof-source 192.0.2.9 --print => cannot be used with
knock home --spoof-source me => 'me'
knock home --time-offset 30 => "30" is not a time offset; write +30s
knock home --allow stun: => is not a STUN server; write stun:HOST
knock home -4 -6 => cannot be used with
close home --wait => unexpected argument '--wait'
connect home 127.0.0.1 0 => 0 is not in 1..=
connect home 127.0.0.1 => <PORT>
"#;

/// The same with a key and an input.
const WRONG_REQUEST: &str = "
knock --gate 127.0.0.1 => no service to open; name one with -s tcp/22
knock --gate 127.0.0.1 -s udp/53 --wait => --wait needs a TCP port to try;
open-packet --gate g --key-stdin => key and packet cannot both come from standard input;
";

#[test]
fn wrong_command_line_is_2() {
    let fails = |row: &str, has_key: bool| {
        let (arguments, part) = row.split_once("=> ").unwrap();
        let mut command = postern(&arguments.split_whitespace().collect::<Vec<_>>());
        if has_key {
            command.env("POSTERN_KEY", key(1)).write_stdin("x");
        }
        run(&mut command).fails(2, &format!("…{part}…"));
    };
    let rows = |table: &'static str| table.trim_start().lines();
    rows(WRONG_USAGE).for_each(|row| fails(row, false));
    rows(WRONG_REQUEST).for_each(|row| fails(row, true));
}

#[test]
fn closed_port_is_3_after_the_knock() {
    let world = World::new("");
    let closed = ClosedPort::new();
    let port = closed.address().port();
    let late = format!("postern: …{port} did not open within 200ms; …\n");
    world
        .line(&format!("connect home 127.0.0.1 {port} --wait=200ms -q"))
        .fails(3, &late[9..late.len() - 1]);
    world.request();
    let ran = world.line(&format!("knock home -s tcp/{port} --wait=200ms"));
    assert_eq!(ran.code, 3);
    says(&ran.out, "knocked …\n");
    says(&ran.err, &late);
    world.request();
    world.gate.got_nothing();
}

#[test]
fn missing_file_is_66() {
    run(&mut knock(&["--key-file", "/nonexistent/key"])).fails(66, "/nonexistent/key: …");
    let xdg = Home::new();
    let by_default = run(postern(&["knock", "home"]).env("XDG_CONFIG_HOME", xdg.path("xdg")));
    by_default.fails(
        66,
        &(xdg.text_path("xdg/postern/config.toml") + ": does not exist; …"),
    );
}

#[test]
fn unknown_host_is_68() {
    let unknown = "nowhere.invalid has no address: …; check the name…";
    for (arguments, pattern) in [
        ("--address nowhere.invalid", unknown),
        ("--address 127.0.0.1 -6", "127.0.0.1 has no IPv6 address; …"),
        ("--address 127.0.0.1 --target nowhere.invalid", unknown),
    ] {
        run(&mut knock(&arguments.split(' ').collect::<Vec<_>>())).fails(68, pattern);
    }
}

#[test]
fn missing_network_is_69() {
    // A new network namespace has no interface that is up.
    let wrapper = ["unshare", "--map-root-user", "--net"];
    let addresses = ["--address", "192.0.2.1:1000", "--address", "2001:db8::1"];
    let arguments = [&["knock", "--gate", GATE, "-s", "tcp/22"], &addresses[..]].concat();
    let mut command = postern_behind(&wrapper, &arguments);
    command.env("POSTERN_KEY", key(1));
    let pattern = "cannot reach 192.0.2.1:1000: …, cannot reach [2001:db8::1]:62201: …; check this machine's network";
    run(&mut command).fails(69, pattern);
    run(command.args(["--allow", "source"])).fails(69, pattern);
}

#[test]
fn unwritable_file_or_output_has_its_status() {
    let keygen = ["keygen", "--pair", "-o", "/nonexistent/key"];
    run(&mut postern(&keygen)).fails(73, "/nonexistent…");
    let through = |script: &str| {
        let mut command = Command::new("/bin/bash");
        let arguments = ["-o", "pipefail", "-c", script, "bash", program()];
        run(command.args(arguments))
    };
    through("\"$1\" keygen > /dev/full").fails(74, "cannot write to standard output: …");
    assert_eq!(through("\"$1\" keygen | true").ok(), "");
}

#[test]
fn forbidden_address_is_77() {
    let ran = run(&mut knock(&["--address", "255.255.255.255"]));
    ran.fails(77, "cannot reach 255.255.255.255:62201: Permission denied…");
}

#[test]
fn exposed_config_or_key_is_78() {
    let address = "address = \"127.0.0.1\"\nservices = [\"tcp/22\"]";
    let home = Home::with_profile(&format!("{address}\nkey = \"{}\"", key(1)));
    home.write("key", &key(1));
    let [config, file] = ["config.toml", "key"].map(|name| {
        set_mode(&home.path(name), 0o644);
        home.text_path(name)
    });
    home.line("knock home")
        .fails(78, &format!("{config}: …; run chmod 600 {config}"));
    let ran = run(&mut knock(&["--key-file", &file]));
    ran.fails(78, &format!("{file}: …; run chmod 600 {file}"));
}

#[test]
fn wrong_config_or_key_is_78() {
    let zero = "A".repeat(43) + "=";
    let weak = format!("private_key = \"{}\"\ngate_public_key = \"{zero}\"", key(1));
    let short = "a key must have exactly 44 characters of base64; …";
    for (body, pattern) in [
        (
            "colour = \"red\"",
            "…config.toml:3:1: unknown field `colour`…",
        ),
        ("key_file = \"key\"", &format!("…/key: {short}")),
        (
            &weak,
            "gate_public_key: the public key is a weak point…; ask the gate's administrator…",
        ),
    ] {
        let home = Home::with_profile(body);
        home.write("key", "no key");
        home.line("knock home").fails(78, pattern);
    }
    let from_variable = run(knock(&[]).env("POSTERN_KEY", "no key"));
    from_variable.fails(78, &format!("POSTERN_KEY: {short}"));
    let from_input = run(knock(&["--key-stdin"]).write_stdin(""));
    from_input.fails(78, &format!("standard input: {short}"));
}
