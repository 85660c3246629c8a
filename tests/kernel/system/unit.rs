//! The unit: its restrictions, and that posternd works with them, first with the same rights, then under systemd itself.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::Command;

use rustix::process::Signal;

use super::DRIVER;
use super::booted::Booted;
use postern_harness::{FAMILIES, Family, GateConfig, SERVICE, World, repository, text, wait_until};

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
    let draft = state.join("marks.log.new");
    let all = || [state.clone(), state.join("marks.log")];
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

/// Needs what posternd's unit takes from a hook: a home folder, a file of another user, and a program that changes its group.
const NEEDY: &str = r#"#!/bin/sh
said=/run/said/$1
[ -w /run/said ] || said=/run/postern/$1
{ cat /home/carol/key; cat /srv/carol; setpriv --reuid=backup --regid=backup --clear-groups /usr/local/bin/as-mail -gn; id -un; echo "$2"; } >$said.new 2>&1
mv $said.new $said
if [ -e /run/said/hang ]; then sleep 6543 & sleep 6543; fi
exit 3
"#;

/// Installs what the hook needs.
const NEEDS: &str = "mkdir -m 1777 /run/said && mkdir -m 700 /home/carol && echo secret >/home/carol/key && echo mine >/srv/carol && chmod 600 /home/carol/key /srv/carol && chown -R games /home/carol /srv/carol && install -m 2755 -g mail /usr/bin/id /usr/local/bin/as-mail && install -m 755 /mnt/needy /usr/local/sbin/needy";

/// The drop-in of the page about hooks.
fn drop_in() -> String {
    let page = fs::read_to_string(repository().join("docs/other-firewalls.md")).unwrap();
    let (_, rest) = page.split_once("posternd.service.d/hooks.conf\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A machine with the hook, whose section has this line.
struct Hooked {
    world: World,
    machine: Booted,
}

impl Hooked {
    fn plan(place: &str) -> GateConfig {
        let hook = "on_open = [\"/usr/local/sbin/needy\", \"{user}\", \"$HOME %h {{\"]";
        let section = format!("[service.hidden]\nports = [\"tcp/{SERVICE}\"]\n{hook}\n{place}\n");
        let plan = GateConfig::new("nftables").gate("run_as = \"postern\"");
        plan.section(&section)
    }

    fn start(place: &str) -> Self {
        let world = World::prepare(&Self::plan(place));
        world.install("needy", NEEDY);
        world.write("hooks.conf", &drop_in());
        let machine = Booted::start(&world);
        machine.tell(NEEDS);
        machine.configure();
        Self { world, machine }
    }

    fn restart(&self, place: &str) {
        self.world.rewrite(&Self::plan(place));
        self.machine.configure();
        self.machine.tell("systemctl restart posternd");
    }

    /// What the hook of a new grant says.
    fn said(&self) -> String {
        let machine = &self.machine;
        machine.tell("posternd close --all && rm -f /run/said/alice /run/postern/alice");
        self.world.first.open("alice", Family::V4, &[]);
        let said = "cat /run/said/alice || cat /run/postern/alice";
        wait_until("the hook", || machine.ask(said).0);
        machine
            .ask("cat /run/said/alice /run/postern/alice 2>/dev/null")
            .1
    }

    fn wait_for_line(&self, line: &str) {
        let log = "journalctl -u posternd -o cat --no-pager";
        self.machine.wait_until_it_says(log, line);
    }
}

const ALL: &str = "secret\nmine\nmail\nroot\n$HOME %h {\n";
const FAILED: &str = "on_open of hidden failed, the grant stays open";

pub(crate) fn hooks_work_in_units_of_their_own() {
    let own = "run_hooks_in = \"transient-unit\"";
    let hooked = Hooked::start(own);
    let machine = &hooked.machine;
    let warning = "hooks of service hidden cannot run in a transient unit";
    assert!(machine.ask("posternd check").1.contains(warning));
    machine.tell("systemctl start dbus.socket dbus.service posternd");
    let said = machine.ask("posternd check").1;
    assert!(!said.contains(warning), "{said}");
    assert_eq!(hooked.said(), ALL);
    hooked.wait_for_line("needy in a transient unit failed with exit status 3");
    hooked.restart(&format!("{own}\nrun_hooks_as = \"games\""));
    let said = hooked.said();
    assert!(
        said.starts_with("secret\nmine\n") && said.ends_with("games\n$HOME %h {\n"),
        "{said}"
    );
    // A hook that hangs ends with all that it started, and is reported.
    machine.tell("touch /run/said/hang");
    hooked.said();
    assert_eq!(machine.tell("pgrep -xc sleep"), "2");
    let failures = format!("journalctl -u posternd -o cat --no-pager | grep -c '{FAILED}'");
    machine.wait_until_it_says(&failures, "3\n");
    assert!(!machine.ask("pgrep -x sleep").0);
}

pub(crate) fn drop_in_of_the_page_frees_hooks() {
    let hooked = Hooked::start("");
    let machine = &hooked.machine;
    machine.tell("systemctl start posternd");
    let limited = hooked.said();
    let is_limited = limited.contains("denied") && limited.contains("\nbackup\nroot\n");
    assert!(is_limited, "{limited}");
    hooked.wait_for_line(FAILED);
    machine.tell("install -D /mnt/hooks.conf /etc/systemd/system/posternd.service.d/hooks.conf");
    machine.tell("systemctl daemon-reload && systemctl restart posternd");
    assert_eq!(hooked.said(), ALL);
}

/// Inside the unit's limits and the monitor's sandbox, `journalctl` runs.
pub(crate) fn unit_reads_the_journal() {
    let user = format!("services = [\"tcp/{SERVICE}\"]\nsequence = [\"tcp/7000\"]");
    let config = GateConfig::empty(DRIVER)
        .gate("run_as = \"postern\"\ncapture = { journal = true, prefix = \"KNOCK \" }");
    let world = World::prepare(&config.user_with("legacy", &user));
    let machine = Booted::start(&world);
    machine.tell("systemd-sysusers");
    machine.configure();
    machine.tell("systemctl start posternd");
    let lines = "systemctl show posternd --value -p MainPID | xargs -I{} pgrep -P {} journalctl";
    let first = machine.tell(lines);
    machine.tell(&format!("kill {first}"));
    wait_until("another journalctl", || {
        let (runs, second) = machine.ask(lines);
        runs && second.trim() != first
    });
    machine.wait_until_it_says(
        "posternd status",
        "listening on the journal: 0 hits received, 0 dropped by the kernel, 0 malformed lines, journalctl started again 1 time",
    );
}
