//! `posternd init`: what it makes, with which modes, and that it keeps everything that exists.
//!
//! Each run has mounts of its own, so that users and folders of the host do not change.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::gate::{Gate, KEY, Ran};

/// A private host: /etc is a copy, /var/lib and /run are empty. `$P` is posternd, `$C` the option for its config.
const HOST: &str =
    "set -e; mount -t tmpfs none /var/lib; mount -t tmpfs none /run; mkdir /run/etc; cp -a /etc/. /run/etc; mount --bind /run/etc /etc
sed -i /^postern:/d /etc/passwd /etc/group /etc/shadow /etc/gshadow
for last do :; done; C=\"--config $last\"; P=\"$1\"; set +e\n";

fn on_a_host(gate: &Gate, script: &str) -> Ran {
    gate.run_through(&format!("{HOST}{script}"), &[])
}

fn mode(gate: &Gate, name: &str) -> u32 {
    fs::metadata(gate.path(name)).unwrap().permissions().mode() & 0o7777
}

fn text(gate: &Gate, name: &str) -> String {
    fs::read_to_string(gate.path(name)).unwrap()
}

pub(crate) fn init_makes_complete_private_gate() {
    let gate = Gate::empty();
    let ran = on_a_host(
        &gate,
        "$P init --name gate.example.org --address 192.0.2.1 --address [2001:db8::1] --port 5000 $C; echo \"code $?\"
         stat -c '%a %U %G %n' /var/lib/postern; getent passwd postern; $P check $C",
    );
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    for line in [
        "gate gate.example.org",
        "  user   made postern",
        "code 0",
        "700 postern postern /var/lib/postern",
        "ok: gate gate.example.org, 0 users; ",
    ] {
        assert!(
            ran.out.lines().any(|said| said.starts_with(line)),
            "{line}\n{}",
            ran.out
        );
    }
    let passwd = ran
        .out
        .lines()
        .find(|line| line.starts_with("postern:"))
        .unwrap();
    assert!(
        passwd.ends_with(":/nonexistent:/usr/sbin/nologin"),
        "{passwd}"
    );
    for (name, bits) in [
        ("posternd.toml", 0o600),
        ("gate.key", 0o600),
        ("users.d", 0o700),
    ] {
        assert_eq!(mode(&gate, name), bits, "{name}");
        let path = gate.path(name).display().to_string();
        assert!(
            ran.out
                .lines()
                .any(|line| line.ends_with(&format!(" made {path}"))),
            "{path}\n{}",
            ran.out
        );
    }
    let config = text(&gate, "posternd.toml");
    for line in [
        "name = \"gate.example.org\"",
        "port = 5000",
        "address = [\"192.0.2.1:5000\", \"[2001:db8::1]:5000\"]",
        "run_as = \"postern\"",
        "private_key = \"gate.key\"",
    ] {
        assert!(config.lines().any(|said| said == line), "{line}\n{config}");
    }
    let next: Vec<&str> = ran
        .out
        .lines()
        .skip_while(|line| *line != "next:")
        .skip(1)
        .take(3)
        .collect();
    let option = format!(" --config {}", gate.path("posternd.toml").display());
    assert_eq!(
        next,
        [
            format!("  posternd user add NAME -s tcp/22{option}"),
            format!("  posternd check{option}"),
            format!("  posternd run --trial 5m{option}")
        ]
    );
}

pub(crate) fn second_init_changes_nothing() {
    let gate = Gate::empty();
    on_a_host(&gate, "$P init --name gate.test $C");
    let before = [text(&gate, "posternd.toml"), text(&gate, "gate.key")];
    let ran = on_a_host(
        &gate,
        "useradd --system postern; $P init --name other.test --port 5 $C; echo \"code $?\"",
    );
    assert!(
        ran.out.contains("code 0") && ran.out.starts_with("gate gate.test\n"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert_eq!(
        [text(&gate, "posternd.toml"), text(&gate, "gate.key")],
        before
    );
    let made: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| line.contains(" made "))
        .collect();
    assert_eq!(
        made,
        ["  state  made /var/lib/postern"],
        "this host has no state yet"
    );
    assert!(ran.out.contains("note: the config existed, so --name, --address and --port had no effect; edit the config\n"), "{}", ran.out);
}

pub(crate) fn init_completes_existing_config() {
    let gate = Gate::good(
        "private_key = \"FOLDER/keys.of.the.gate\"\nrun_as = \"daemon\"",
        "backend = \"iptables\"",
        "key = \"KEY\"",
    );
    let before = text(&gate, "posternd.toml");
    let ran = on_a_host(
        &gate,
        "$P init $C; echo \"code $?\"; ls /var/lib; getent passwd postern",
    );
    assert!(ran.out.contains("code 0"), "{}{}", ran.out, ran.err);
    assert_eq!(text(&gate, "posternd.toml"), before);
    assert_eq!(
        (
            mode(&gate, "keys.of.the.gate"),
            mode(&gate, "state"),
            mode(&gate, "users.d")
        ),
        (0o600, 0o700, 0o700)
    );
    assert!(
        !gate.path("gate.key").exists() && ran.out.contains("  user   kept daemon\n"),
        "{}",
        ran.out
    );
    assert!(
        !ran.out.contains("posternd user add"),
        "there is a user: {}",
        ran.out
    );
    assert!(
        ran.out.ends_with("code 0\n"),
        "nothing in /var/lib, no user postern: {}",
        ran.out
    );
}

pub(crate) fn init_makes_missing_gate_key() {
    let gate = Gate::good("", "", "key = \"KEY\"");
    let ran = on_a_host(&gate, "$P init $C");
    let line = format!(
        "note: for users with key pairs, add to [gate] in the config: private_key = \"{}\"\n",
        gate.path("gate.key").display()
    );
    assert!(ran.out.contains(&line), "{}", ran.out);
    assert_eq!(mode(&gate, "gate.key"), 0o600);
}

pub(crate) fn key_pair_users_may_precede_gate_key() {
    let user = format!("public_key = \"{KEY}\"");
    let gate = Gate::good("private_key = \"FOLDER/gate.key\"", "", &user);
    assert_eq!(gate.run("check").code, Some(78));
    let ran = on_a_host(&gate, "$P init $C; echo \"code $?\"");
    assert!(ran.out.contains("code 0"), "{}{}", ran.out, ran.err);
}

pub(crate) fn init_refuses_invalid_files() {
    let gate = Gate::good("windw = \"30s\"", "", "key = \"KEY\"");
    let line = on_a_host(&gate, "$P init $C; exit $?").one_line(78);
    assert!(
        line.contains(":5:1: unknown key \"windw\" in [gate]"),
        "{line}"
    );
    assert!(!gate.path("users.d").exists() && !gate.path("gate.key").exists());

    let gate = Gate::empty();
    gate.write("gate.key", "not a key\n");
    let line = on_a_host(&gate, "$P init --name g $C; exit $?").one_line(78);
    assert!(
        line.contains("gate.key: a key must have exactly 44 characters of base64; move it away"),
        "{line}"
    );
    assert_eq!(text(&gate, "gate.key"), "not a key\n");
    assert!(!gate.path("posternd.toml").exists());

    let gate = Gate::empty();
    gate.mode("", 0o777);
    let line = on_a_host(&gate, "$P init --name g $C; exit $?").one_line(78);
    assert!(
        line.contains("is a folder that others may write to") && line.contains("; run chmod go-w "),
        "{line}"
    );
    gate.mode("", 0o755);
}

pub(crate) fn init_without_useradd_uses_nobody() {
    let none = "for p in /usr/sbin/useradd /usr/sbin/adduser; do mount --bind /dev/null $p; done\n";
    let refused = "printf '#!/bin/sh\\necho no room >&2\\nexit 12\\n' > /run/no; chmod 755 /run/no
                   mount --bind /run/no /usr/sbin/useradd; mount --bind /dev/null /usr/sbin/adduser\n";
    for (how, why) in [
        (none, "there is no useradd or adduser on this host"),
        (
            refused,
            "/usr/sbin/useradd failed with exit status 12: no room",
        ),
    ] {
        let gate = Gate::empty();
        let ran = on_a_host(
            &gate,
            &format!("{how} $P init --name g $C; echo \"code $?\"; stat -c '%U' /var/lib/postern"),
        );
        assert!(
            ran.out.contains("code 0\nnobody\n"),
            "{}{}",
            ran.out,
            ran.err
        );
        let note = format!(
            "note: the user postern could not be made ({why}), so the engine runs as nobody; see run_as in the config\n"
        );
        assert!(ran.out.contains(&note), "{}", ran.out);
        assert!(text(&gate, "posternd.toml").contains("\nrun_as = \"nobody\"\n"));
    }
}

pub(crate) fn gate_name_defaults_to_host_name() {
    for (set, name) in [
        (
            "echo '127.0.1.1 box.example.org box' >> /etc/hosts; hostname box",
            "box.example.org",
        ),
        (
            "hostname lonely; mount --bind /dev/null /bin/hostname",
            "lonely",
        ),
    ] {
        let gate = Gate::empty();
        // A UTS namespace, so that the host's name does not change.
        let script = format!("{HOST}{set}; $P init $C").replace('\'', "'\\''");
        let ran = gate.run_through(
            &format!("exec unshare -u /bin/sh -c '{script}' sh \"$@\""),
            &[],
        );
        assert!(
            ran.out.starts_with(&format!("gate {name}\n")),
            "{}{}",
            ran.out,
            ran.err
        );
    }
}

pub(crate) fn init_requires_root() {
    let gate = Gate::empty();
    let line = gate.run_as_nobody("init --name g").one_line(77);
    assert!(line.ends_with("; run posternd init as root"), "{line}");
}

pub(crate) fn new_gate_accepts_users_while_it_runs() {
    let gate = Gate::empty();
    let ran = on_a_host(
        &gate,
        "$P init --name gate.test --address 192.0.2.1 $C && $P user add alice -s tcp/22 $C | grep 'no posternd is running'
         $P run $C 2>/run/log & pid=$!
         n=0; until $P status $C 2>/dev/null; do n=$((n+1)); [ $n -lt 600 ] || { cat /run/log; exit 9; }; sleep 0.05; done
         $P user add bob -s tcp/80 $C | grep 'has read it'
         n=0; until $P status --json $C | grep 'users.: 2'; do n=$((n+1)); [ $n -lt 200 ] || exit 8; sleep 0.05; done
         grep -c 'the config is in force' /run/log
         kill $pid; wait $pid; echo \"code $?\"",
    );
    for line in [
        "no posternd is running: it is in force once posternd is started",
        "the running posternd has read it: it is in force",
        "  \"users\": 2",
        "1",
        "code 0",
    ] {
        assert!(
            ran.out
                .lines()
                .any(|said| said.trim_end_matches(',') == line),
            "{line}\n{}{}",
            ran.out,
            ran.err
        );
    }
}
