//! What a knock can be told beside the profile: a clock that is wrong, an address that STUN servers see, a one-time code, a
//! forged source; and the list of profiles.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use postern_proto::{Allow, Code, UserKeys};
use serde_json::{Value, json};

use crate::door::deaf;
use crate::gate::FakeGate;
use crate::program::{GATE, Home, expect_documented, key, program, run, shared};

/// A profile with a shared key for this gate, and what they derive from it.
fn home(gate: &FakeGate, more: &str) -> (Home, UserKeys) {
    let key = key(21);
    let body = format!(
        "address = \"{}\"\nkey = \"{key}\"\nservices = [\"tcp/22\"]\n{more}",
        gate.address()
    );
    (Home::with_profile(&body), shared(&key))
}

fn says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part}\n{line}");
    }
}

// --- time offset ------------------------------------------------------------------------------------------------

#[test]
fn a_time_offset_moves_the_timestamp_and_the_command_goes_before_the_profile() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "time_offset = \"-1h\"");
    let now = || i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for (command, arguments, offset) in [
        ("knock", &[][..], -3_600_000),
        ("knock", &["--time-offset", "-30s"], -30_000),
        ("knock", &["--time-offset=+2h"], 7_200_000),
        ("close", &["--time-offset", "0s"], 0),
    ] {
        home.run(&[&[command, "home"], arguments].concat()).ok();
        let off = i64::try_from(gate.knock(&keys).timestamp_ms).unwrap() - now() - offset;
        assert!((-60_000..=0).contains(&off), "{arguments:?}: {off}");
    }
    says(
        &home
            .run(&["knock", "home", "--time-offset", "30"])
            .failed(2),
        &["\"30\" is not a time offset; write +30s"],
    );
}

// --- STUN -------------------------------------------------------------------------------------------------------

/// A STUN server that sees everyone at 192.0.2.last.
fn stun(last: u8) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut question = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            assert_eq!(
                (length, &question[..4]),
                (20, &[0, 1, 0, 0][..]),
                "a Binding request without attributes"
            );
            let answer = [
                &[1, 1, 0, 12][..],
                &question[4..20],
                &[
                    0,
                    0x20,
                    0,
                    8,
                    0,
                    1,
                    0,
                    0,
                    192 ^ 0x21,
                    0x12,
                    2 ^ 0xa4,
                    last ^ 0x42,
                ],
            ];
            socket.send_to(&answer.concat(), from).unwrap();
        }
    });
    format!("stun:{place}")
}

#[test]
fn the_address_that_a_stun_server_sees_is_claimed() {
    let gate = FakeGate::v4();
    let (home, keys) = home(
        &gate,
        &format!("allow = [\"{}\", \"{}\"]", stun(9), stun(9)),
    );
    let said = home.run(&["knock", "home"]).ok();
    says(&said, &["letting in 192.0.2.9 for"]);
    let seen = |last| Allow::Network {
        address: std::net::Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped(),
        prefix: 128,
    };
    assert_eq!(gate.knock(&keys).allow, seen(9));
    home.run(&[
        "knock",
        "home",
        "--allow",
        &format!("{},{}", stun(7), stun(7)),
    ])
    .ok();
    assert_eq!(gate.knock(&keys).allow, seen(7));
}

#[test]
fn no_knock_is_sent_where_servers_disagree_or_none_answers() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    let line = home
        .run(&[
            "knock",
            "home",
            "--allow",
            &format!("{},{}", stun(9), stun(8)),
        ])
        .failed(69);
    says(
        &line,
        &[
            "STUN servers disagree on this machine's address: ",
            " sees 192.0.2.9, ",
            " sees 192.0.2.8; name servers that you trust",
        ],
    );
    let (_held, gone) = deaf();
    let line = home
        .run(&["knock", "home", "--allow", &format!("stun:{gone}")])
        .failed(69);
    says(
        &line,
        &[
            "no STUN server tells this machine's address: ",
            " does not listen; ",
        ],
    );
    let line = home
        .run(&["knock", "home", "--allow", "stun:[::1]:1"])
        .failed(69);
    says(&line, &["[::1]:1 has no IPv4 address; "]);
    gate.heard_nothing();
    says(
        &home
            .run(&["knock", "home", "--allow", "stun:a b"])
            .failed(2),
        &["is not a STUN server; write stun:HOST"],
    );
}

// --- one-time codes ---------------------------------------------------------------------------------------------

fn digits(text: &str) -> Option<Code> {
    Some(Code::new(text).unwrap())
}

#[test]
fn a_code_comes_from_standard_input_the_environment_or_a_program_in_this_order() {
    let gate = FakeGate::v4();
    let (home, keys) = home(
        &gate,
        "code_command = [\"sh\", \"-c\", \"echo 333 333; echo more; test -z \\\"$(cat)\\\"\"]",
    );
    let knock = |arguments: &[&str]| home.command(&[&["knock", "home"], arguments].concat());
    let code = || gate.knock(&keys).code().cloned();
    let with_path = |mut command: Command| {
        command.env("PATH", "/usr/bin:/bin");
        command
    };
    run(with_path(knock(&[]))
        .env("POSTERN_CODE", "222222")
        .write_stdin("111111\n")
        .arg("--code-stdin"))
    .ok();
    assert_eq!(code(), digits("111111"));
    run(with_path(knock(&[])).env("POSTERN_CODE", "222 222")).ok();
    assert_eq!(code(), digits("222222"));
    run(&mut with_path(knock(&[]))).ok();
    assert_eq!(code(), digits("333333"));
    let printed = run(&mut with_path(knock(&["--print"]))).ok();
    assert_eq!(
        crate::gate::open(&crate::gate::from_base64(printed.trim()), &keys)
            .code()
            .cloned(),
        digits("333333")
    );
    home.run(&["close", "home"]).ok();
    assert_eq!(code(), None, "closing needs none, so nobody is asked");
    let shown = home.run(&["knock", "home", "--dry-run"]).ok();
    assert!(!shown.contains("333"), "{shown}");
    gate.heard_nothing();
}

#[test]
fn a_program_that_gives_no_code_is_1_and_what_is_no_code_is_2_and_none_is_shown() {
    let gate = FakeGate::v4();
    for (command, status, parts) in [
        (
            "[\"/no/such/program\"]",
            1,
            &[
                "code_command: /no/such/program cannot be started: No such file",
                "; run it by hand",
            ][..],
        ),
        (
            "[\"/bin/sh\", \"-c\", \"echo 987654; exit 3\"]",
            1,
            &["code_command: /bin/sh failed: exit status: 3; "],
        ),
        (
            "[\"/bin/true\"]",
            1,
            &["code_command: /bin/true printed nothing; "],
        ),
        (
            "[\"/bin/echo\", \"secret 98765\"]",
            2,
            &["what /bin/echo printed is no one-time code; give the 6 to 8 digits alone"],
        ),
    ] {
        let (home, _) = home(&gate, &format!("code_command = {command}"));
        let line = home.run(&["knock", "home"]).failed(status);
        says(&line, parts);
        assert!(!line.contains("98765"), "{line}");
    }
    let (home, _) = home(&gate, "");
    let from_input = run(home
        .command(&["knock", "home", "--code-stdin"])
        .write_stdin("98765"));
    says(
        &from_input.failed(2),
        &["standard input is no one-time code; "],
    );
    let from_variable = run(home
        .command(&["knock", "home"])
        .env("POSTERN_CODE", "98765x"));
    says(
        &from_variable.failed(2),
        &["POSTERN_CODE is no one-time code; "],
    );
    let both = run(home
        .command(&["knock", "home", "--code-stdin", "--key-stdin"])
        .write_stdin("x"));
    says(&both.failed(2), &["cannot be used with"]);
    gate.heard_nothing();
}

/// As cron and systemd start it: in a session of its own. It fails with one line and does not wait.
#[test]
fn without_a_terminal_nobody_is_asked() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "code = \"ask\"");
    let mut command = Command::new("setsid");
    command
        .arg("--wait")
        .arg(program())
        .args(["knock", "home"])
        .env_clear()
        .env("POSTERN_CONFIG", home.path("config.toml"));
    let line = run(&mut command).failed(1);
    says(
        &line,
        &[
            "gate.example.org needs a one-time code, and there is no terminal to ask for it; put it into POSTERN_CODE",
        ],
    );
    gate.heard_nothing();
}

/// `script` gives the program a terminal, and types once that no longer echoes: what is typed before is echoed by the terminal itself.
#[test]
fn on_a_terminal_the_code_is_asked_for_and_not_echoed() {
    let gate = FakeGate::v4();
    let (home, keys) = home(&gate, "code = \"ask\"");
    let mut command = std::process::Command::new("script");
    command
        .args([
            "-qec",
            &format!("tty; exec {} knock home", program().display()),
            "/dev/null",
        ])
        .env("SHELL", "/bin/sh");
    command
        .env("POSTERN_CONFIG", home.path("config.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut script = command.spawn().expect("script, of Debian's bsdutils");
    let mut output = BufReader::new(script.stdout.take().unwrap());
    let mut terminal = String::new();
    output.read_line(&mut terminal).unwrap();
    let echoes = || {
        let stty = std::process::Command::new("stty")
            .args(["-F", terminal.trim(), "-a"])
            .output()
            .unwrap();
        !String::from_utf8_lossy(&stty.stdout)
            .split_whitespace()
            .any(|flag| flag == "-echo")
    };
    for _ in 0..1000 {
        if !echoes() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    script
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"314159\n")
        .unwrap();
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(script.wait().unwrap().success(), "{said}");
    assert_eq!(gate.knock(&keys).code().cloned(), digits("314159"));
    assert!(
        said.contains("one-time code for gate.example.org: ") && !said.contains("314159"),
        "{said}"
    );
}

// --- forged source ----------------------------------------------------------------------------------------------

#[test]
fn a_forged_source_lets_in_only_who_is_named() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    for allow in ["source", "source/24"] {
        let line = home.run(&[
            "knock",
            "home",
            "--spoof-source",
            "192.0.2.9",
            "--allow",
            allow,
        ]);
        // Who may not forge hears of that first.
        if line.code != 77 {
            says(
                &line.failed(2),
                &[
                    "the knock would let in its source, 192.0.2.9, which is forged; name the address to let in with --allow",
                ],
            );
        }
    }
    let line = home
        .run(&["knock", "home", "-6", "--spoof-source", "192.0.2.9"])
        .failed(2);
    says(&line, &["192.0.2.9 is of the other family; "]);
    says(
        &home
            .run(&["knock", "home", "--spoof-source", "me"])
            .failed(2),
        &["'me'"],
    );
    says(
        &home
            .run(&["knock", "home", "--spoof-source", "192.0.2.9", "--print"])
            .failed(2),
        &["cannot be used with"],
    );
    gate.heard_nothing();
}

#[test]
fn who_may_not_forge_a_source_is_told_so_with_77() {
    let gate = FakeGate::v4();
    let (home, _) = home(&gate, "");
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(program());
    if !rustix::process::geteuid().is_root() {
        command = Command::new(program());
    }
    command
        .args(["knock", "home", "--spoof-source", "192.0.2.9"])
        .env("POSTERN_CONFIG", home.path("config.toml"));
    let line = run(&mut command).failed(77);
    says(
        &line,
        &[
            "a forged source needs a raw socket, and this process may not open one (CAP_NET_RAW is missing); run it as root",
        ],
    );
    gate.heard_nothing();
}

// --- profiles ---------------------------------------------------------------------------------------------------

#[test]
fn profiles_are_listed_without_their_keys() {
    let home = Home::new();
    let key = key(22);
    let first = format!(
        "[home]\ngate = \"{GATE}\"\nkey = \"{key}\"\nservices = [\"tcp/22\", \"web\"]\nduration = \"10m\"\ncode = \"ask\"\n"
    );
    let second = "[behind]\ngate = \"gate.test\"\naddress = [\"192.0.2.1\", \"[2001:db8::1]:1000\"]\nkey_file = \"secret.key\"\ntarget = \"10.0.0.5\"\n\
                  allow = [\"stun:a\"]\ncode_command = [\"/bin/code\", \"hidden\"]\n";
    home.write("config.toml", &format!("{first}{second}"));
    let said = home.run(&["profiles"]).ok();
    let rows: Vec<Vec<&str>> = said
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(rows[0], ["PROFILE", "GATE", "ADDRESS", "SERVICES"]);
    assert_eq!(
        rows[1],
        [
            "behind",
            "gate.test",
            "192.0.2.1:62201, [2001:db8::1]:1000",
            "(none) on 10.0.0.5"
        ]
    );
    assert_eq!(
        rows[2],
        ["home", GATE, "gate.example.org:62201", "tcp/22, web"]
    );
    let columns: Vec<usize> = ["SERVICES", "(none)", "tcp/22"]
        .iter()
        .zip(said.lines())
        .map(|(word, line)| line.find(word).unwrap())
        .collect();
    assert!(
        columns[0] == columns[1] && columns[1] == columns[2],
        "{said}"
    );
    let said = home.run(&["profiles", "--json"]).ok();
    for secret in [&key[..20], "secret", "hidden"] {
        assert!(!said.contains(secret), "{said}");
    }
    let listed: Value = serde_json::from_str(&said).unwrap();
    expect_documented(&listed);
    assert_eq!(
        listed,
        json!({ "version": 1, "command": "profiles", "file": home.path("config.toml"), "profiles": [
            { "name": "behind", "gate": "gate.test", "addresses": ["192.0.2.1:62201", "[2001:db8::1]:1000"], "services": [],
              "allow": "stun:a:3478", "duration_s": null, "target": "10.0.0.5", "code": "command" },
            { "name": "home", "gate": GATE, "addresses": ["gate.example.org:62201"], "services": ["tcp/22", "web"],
              "allow": "auto", "duration_s": 600, "target": null, "code": "ask" },
        ] })
    );
    home.write("config.toml", "");
    assert_eq!(
        home.run(&["profiles"]).ok(),
        format!("{} has no profile\n", home.path("config.toml").display())
    );
    says(
        &Home::new().run(&["profiles"]).failed(66),
        &["does not exist; "],
    );
    fs::set_permissions(home.path("config.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["profiles"]).failed(78);
}
