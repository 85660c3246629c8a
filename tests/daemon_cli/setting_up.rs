//! `posternd init`: what it makes, with which modes, and that it keeps everything that exists.
//!
//! Each run has mounts of its own, so that users and folders of the host do not change.

use crate::gate::{Gate, KEY, Ran, says};

/// A private host: /etc is a copy, /var/lib and /run are empty. `$P` is posternd, `$C` the option for its config.
const HOST: &str =
    "set -e; mount -t tmpfs none /var/lib; mount -t tmpfs none /run; mkdir /run/etc; cp -a /etc/. /run/etc; mount --bind /run/etc /etc
sed -i /^postern:/d /etc/passwd /etc/group /etc/shadow /etc/gshadow
for last do :; done; C=\"--config $last\"; P=\"$1\"; set +e\n";

fn on_a_host(gate: &Gate, script: &str) -> Ran {
    gate.run_through(&format!("{HOST}{script}"), "")
}

#[track_caller]
fn has_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line}\n{text}");
    }
}

pub(crate) fn init_makes_complete_private_gate() {
    let gate = Gate::empty();
    let option = format!(" --config {}", gate.place("posternd.toml"));
    let said = on_a_host(
        &gate,
        "$P init --name gate.example.org --address 192.0.2.1 --address [2001:db8::1] --port 5000 $C; echo \"code $?\"
         stat -c '%a %U %G %n' /var/lib/postern; getent passwd postern; $P check $C",
    )
    .ok();
    let folder = "code 0\n700 postern postern /var/lib/postern\n";
    let user = "postern:…:/nonexistent:/usr/sbin/nologin\n";
    let next = format!(
        "next:\n  posternd user add NAME -s tcp/22{option}\n  posternd check{option}\n  posternd run --trial 5m{option}\n"
    );
    let ok = "ok: gate gate.example.org, 0 users; ";
    says(
        &said,
        &format!("gate gate.example.org\n…{next}{folder}{user}…{ok}…"),
    );
    for (name, bits) in [
        ("posternd.toml", 0o600),
        ("gate.key", 0o600),
        ("users.d", 0o700),
    ] {
        assert_eq!(gate.mode_of(name), bits, "{name}");
        says(&said, &format!("… made {}\n…", gate.place(name)));
    }
    let settings = [
        "name = \"gate.example.org\"",
        "port = 5000",
        "address = [\"192.0.2.1:5000\", \"[2001:db8::1]:5000\"]",
        "run_as = \"postern\"",
        "private_key = \"gate.key\"",
    ];
    has_lines(&gate.text("posternd.toml"), &settings);
}

pub(crate) fn second_init_changes_nothing() {
    let gate = Gate::empty();
    let files = || ["posternd.toml", "gate.key"].map(|name| gate.text(name));
    on_a_host(&gate, "$P init --name gate.test $C").ok();
    let before = files();
    let script = "useradd --system postern; $P init --name other.test --port 5 $C";
    let said = on_a_host(&gate, script).ok();
    assert_eq!(files(), before);
    says(&said, "gate gate.test\n…");
    let made: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(" made "))
        .collect();
    let expected = ["  state  made /var/lib/postern"];
    assert_eq!(made, expected, "this host has none");
}

pub(crate) fn init_completes_existing_config() {
    let keys = "private_key = \"FOLDER/keys.of.the.gate\"\nrun_as = \"daemon\"";
    let gate = Gate::with(keys);
    let before = gate.text("posternd.toml");
    let said = on_a_host(
        &gate,
        "$P init $C; ls /var/lib; getent passwd postern; true",
    )
    .ok();
    assert_eq!(gate.text("posternd.toml"), before);
    let modes = ["keys.of.the.gate", "state", "users.d"].map(|name| gate.mode_of(name));
    assert_eq!(modes, [0o600, 0o700, 0o700]);
    assert!(!gate.path("gate.key").exists());
    has_lines(&said, &["  user   kept daemon"]);
    assert!(
        !said.contains("posternd user add"),
        "there is a user: {said}"
    );
    // Nothing is in /var/lib, and there is no user postern.
    says(
        &said,
        "…  posternd run --trial 5m --config …posternd.toml\n",
    );
}

pub(crate) fn init_makes_missing_gate_key() {
    let gate = Gate::good("", "", "key = \"KEY\"");
    let said = on_a_host(&gate, "$P init $C").out;
    let add = "note: for users with key pairs, add to [gate] in the config: private_key = ";
    has_lines(&said, &[&format!("{add}\"{}\"", gate.place("gate.key"))]);
    assert_eq!(gate.mode_of("gate.key"), 0o600);
    // Users with key pairs may be in the config before the gate's key.
    let user = format!("public_key = \"{KEY}\"");
    let gate = Gate::good("private_key = \"FOLDER/gate.key\"", "", &user);
    assert_eq!(gate.run("check").code, Some(78));
    on_a_host(&gate, "$P init $C; exit $?").ok();
}

pub(crate) fn init_refuses_invalid_files() {
    let gate = Gate::good("windw = \"30s\"", "", "key = \"KEY\"");
    let init = |gate: &Gate| on_a_host(gate, "$P init --name g $C; exit $?");
    init(&gate).fails(78, "…:5:1: unknown key \"windw\" in [gate]…");
    assert!(!gate.path("users.d").exists() && !gate.path("gate.key").exists());

    let gate = Gate::empty();
    gate.write("gate.key", "not a key\n");
    let what = "gate.key: a key must have exactly 44 characters of base64; move it away";
    init(&gate).fails(78, &format!("…{what}…"));
    assert_eq!(gate.text("gate.key"), "not a key\n");
    assert!(!gate.path("posternd.toml").exists());

    let gate = Gate::empty();
    gate.mode("", 0o777);
    init(&gate).fails(
        78,
        "…is a folder that others may write to…; run chmod go-w …",
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
        let script = format!("{how} $P init --name g $C && stat -c '%U' /var/lib/postern");
        let said = on_a_host(&gate, &script).ok();
        let note = format!(
            "note: the user postern could not be made ({why}), so the engine runs as nobody; see run_as in the config"
        );
        has_lines(&said, &["nobody", &note]);
        has_lines(&gate.text("posternd.toml"), &["run_as = \"nobody\""]);
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
        let script = format!("exec unshare -u /bin/sh -c '{script}' sh \"$@\"");
        says(
            &gate.run_through(&script, "").out,
            &format!("gate {name}\n…"),
        );
    }
}

pub(crate) fn init_requires_root() {
    Gate::empty()
        .run_as_nobody("init --name g")
        .fails(77, "…; run posternd init as root");
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
    let lines = [
        "no posternd is running: it is in force once posternd is started",
        "the running posternd has read it: it is in force",
        "  \"users\": 2",
        "1",
        "code 0",
    ];
    has_lines(&ran.out.replace(",\n", "\n"), &lines);
}
