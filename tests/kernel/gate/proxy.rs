//! A real sshd behind the gate, reached by ssh through `postern connect`, and by `postern run`.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};

use super::login::{PORT, Sshd, destination, options};
use postern_harness::{Client, FAMILIES, Family, GATE_NAME, GateConfig, World, key, postern, text};

/// More than all the buffers on the way hold.
const LARGE: usize = 16 << 20;

fn start(backend: &str) -> (World, Sshd) {
    let plan = GateConfig::empty(backend).user(
        "alice",
        &format!("services = [\"tcp/{PORT}\"]\nduration = \"60s\""),
    );
    let mut world = World::prepare(&plan);
    let sshd = Sshd::start(&world);
    world.start_again();
    (world, sshd)
}

/// Runs a program of the client's with the profiles of alice.
fn run(
    world: &World,
    client: &Client,
    program: &str,
    words: Vec<String>,
    input: Option<File>,
) -> Output {
    let (program, config) = (program.to_owned(), world.folder().join("alice.toml"));
    client.space.run(move || {
        let mut command = Command::new(program);
        command
            .args(words)
            .env_remove("SSH_AUTH_SOCK")
            .env("POSTERN_CONFIG", config);
        command
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .output()
            .unwrap()
    })
}

/// `ssh` through `postern connect`, as ssh_config has it.
fn ssh(world: &World, family: Family, script: &str, input: Option<File>) -> Output {
    let proxy = format!("ProxyCommand={} connect {} %h %p", postern(), family.name());
    let words = [
        options(world, &[&proxy]),
        destination(family),
        vec![script.to_owned()],
    ]
    .concat();
    run(world, &world.first, "ssh", words, input)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn bytes() -> Vec<u8> {
    (0_u32..).flat_map(u32::to_be_bytes).take(LARGE).collect()
}

pub(crate) fn ssh_logs_in_through_connect(backend: &'static str) {
    let (world, _sshd) = start(backend);
    let file = world.folder().join("large");
    fs::write(&file, bytes()).unwrap();
    for (count, family) in (1..).zip(FAMILIES) {
        let first = ssh(&world, family, "echo logged in; exit 7", None);
        assert_eq!(
            (first.status.code(), text(&first).as_str()),
            (Some(7), "logged in\n"),
            "{}",
            said(&first)
        );
        assert!(
            said(&first).contains("postern: knocked gate.test at ")
                && said(&first).contains(" is open after "),
            "{}",
            said(&first)
        );
        assert_eq!(world.daemon.wait_for_admitted(count).admitted, count);

        // The port is open by now: no knock, and not a word.
        let down = ssh(&world, family, &format!("cat {}", file.display()), None);
        assert_eq!((down.status.code(), said(&down).as_str()), (Some(0), ""));
        assert!(
            Sha256::digest(&down.stdout) == Sha256::digest(bytes()),
            "{} bytes came",
            down.stdout.len()
        );

        // `cat` ends only when it hears that nothing follows.
        let copy = world.folder().join(format!("copy-{}", family.name()));
        let up = ssh(
            &world,
            family,
            &format!("cat > {}", copy.display()),
            Some(File::open(&file).unwrap()),
        );
        assert_eq!(up.status.code(), Some(0), "{}", said(&up));
        assert!(
            fs::read(&copy).unwrap() == bytes(),
            "{} bytes arrived",
            copy.metadata().unwrap().len()
        );
        assert_eq!(
            world.daemon.status().admitted,
            count,
            "an open port is not knocked for"
        );
    }
}

/// One name for both families, and a policy that lets in only one of them: the way in is the one that opened.
pub(crate) fn connect_uses_the_family_that_opened(backend: &'static str) {
    for (family, networks) in [(Family::V4, "10.0.0.0/8"), (Family::V6, "fd00::/8")] {
        let plan = GateConfig::empty(backend).user(
            "alice",
            &format!("services = [\"tcp/{PORT}\"]\nnetworks = [\"{networks}\"]"),
        );
        let world = World::start(&plan);
        let listener = world.gate.run(|| TcpListener::bind(("::", PORT)).unwrap());
        std::thread::spawn(move || {
            listener
                .incoming()
                .for_each(|stream| _ = stream.unwrap().write_all(b"welcome"))
        });
        let [hosts, config] = ["hosts", "both.toml"].map(|name| world.folder().join(name));
        fs::write(
            &hosts,
            FAMILIES
                .map(|family| format!("{} the-gate\n", family.address(1)))
                .concat(),
        )
        .unwrap();
        let profile = format!(
            "[both]\ngate = \"{GATE_NAME}\"\naddress = \"the-gate\"\nkey = \"{}\"\n",
            key("alice")
        );
        postern::adapters::files::write_private(&config, profile.as_bytes(), true).unwrap();
        let postern = |words: &[&str]| {
            let script = "mount --bind \"$1\" /etc/hosts && export POSTERN_CONFIG=\"$2\" && shift 2 && exec \"$0\" \"$@\"";
            let mount = [
                "--mount",
                "sh",
                "-c",
                script,
                postern(),
                hosts.to_str().unwrap(),
                config.to_str().unwrap(),
            ];
            run(
                &world,
                &world.first,
                "unshare",
                mount.iter().chain(words).map(ToString::to_string).collect(),
                None,
            )
        };
        let port = std::net::SocketAddr::new(family.address(1), PORT);

        let waited = postern(&["knock", "both", "-s", &format!("tcp/{PORT}"), "--wait=20s"]);
        assert_eq!(waited.status.code(), Some(0), "{}", said(&waited));
        assert!(
            text(&waited)
                .lines()
                .nth(2)
                .unwrap()
                .starts_with(&format!("{port} is open after ")),
            "{}",
            text(&waited)
        );
        world.wait_for_grants(1);
        assert_eq!(postern(&["close", "both"]).status.code(), Some(0));
        world.wait_until_closed();
        let before = world.daemon.status().admitted;

        let ran = postern(&["connect", "both", "the-gate", &PORT.to_string(), "--json"]);
        assert_eq!(
            (ran.status.code(), text(&ran).as_str()),
            (Some(0), "welcome"),
            "{}",
            said(&ran)
        );
        let told: serde_json::Value = serde_json::from_str(&said(&ran)).unwrap();
        assert_eq!(told["knocks"].as_array().unwrap().len(), 2, "{told}");
        assert_eq!(told["wait"]["address"], port.to_string());
        let status = world.daemon.wait_for_count("refuse networks", 2);
        assert_eq!(
            (status.admitted, world.daemon.grants().len()),
            (before + 1, 1)
        );
    }
}

pub(crate) fn run_closes_its_grant_at_the_end(backend: &'static str) {
    let (world, _sshd) = start(backend);
    for (count, family) in (1..).zip(FAMILIES) {
        let ssh = [
            vec!["ssh".to_owned()],
            options(&world, &["ConnectTimeout=20"]),
            destination(family),
        ]
        .concat();
        for (script, status) in [("exit 7", 7), ("kill -9 $$", 255)] {
            let service = format!("tcp/{PORT}");
            let words = [
                "run",
                family.name(),
                "-q",
                "-s",
                &service,
                "--for",
                "600s",
                "--",
            ]
            .map(str::to_owned);
            let ran = run(
                &world,
                &world.first,
                postern(),
                [words.to_vec(), ssh.clone(), vec![script.to_owned()]].concat(),
                None,
            );
            assert_eq!(
                (ran.status.code(), ran.status.signal(), said(&ran).as_str()),
                (Some(status), None, "")
            );
            world.wait_until_closed();
            world.expect_nothing_open();
            let port = world.first.connect(family, PORT).map(|_| "it is let in");
            assert_eq!(port, Err(std::io::ErrorKind::TimedOut));
        }
        // An open and a close for each.
        world.daemon.wait_for_admitted(4 * count);
        assert_eq!(
            world.daemon.logged(&["closed, as was asked"]).len(),
            usize::try_from(2 * count).unwrap()
        );
    }
}

/// The command runs longer than one knock opens for, and the grant is one and the same.
pub(crate) fn run_renews_its_grant(backend: &'static str) {
    let (world, _sshd) = start(backend);
    let (host, port) = (Family::V4.address(1).to_string(), PORT.to_string());
    // Three seconds after the start the port must still let new connections in, which a single knock for 2 s would not.
    let script = format!(
        "sleep 3; exec 3<>/dev/tcp/{host}/{port} && read -r -t 5 line <&3 && echo \"$line\""
    );
    let words = [
        "run",
        "v4",
        "--json",
        "-s",
        &format!("tcp/{port}"),
        "--for",
        "2s",
        "--keep-open",
        "--",
        "bash",
        "-c",
        &script,
    ];
    let ran = run(
        &world,
        &world.first,
        postern(),
        words.map(str::to_owned).into(),
        None,
    );
    assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
    assert!(text(&ran).starts_with("SSH-2.0-"), "{}", text(&ran));
    let told: serde_json::Value = serde_json::from_str(&said(&ran)).unwrap();
    assert!(told["renewals"].as_u64().unwrap() >= 2, "{told}");
    world.wait_until_closed();
    assert_eq!(world.daemon.logged(&["closed, as was asked"]).len(), 1);
    assert_eq!(world.daemon.logged(&["closed, its time is up"]).len(), 0);
}
