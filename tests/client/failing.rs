//! Every exit status and its error line.

use assert_cmd::Command;

use crate::setup::{
    ClosedPort, GATE, Home, World, key, postern, postern_behind, program, run, set_mode,
};

/// A complete knock without a profile.
fn knock(more: &[&str]) -> Command {
    let mut command = postern(&[&["knock", "--gate", GATE, "-s", "tcp/22"], more].concat());
    command.env("POSTERN_KEY", key(1));
    command
}

/// Arguments, and a part of the error.
const WRONG_USAGE: &str = r#"
=> no command; try postern --help
knock => <PROFILE>
open => unrecognized subcommand 'open'
run home => <COMMAND>
knock home --colour => unexpected argument '--colour'
knock home -s tcp/0 => "tcp/0" is not a service; write tcp/22
knock home --for 30 => "30" is not a length of time; write it like 30s
knock home --for 0s => "0s" cannot be granted;
knock home --allow 192.0.2.1/24 => has bits beyond its prefix; write 192.0.2.0/24
knock home --address gate:0 => "gate:0" is not an address
knock home --gate= => a gate name must have 1 to 255 bytes
knock home --print --dry-run => cannot be used with
knock home --print --wait => cannot be used with
knock home --code-stdin --key-stdin => cannot be used with
knock home --spoof-source 192.0.2.9 --print => cannot be used with
knock home --spoof-source me => 'me'
knock home --time-offset 30 => "30" is not a time offset; write +30s
knock home --allow stun: => is not a STUN server; write stun:HOST
knock home -4 -6 => cannot be used with
close home --wait => unexpected argument '--wait'
connect home 127.0.0.1 0 => 0 is not in 1..=
connect home 127.0.0.1 => <PORT>
knock --gate gate.example.org -s tcp/22 => no key for gate.example.org; name it in the profile
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
        run(&mut command).fails(2, &[part]);
    };
    let rows = |table: &'static str| table.trim_start().lines();
    rows(WRONG_USAGE).for_each(|row| fails(row, false));
    rows(WRONG_REQUEST).for_each(|row| fails(row, true));
}

#[test]
fn help_and_version_are_0() {
    assert!(run(&mut postern(&["--help"])).ok().contains("Exit status:"));
    assert!(
        run(&mut postern(&["knock", "--help"]))
            .ok()
            .ends_with("Print version\n")
    );
    let version = format!("postern {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&mut postern(&["--version"])).ok(), version);
}

#[test]
fn closed_port_is_3_after_the_knock() {
    let world = World::new("");
    let port = ClosedPort::new();
    let arguments = ["knock", "home", "-s", &port.service(), "--wait=200ms"];
    let ran = world.run(&arguments);
    assert_eq!(ran.code, 3);
    assert!(
        ran.out.starts_with("knocked ") && ran.out.lines().count() == 1,
        "{}",
        ran.out
    );
    let expected = format!("postern: {} did not open within 200ms; ", port.service());
    assert!(
        ran.err.starts_with(&expected) && ran.err.lines().count() == 1,
        "{}",
        ran.err
    );
    let ran = world.run(&[&arguments[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["wait"]["open"]), (3, &false.into()));
}

#[test]
fn missing_file_is_66() {
    let home = Home::new();
    home.run(&["knock", "home"])
        .fails(66, &["config.toml", "does not exist; "]);
    run(&mut knock(&["--key-file", "/nonexistent/key"])).fails(66, &["/nonexistent/key"]);
    let by_default = run(postern(&["knock", "home"]).env("XDG_CONFIG_HOME", home.path("xdg")));
    by_default.fails(66, &[&home.text_path("xdg/postern/config.toml")]);
}

#[test]
fn unknown_host_is_68() {
    let unknown = "nowhere.invalid has no address: ";
    for (arguments, parts) in [
        (
            "--address nowhere.invalid",
            &[unknown, "; check the name"][..],
        ),
        (
            "--address 127.0.0.1 -6",
            &["127.0.0.1 has no IPv6 address; "],
        ),
        ("--address 127.0.0.1 --target nowhere.invalid", &[unknown]),
    ] {
        run(&mut knock(&arguments.split(' ').collect::<Vec<_>>())).fails(68, parts);
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
    let parts = [
        "no way to 192.0.2.1:1000: ",
        "no way to [2001:db8::1]:62201: ",
        "; check this",
    ];
    run(&mut command).fails(69, &parts);
    run(command.args(["--allow", "source"])).fails(69, &parts);
}

#[test]
fn file_that_cannot_be_made_is_73() {
    let home = Home::new();
    home.write("key", "an existing file");
    let file = home.text_path("key");
    run(&mut postern(&["keygen", "--output", &file])).fails(73, &[&file]);
    run(&mut postern(&[
        "keygen",
        "--pair",
        "-o",
        "/nonexistent/key",
    ]))
    .fails(73, &["/nonexistent"]);
}

#[test]
fn unwritable_output_is_74() {
    let through = |script: &str| {
        let mut command = Command::new("/bin/bash");
        let arguments = ["-o", "pipefail", "-c", script, "bash", program()];
        run(command.args(arguments))
    };
    through("\"$1\" keygen > /dev/full").fails(74, &["cannot write to standard output: "]);
    assert_eq!(through("\"$1\" keygen | true").ok(), "");
}

#[test]
fn forbidden_address_is_77() {
    let ran = run(&mut knock(&["--address", "255.255.255.255"]));
    ran.fails(77, &["no way to 255.255.255.255:62201: Permission denied"]);
}

#[test]
fn exposed_config_or_key_is_78() {
    let services = "services = [\"tcp/22\"]";
    let home = Home::with_profile(&format!(
        "address = \"127.0.0.1\"\nkey = \"{}\"\n{services}",
        key(1)
    ));
    home.write("key", &key(1));
    let (config, file) = (home.text_path("config.toml"), home.text_path("key"));
    set_mode(&home.path("config.toml"), 0o644);
    set_mode(&home.path("key"), 0o644);
    let ran = home.run(&["knock", "home"]);
    ran.fails(78, &[&config, &format!("; run chmod 600 {config}")]);
    let ran = run(&mut knock(&["--key-file", &file]));
    ran.fails(78, &[&file, &format!("; run chmod 600 {file}")]);
}

#[test]
fn wrong_config_or_key_is_78() {
    let zero = "A".repeat(43) + "=";
    let weak = format!("private_key = \"{}\"\ngate_public_key = \"{zero}\"", key(1));
    for (body, profile, parts) in [
        (
            "colour = \"red\"",
            "home",
            &["config.toml:3:1: unknown field `colour`"][..],
        ),
        ("", "work", &["no profile work in ", "; it has home"]),
        (
            "key_file = \"key\"",
            "home",
            &["/key: a key must have exactly 44 characters of base64; "],
        ),
        (
            &weak,
            "home",
            &[
                "gate_public_key: the public key is a weak point",
                "; ask the gate's administrator",
            ],
        ),
    ] {
        let home = Home::with_profile(body);
        home.write("key", "no key");
        home.run(&["knock", profile]).fails(78, parts);
    }
    let from_variable = run(knock(&[]).env("POSTERN_KEY", "no key"));
    from_variable.fails(78, &["POSTERN_KEY: a key must have exactly 44"]);
    let from_input = run(knock(&["--key-stdin"]).write_stdin(""));
    from_input.fails(78, &["standard input: a key must have exactly 44"]);
}
