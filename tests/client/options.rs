//! Time offsets, STUN servers, one-time codes and spoofed sources.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::setup::{World, open_base64, postern_behind, program, run, says};

const SSH: &str = "services = [\"tcp/22\"]\n";

#[test]
fn time_offset_corrects_the_timestamp() {
    let world = World::new(&format!("{SSH}time_offset = \"-1h\""));
    let now = || i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for (arguments, offset) in [
        (&["knock", "home"][..], -3_600_000),
        (&["knock", "home", "--time-offset", "-30s"], -30_000),
        (&["knock", "home", "--time-offset=+2h"], 7_200_000),
        (&["close", "home", "--time-offset", "0s"], 0),
    ] {
        world.run(arguments).ok();
        let error = i64::try_from(world.request().timestamp_ms).unwrap() - now() - offset;
        assert!((-60_000..=0).contains(&error), "{arguments:?}: {error}");
    }
}

#[test]
fn unknown_public_address_sends_no_knock() {
    let world = World::new(SSH);
    // Connected elsewhere, so the kernel refuses packets to it.
    let refusing = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    refusing.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
    let dead = format!("stun:{}", refusing.local_addr().unwrap());
    for (servers, why) in [
        (dead.as_str(), "does not listen"),
        ("stun:[::1]:1", "[::1]:1 has no IPv4 address"),
    ] {
        let ran = world.run(&["knock", "home", "--allow", servers]);
        let unknown = "…no STUN server tells this machine's address: …";
        ran.fails(69, &format!("{unknown}{why}; …"));
    }
    world.gate.got_nothing();
}

#[test]
fn code_sources_have_an_order() {
    let script = "echo 333 333; echo more; test -z \\\"$(cat)\\\"";
    let world = World::new(&format!(
        "{SSH}code_command = [\"sh\", \"-c\", \"{script}\"]"
    ));
    let knock = |more: &[&str]| {
        let mut command = world.home.command(&[&["knock", "home"], more].concat());
        command.env("PATH", "/usr/bin:/bin");
        command
    };
    let code = || world.request().code().map(|code| code.as_str().to_owned());
    let mut from_input = knock(&["--code-stdin"]);
    run(from_input
        .env("POSTERN_CODE", "222222")
        .write_stdin("111111\n"))
    .ok();
    assert_eq!(code().as_deref(), Some("111111"));
    run(knock(&[]).env("POSTERN_CODE", "222 222")).ok();
    assert_eq!(code().as_deref(), Some("222222"));
    run(&mut knock(&[])).ok();
    assert_eq!(code().as_deref(), Some("333333"));
    let printed = run(&mut knock(&["--print"])).ok();
    let printed = open_base64(&printed, &world.keys);
    assert_eq!(printed.code().map(|code| code.as_str()), Some("333333"));
    world.line("close home").ok();
    assert_eq!(code(), None, "closing needs no code");
    let shown = world.line("knock home --dry-run").ok();
    assert!(!shown.contains("333"), "{shown}");
    world.gate.got_nothing();
}

#[test]
fn missing_or_invalid_code_sends_no_knock() {
    for (command, status, pattern) in [
        (
            "[\"/no/such/program\"]",
            1,
            "code_command: /no/such/program cannot be started: No such…",
        ),
        (
            "[\"/bin/sh\", \"-c\", \"echo 987654; exit 3\"]",
            1,
            "code_command: /bin/sh failed: exit status: 3; run it by hand…",
        ),
        (
            "[\"/bin/true\"]",
            1,
            "code_command: /bin/true printed nothing; …",
        ),
        (
            "[\"/bin/echo\", \"secret 98765\"]",
            2,
            "…the output of /bin/echo is no one-time code; give the 6 to 8 digits alone",
        ),
    ] {
        let world = World::new(&format!("{SSH}code_command = {command}"));
        let line = world.line("knock home").fails(status, pattern);
        assert!(!line.contains("98765"), "{line}");
        world.gate.got_nothing();
    }
    let world = World::new(SSH);
    let mut command = world.home.command(&["knock", "home", "--code-stdin"]);
    run(command.write_stdin("98765")).fails(2, "standard input is no one-time code; …");
    let mut command = world.home.command(&["knock", "home"]);
    run(command.env("POSTERN_CODE", "98765x")).fails(2, "POSTERN_CODE is no one-time code; …");
    world.gate.got_nothing();
}

/// cron and systemd start a program in a session of its own.
#[test]
fn missing_terminal_fails_without_waiting() {
    let world = World::new(&format!("{SSH}code = \"ask\""));
    let mut command = postern_behind(&["setsid", "--wait"], &["knock", "home"]);
    command
        .env_clear()
        .env("POSTERN_CONFIG", world.home.path("config.toml"));
    let what = "gate.example.org needs a one-time code, and there is no terminal to ask for it; ";
    run(&mut command).fails(1, &format!("{what}set POSTERN_CODE…"));
    world.gate.got_nothing();
}

/// `script` provides a terminal. The test types only after the program has turned the echo off.
#[test]
fn typed_code_is_not_echoed() {
    let world = World::new(&format!("{SSH}code = \"ask\""));
    let mut script = Command::new("script")
        .args([
            "-qec",
            &format!("tty; exec {} knock home", program()),
            "/dev/null",
        ])
        .env("SHELL", "/bin/sh")
        .env("POSTERN_CONFIG", world.home.path("config.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of Debian's bsdutils");
    let mut output = BufReader::new(script.stdout.take().unwrap());
    let mut terminal = String::new();
    output.read_line(&mut terminal).unwrap();
    let stty = || {
        let stty = Command::new("stty")
            .args(["-F", terminal.trim(), "-a"])
            .output();
        String::from_utf8(stty.unwrap().stdout).unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !stty().split_whitespace().any(|flag| flag == "-echo") {
        assert!(Instant::now() < deadline, "it does not ask");
        thread::sleep(Duration::from_millis(20));
    }
    let mut keyboard = script.stdin.take().unwrap();
    keyboard.write_all(b"314159\n").unwrap();
    let mut shown = String::new();
    output.read_to_string(&mut shown).unwrap();
    assert!(script.wait().unwrap().success(), "{shown}");
    let request = world.request();
    assert_eq!(request.code().map(|code| code.as_str()), Some("314159"));
    says(&shown, "…one-time code for gate.example.org: …");
    assert!(!shown.contains("314159"), "{shown}");
}

#[test]
fn spoofed_source_is_never_allowed() {
    let world = World::new(SSH);
    let spoof = ["knock", "home", "--spoof-source", "192.0.2.9"];
    for allow in ["source", "source/24"] {
        let ran = world.run(&[&spoof[..], &["--allow", allow]].concat());
        // Without the right to spoof, the program fails earlier.
        if ran.code != 77 {
            let what = "the knock would allow its source 192.0.2.9, which is spoofed; ";
            ran.fails(2, &format!("{what}name the address to allow with --allow…"));
        }
    }
    let ran = world.run(&[&spoof[..], &["-6"]].concat());
    ran.fails(2, "192.0.2.9 is of the other family; …");
    let wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let is_root = rustix::process::geteuid().is_root();
    let mut command = postern_behind(if is_root { &wrapper } else { &["env"] }, &spoof);
    command.env("POSTERN_CONFIG", world.home.path("config.toml"));
    let what = "--spoof-source needs a raw socket, and CAP_NET_RAW is missing; run it as root…";
    run(&mut command).fails(77, what);
    world.gate.got_nothing();
}
