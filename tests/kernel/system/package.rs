//! The package: that everything is in it and in its place, and that it can be installed, used, upgraded and removed.
//!
//! It is made by `dist/package` of the programs that the tests run, so nothing is built for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::DRIVER;
use super::booted::Booted;
use postern_harness::{Family, GateConfig, SERVICE, World, posternd, repository, text, wait_until};

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
    let is_there = |tool, argument| {
        let ran = Command::new(tool).args([argument, "--version"]).output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    is_there("cargo-deb", "--version") && is_there("cargo-cyclonedx", "cyclonedx")
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    text(&output)
}

const FILES: [(&str, &str); 12] = [
    ("-rwxr-xr-x", "usr/bin/postern"),
    ("-rwxr-xr-x", "usr/bin/posternd"),
    ("-rw-r--r--", "usr/lib/systemd/system/posternd.service"),
    (
        "-rw-r--r--",
        "usr/lib/systemd/system/postern-protect.service",
    ),
    ("-rw-r--r--", "usr/lib/systemd/user/postern-keep@.service"),
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

pub(crate) fn bill_of_materials_names_every_crate() {
    let archive = made().file(".tar.gz");
    let file = ["--wildcards", "*/postern.cdx.json"];
    let bill = said_by(
        "tar",
        &[&["-xOzf", archive.to_str().unwrap()], &file[..]].concat(),
    );
    let bill: Value = serde_json::from_str(&bill).unwrap();
    let named = bill["components"].as_array().unwrap().iter();
    let named = named.map(|one| format!("{} v{}", one["name"], one["version"]).replace('"', ""));
    let named: BTreeSet<String> = named.collect();
    let manifest = root().join("Cargo.toml");
    let manifest = ["--manifest-path", manifest.to_str().unwrap(), "--locked"];
    let tree = ["tree", "-e", "normal", "--prefix", "none", "-f", "{p}"];
    let linked = said_by("cargo", &[&tree[..], &manifest].concat());
    let crates = linked
        .lines()
        .skip(1)
        .map(|line| line.split(" (").next().unwrap().to_owned());
    let crates: BTreeSet<String> = crates.filter(|one| !one.is_empty()).collect();
    assert!(crates.len() > 50, "{linked}");
    let missing: Vec<_> = crates.difference(&named).collect();
    assert!(missing.is_empty(), "not in the bill: {missing:?}");
}

pub(crate) fn package_has_no_lintian_error() {
    let said = &made().said;
    let is_clean = said.contains("lintian: no errors") && !said.contains("\nE: ");
    assert!(is_clean, "{said}");
}

pub(crate) fn package_installs_serves_and_is_removed() {
    let world = World::prepare(&GateConfig::new(DRIVER).gate("run_as = \"postern\""));
    fs::copy(made().file(".deb"), world.folder().join("postern.deb")).unwrap();
    let machine = Booted::start_bare(&world);
    let (has_any, said) = machine.ask("getent passwd postern || command -v posternd");
    assert!(!has_any, "the machine has more than expected: {said}");

    let said = machine.tell("dpkg --install /mnt/postern.deb");
    let hint = "the gate needs a config before it starts";
    assert!(said.contains(hint), "{said}");
    machine.expect_shown(&[("UnitFileState", "enabled"), ("ActiveState", "inactive")]);
    let protects = machine.tell("systemctl is-enabled postern-protect");
    assert_eq!(protects, "enabled");
    let user = machine.tell("getent passwd postern");
    assert!(user.contains(":/") && user.ends_with("nologin"), "{user}");
    let pages = machine.tell("man -w posternd posternd.toml postern postern-config | wc -l");
    assert_eq!(pages, "4");
    let lock = machine.tell("stat -c '%a %U' /run/xtables.lock");
    assert_eq!(lock, "600 root");

    machine.configure();
    machine.tell("systemctl start posternd");
    world.first.open("alice", Family::V4, &["--for", "10m"]);
    world.second.expect_shut_out(Family::V4);

    // An upgrade restarts it, and open grants stay open.
    let before = machine.shows("MainPID");
    machine.tell("dpkg --install /mnt/postern.deb");
    machine.wait_until_it_shows("ActiveState", "active");
    assert_ne!(machine.shows("MainPID"), before);
    assert_eq!(machine.holders(), ["alice"]);
    world.first.expect_let_in(Family::V4);

    // After removal it closes nothing.
    machine.tell("dpkg --remove postern");
    world.second.expect_let_in(Family::V4);
    machine.tell("test ! -e /var/lib/postern.protect");
    let (_, rules) = machine.ask("nft list ruleset; iptables-save; ip6tables-save");
    assert!(!rules.to_lowercase().contains("postern"), "{rules}");
    machine.tell("dpkg --purge postern");
    let files = "ls -d /var/lib/postern* /usr/share/doc/postern /usr/bin/postern* 2>/dev/null";
    wait_until("its files to be gone", || {
        !machine.ask(files).1.contains('/')
    });
    machine.tell("test -s /etc/postern/posternd.toml");
}

pub(crate) fn removal_names_saved_rules() {
    let root = tempfile::tempdir().unwrap();
    let save = |file: &str, text: &str| {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    save("etc/nftables.conf", "table inet filter {\n}\n");
    save("etc/nftables.d/all.nft", "table inet postern {\n}\n");
    save("etc/iptables/rules.v4", "-A INPUT -j POSTERN\n");
    save(
        "etc/iptables/rules.v6",
        "--comment \"postern 0x2400/0x3c00 tcp/22\" -j ACCEPT\n",
    );
    for (action, count) in [("remove", 3), ("upgrade", 0)] {
        let script = self::root().join("dist/debian/prerm");
        let ran = Command::new("sh")
            .arg(script)
            .arg(action)
            .env("DPKG_ROOT", root.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}");
        assert_eq!(said.lines().count(), count, "{said}");
        assert!(!said.contains("/etc/nftables.conf"), "{said}");
    }
}

/// From the package to a connection: what a new user types, on a machine that has never seen Postern.
pub(crate) fn package_is_set_up_in_few_commands() {
    let world = World::prepare(&GateConfig::empty(DRIVER));
    fs::copy(made().file(".deb"), world.folder().join("postern.deb")).unwrap();
    let machine = Booted::start_bare(&world);
    machine.tell("dpkg --install /mnt/postern.deb");
    machine.tell("posternd init --name gate.test --address 10.77.0.1 --address fd77::1");
    machine.tell("systemctl start posternd");
    let idle = "0 users, 0 grants open";
    machine.expect_shown(&[("ActiveState", "active"), ("StatusText", idle)]);
    world.first.expect_let_in(Family::V4);

    // The daemon in its sandbox admits the new user at once, and hides the service.
    let said = machine.tell(&format!(
        "posternd user add alice --service tcp/{SERVICE} --json"
    ));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["reload"], "done");
    let token = said["token"].as_str().unwrap();
    world.first.expect_both_shut_out();
    let file = world.write("token", token);
    for words in [
        &["import", "--profile", "home", file.to_str().unwrap()][..],
        &["knock", "home", "--wait"],
    ] {
        let ran = world.first.postern("new", words);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    world.first.expect_both_let_in();
    world.second.expect_shut_out(Family::V4);
    machine.tell("posternd user disable alice");
    world.first.expect_both_shut_out();
    assert_eq!(machine.holders(), [""; 0]);
}
