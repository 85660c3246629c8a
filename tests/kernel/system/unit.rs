//! The unit: its restrictions, and that posternd works with them, first with the same rights, then under systemd itself.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::Command;

use rustix::process::Signal;

use super::DRIVER;
use super::booted::Booted;
use postern_harness::{FAMILIES, Family, GateConfig, World, repository, text};

pub(crate) fn unit_is_rated_below_3() {
    for unit in ["posternd.service", "postern-protect.service"] {
        let unit = repository().join("dist/systemd").join(unit);
        let mut command = Command::new("systemd-analyze");
        let command = command.args(["security", "--offline=true", "--no-pager"]);
        let said = text(&command.arg(unit).output().unwrap());
        let (_, level) = said.split_once("Overall exposure level").expect(&said);
        let mut words = level.split_whitespace();
        let level: f64 = words.find_map(|word| word.parse().ok()).unwrap();
        assert!(level < 3.0, "{said}");
    }
}

/// A config that is accepted now must also start the gate after the next boot.
pub(crate) fn reload_refuses_missing_engine_user() {
    let mut world = World::prepare(&GateConfig::new(DRIVER).gate("run_as = \"gatekeeper\""));
    let users = world.folder().join("passwd");
    let known = fs::read_to_string("/etc/passwd").unwrap();
    fs::write(
        &users,
        format!("{known}gatekeeper:x:4242:4242::/:/bin/false\n"),
    )
    .unwrap();
    world.daemon.through = Some(format!(
        "mount --bind {} /etc/passwd && exec \"$@\"",
        users.display()
    ));
    world.start_again();
    world.at_gate(&["reload"]);
    fs::write(&users, known).unwrap();
    let refused = world.daemon.at_gate(&world.gate, &["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains("run_as: there is no user \"gatekeeper\""),
        "{said}"
    );
    world.first.open("alice", Family::V4, &[]);
}

pub(crate) fn engine_gets_its_state_back() {
    let mut world = World::start(&GateConfig::new(DRIVER).gate("run_as = \"daemon\""));
    let daemon = nix::unistd::User::from_name("daemon")
        .unwrap()
        .unwrap()
        .uid
        .as_raw();
    let (state, secret) = (world.folder().join("state"), world.folder().join("secret"));
    fs::write(&secret, "root's").unwrap();
    let draft = state.join("marks.redb.new");
    let all = || [state.clone(), state.join("marks.redb")];
    for reloaded in [true, false] {
        all()
            .iter()
            .for_each(|path| chown(path, Some(0), Some(0)).unwrap());
        fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
        // A hostile engine may leave a link under a name of the store.
        let _ = fs::remove_file(&draft);
        if reloaded {
            symlink(&secret, &draft).unwrap();
        } else {
            fs::hard_link(&secret, &draft).unwrap();
        }
        if reloaded {
            world.daemon.signal(Signal::HUP);
            world.daemon.wait_for_lines(2, &["the engine serves"]);
        } else {
            world.daemon.stop();
            world.start_again();
        }
        world.first.open("alice", Family::V4, &["--for", "10m"]);
        assert!(
            all()
                .iter()
                .all(|path| fs::metadata(path).unwrap().uid() == daemon)
        );
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(
            fs::metadata(&secret).unwrap().uid(),
            0,
            "what a link leads to is not the engine's"
        );
    }
}

pub(crate) fn unit_works_under_systemd(backend: &'static str) {
    let metrics = "[metrics]\nfile = \"/var/lib/prometheus/node-exporter/postern.prom\"\ninterval = \"1s\"\nlisten = \"127.0.0.1:9162\"";
    let world = World::prepare(
        &GateConfig::new(backend)
            .gate("run_as = \"postern\"")
            .section(metrics),
    );
    let machine = Booted::start(&world);
    let verify = "systemd-analyze verify posternd.service 2>&1 | grep -v 'Command .man ' || true";
    assert_eq!(machine.tell(verify), "");

    machine.tell("systemctl start posternd");
    // Before there is a config.
    machine.expect_shown(&[("ActiveState", "inactive"), ("ConditionResult", "no")]);

    machine.configure();
    machine.tell("systemctl start posternd");
    machine.expect_shown(&[
        ("ActiveState", "active"),
        ("SubState", "running"),
        ("StatusText", "1 user, 0 grants open"),
    ]);
    let status = machine.tell("posternd status --json");
    let log = machine.tell("journalctl -u posternd -o cat --no-pager");
    assert!(status.contains("\"hint_filter\": true"), "{status}\n{log}");
    // A limit that root itself can't lift here, no unit can.
    let known = if machine.ask("prlimit --memlock=unlimited:unlimited true").0 {
        "nothing"
    } else {
        "RLIMIT_MEMLOCK"
    };
    let is_loose = |line: &&str| line.contains("sandbox is incomplete") && !line.contains(known);
    let loose: Vec<&str> = log.lines().filter(is_loose).collect();
    assert_eq!(loose, [""; 0], "the unit keeps the sandbox from closing");
    for family in FAMILIES {
        world.first.expect_shut_out(family);
        world.first.open("alice", family, &["--for", "10m"]);
    }
    world.first.knock("alice", Family::V4, &["-s", "tcp/1"]);
    machine.wait_until_it_shows("StatusText", "1 user, 2 grants open");
    let refused = "journalctl -u posternd POSTERN_USER=alice POSTERN_RULE=services POSTERN_SOURCE=10.77.0.2 PRIORITY=6 SYSLOG_IDENTIFIER=posternd _UID=$(id -u postern) -o cat --no-pager";
    machine.wait_until_it_says(refused, "refused: alice");
    let opened = machine.tell("journalctl -u posternd POSTERN_USER=alice POSTERN_ID=1 PRIORITY=6 _UID=0 -o cat --no-pager");
    assert!(opened.contains("open: grant"), "{opened}");

    let file = "/var/lib/prometheus/node-exporter/postern.prom";
    let figure = format!("grep -x 'postern_grants 2' {file}");
    machine.wait_until_it_says(&figure, "postern_grants 2\n");
    let owners = machine.tell("stat -c '%U %a' /var/lib/postern /var/lib/postern.monitor");
    assert_eq!(owners, "postern 700\nroot 700");

    // It ends when the config is in force, and fails where it is not.
    machine.tell("systemctl reload posternd");
    let starts = "journalctl -u posternd -o cat --no-pager | grep -c 'the engine serves'";
    machine.wait_until_it_says(starts, "2\n");
    machine.tell(
        "cp -p /etc/postern/posternd.toml /run/good && echo nonsense >>/etc/postern/posternd.toml",
    );
    assert!(!machine.ask("systemctl reload posternd").0);
    machine.tell("mv /run/good /etc/postern/posternd.toml && systemctl reload posternd");
    machine.wait_until_it_shows("ActiveState", "active");
    assert!(machine.tell("posternd status").contains("1 user"));
    assert_eq!(machine.holders(), ["alice", "alice"]);

    machine.tell("systemctl stop posternd");
    machine.expect_shown(&[("ActiveState", "inactive"), ("Result", "success")]);
    assert!(!machine.ask(&format!("test -e {file}")).0);
    // Grants and protection stay in the kernel.
    world.first.expect_let_in(Family::V4);
    world.second.expect_shut_out(Family::V4);
}

/// A monitor that is killed comes back, and so does one that hangs; with an invalid config it is not restarted.
pub(crate) fn systemd_restarts_after_kill_and_hang() {
    let world = World::prepare(&GateConfig::new("nftables").gate("run_as = \"postern\""));
    let machine = Booted::start(&world);
    machine.configure();
    let impatient = "[Service]\\nWatchdogSec=4\\nTimeoutAbortSec=1\\n";
    machine.tell(&format!(
        "mkdir -p /etc/systemd/system/posternd.service.d && printf '{impatient}' >/etc/systemd/system/posternd.service.d/test.conf"
    ));
    machine.tell("systemctl daemon-reload && systemctl start posternd");
    world.first.open("alice", Family::V4, &["--for", "10m"]);

    for (restarts, how) in [("1", "KILL"), ("2", "STOP")] {
        machine.tell(&format!("systemctl kill --kill-who=main -s {how} posternd"));
        machine.wait_until_it_shows("NRestarts", restarts);
        machine.wait_until_it_shows("ActiveState", "active");
        assert!(machine.holders().contains(&"alice".to_owned()));
        world.first.open("alice", Family::V6, &[]);
        world.first.expect_let_in(Family::V4);
    }
    let log = machine.tell("journalctl -u posternd --no-pager");
    assert!(log.contains("Watchdog timeout"), "{log}");

    machine.tell("systemctl stop posternd && echo nonsense >>/etc/postern/posternd.toml");
    assert!(!machine.ask("systemctl start posternd").0);
    machine.wait_until_it_shows("ActiveState", "failed");
    machine.expect_shown(&[("NRestarts", "0"), ("ExecMainStatus", "78")]);
    let said = machine.tell(
        "journalctl -u posternd SYSLOG_IDENTIFIER=posternd PRIORITY=3 -o cat --no-pager -n 2",
    );
    assert!(
        said.starts_with("/etc/postern/posternd.toml:") && said.contains("this is not TOML"),
        "{said}"
    );
}
