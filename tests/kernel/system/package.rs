//! The package: that everything is in it and in its place, and that it can be installed, used, upgraded and taken away again.
//!
//! It is made by `dist/package` of the programs that the tests run, so nothing is built for it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::DRIVER;
use super::booted::Booted;
use postern_harness::{
    Family, GateConfig, SERVICE, World, postern, posternd, repository, text, wait_for,
};

/// What `dist/package` made, and what it said.
struct Made {
    folder: PathBuf,
    said: String,
}

impl Made {
    fn file(&self, ending: &str) -> PathBuf {
        let mut files = fs::read_dir(&self.folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .find(|path| path.to_string_lossy().ends_with(ending))
            .unwrap_or_else(|| panic!("no {ending}: {}", self.said))
    }
}

/// Made once, for all tests.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        let mut command = Command::new(root().join("dist/package"));
        command
            .args(["--no-build", "--profile", "dev", "--fast", "--strip"])
            .env("PACKAGES", &folder);
        // The folder of `debug` that these programs lie in.
        let target = Path::new(posternd())
            .parent()
            .and_then(Path::parent)
            .unwrap();
        let output = command
            .env("CARGO_TARGET_DIR", target)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&output) + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        Made { folder, said }
    })
}

fn root() -> &'static Path {
    repository()
}

pub(crate) fn can_be_made() -> bool {
    let mut tools = [["cargo-deb", "--version"], ["cargo-cyclonedx", "cyclonedx"]]
        .into_iter()
        .map(|[tool, argument]| {
            let mut command = Command::new(tool);
            command
                .args([argument, "--version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        });
    tools.all(|is_there| is_there)
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    text(&output)
}

/// What the package must hold, with the mode.
const FILES: [(&str, &str); 10] = [
    ("-rwxr-xr-x", "usr/bin/postern"),
    ("-rwxr-xr-x", "usr/bin/posternd"),
    ("-rw-r--r--", "usr/lib/systemd/system/posternd.service"),
    ("-rw-r--r--", "usr/lib/sysusers.d/postern.conf"),
    ("-rw-r--r--", "usr/lib/tmpfiles.d/postern.conf"),
    (
        "-rw-r--r--",
        "usr/share/bash-completion/completions/posternd",
    ),
    ("-rw-r--r--", "usr/share/doc/postern/README.md"),
    ("-rw-r--r--", "usr/share/doc/postern/examples/ipset.sh"),
    ("-rw-r--r--", "usr/share/doc/postern/postern.cdx.json"),
    ("-rw-r--r--", "usr/share/man/man8/posternd.8.gz"),
];

/// In the Debian package, and under one folder in the archive.
pub(crate) fn package_holds_every_file() {
    let package = made().file(".deb");
    let package = package.to_str().unwrap();
    let archive = made().file(".tar.gz");
    for listing in [
        said_by("dpkg-deb", &["--contents", package]),
        said_by("tar", &["-tvzf", archive.to_str().unwrap()]),
    ] {
        for (mode, file) in FILES {
            let line = listing
                .lines()
                .find(|line| line.ends_with(&format!("/{file}")))
                .unwrap_or_else(|| panic!("no {file}: {listing}"));
            let is_roots = line.contains("root/root") || line.contains("0/0");
            assert!(line.starts_with(mode) && is_roots, "{line}");
        }
    }
    let info = said_by("dpkg-deb", &["--info", package]);
    let version = format!("Version: {}-1\n", env!("CARGO_PKG_VERSION"));
    for part in [
        &version,
        "libc6",
        "systemd-sysusers",
        "postinst",
        "prerm",
        "postrm",
    ] {
        assert!(info.contains(part), "no {part}: {info}");
    }
}

pub(crate) fn package_has_no_lintian_error() {
    let said = &made().said;
    assert!(
        said.contains("lintian: no errors") && !said.contains("\nE: "),
        "{said}"
    );
}

pub(crate) fn package_installs_serves_and_is_removed() {
    let world = World::prepare(&GateConfig::new(DRIVER).gate("run_as = \"postern\""));
    fs::copy(made().file(".deb"), world.folder().join("postern.deb")).unwrap();
    let machine = Booted::start_bare(&world);
    assert!(
        !machine
            .ask("getent passwd postern || command -v posternd")
            .0,
        "it is not as bare as it should be"
    );

    let said = machine.tell("dpkg --install /mnt/postern.deb");
    assert!(
        said.contains("the gate starts once there is a config"),
        "{said}"
    );
    assert_eq!(
        [machine.shows("UnitFileState"), machine.shows("ActiveState")],
        ["enabled", "inactive"]
    );
    let user = machine.tell("getent passwd postern");
    assert!(user.contains(":/") && user.ends_with("nologin"), "{user}");
    assert_eq!(
        machine.tell("man -w posternd posternd.toml postern postern-config | wc -l"),
        "4"
    );
    assert_eq!(
        machine.tell("stat -c '%a %U' /run/xtables.lock"),
        "600 root"
    );

    machine.configure();
    machine.tell("systemctl start posternd");
    world.first.knock("alice", Family::V4, &["--for", "10m"]);
    world.first.expect_let_in(Family::V4);
    world.second.expect_shut_out(Family::V4);

    // An upgrade starts it anew, and what is open stays open.
    let before = machine.shows("MainPID");
    machine.tell("dpkg --install /mnt/postern.deb");
    machine.wait_until_it_shows("ActiveState", "active");
    assert_ne!(machine.shows("MainPID"), before);
    assert_eq!(machine.holders(), ["alice"]);
    world.first.expect_let_in(Family::V4);

    // Taken away, it closes nothing any more.
    machine.tell("dpkg --remove postern");
    world.second.expect_let_in(Family::V4);
    let rules = machine
        .ask("nft list ruleset; iptables-save; ip6tables-save")
        .1;
    assert!(!rules.to_lowercase().contains("postern"), "{rules}");
    machine.tell("dpkg --purge postern");
    wait_for("its files to be gone", || {
        (!machine
            .ask("ls -d /var/lib/postern* /usr/share/doc/postern /usr/bin/postern* 2>/dev/null")
            .1
            .contains('/'))
        .then_some(())
    });
    machine.tell("test -s /etc/postern/posternd.toml");
}

/// From the package to a connection: what a new user types, on a machine that has never seen Postern.
pub(crate) fn package_is_set_up_in_few_commands() {
    let world = World::prepare(&GateConfig::empty(DRIVER));
    fs::copy(made().file(".deb"), world.folder().join("postern.deb")).unwrap();
    let machine = Booted::start_bare(&world);
    machine.tell("dpkg --install /mnt/postern.deb");
    machine.tell("posternd init --name gate.test --address 10.77.0.1 --address fd77::1");
    machine.tell("systemctl start posternd");
    assert_eq!(
        [machine.shows("ActiveState"), machine.shows("StatusText")],
        ["active", "0 users, 0 grants open"]
    );
    world.first.expect_let_in(Family::V4);

    // The daemon that runs within its walls takes the new user in at once, and hides the service.
    let said = machine.tell(&format!(
        "posternd user add alice --service tcp/{SERVICE} --json"
    ));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["reload"], "done");
    let token = said["token"].as_str().unwrap();
    world.first.expect_both_shut_out();
    let config = world.folder().join("client/config.toml");
    let postern = |arguments: &'static str, input: &str| {
        let (config, input) = (config.clone(), input.to_owned());
        world.first.space.run(move || {
            let mut command = Command::new(postern());
            command
                .args(arguments.split(' '))
                .env_clear()
                .env("POSTERN_CONFIG", config);
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(input.as_bytes())
                .unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "postern {arguments}: {output:?}");
        });
    };
    postern("import --profile home", token);
    postern("knock home --wait", "");
    drop((
        world.first.expect_let_in(Family::V4),
        world.first.expect_let_in(Family::V6),
    ));
    world.second.expect_shut_out(Family::V4);
    machine.tell("posternd user disable alice");
    world.first.expect_both_shut_out();
    assert_eq!(machine.holders(), [""; 0]);
}
