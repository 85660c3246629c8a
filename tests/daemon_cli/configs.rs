//! Configs and key files that are invalid, open to others, or missing.

use crate::gate::{Gate, good, says};

const KEY: &str = "key = \"KEY\"";
const KEY_FILE: &str = "key_file = \"FOLDER/alice.key\"";

/// Runs `run` and `check`. Expects exit code 78 and this one line, with a cure.
#[track_caller]
fn refused(gate: &Gate, pattern: &str) {
    let line = gate.run("run").one_line(78);
    let check = gate.run("check");
    assert_eq!((check.code, check.err.as_str()), (Some(78), ""));
    assert_eq!(check.out, format!("error: {line}\n"));
    says(&line, "…; …");
    says(&line, pattern);
}

pub(crate) fn config_error_has_file_line_fault_and_cure() {
    let cases = [
        (
            good("windw = \"30s\"", "", KEY),
            ":5:1: unknown key \"windw\" in [gate]…",
        ),
        (
            good("", "backnd = \"iptables\"", KEY),
            ":7:1: unknown key \"backnd\" in [firewall]…",
        ),
        (good("", "", "key = \"KEY!\""), ":11:7: invalid key…"),
        (good("", "", KEY) + "[broken\n", ":…: this is not TOML…"),
    ];
    for (text, words) in cases {
        let gate = Gate::new(&text);
        refused(&gate, &(gate.place("posternd.toml") + words));
    }
    let gate = Gate::good("", "", KEY);
    gate.write_user(
        "bob",
        "name = \"bob\"\nservices = [\"tcp/22\"]\nkey = \"KEYKEY\"\n",
    );
    refused(
        &gate,
        &(gate.place("users.d/bob.toml") + ":3:7: invalid key…"),
    );
}

pub(crate) fn file_open_to_others_is_refused() {
    for mode in [0o644, 0o640, 0o622, 0o602] {
        let gate = Gate::good("", "", KEY);
        gate.mode("posternd.toml", mode);
        refused(&gate, &format!("…(mode {mode:04o})…; run chmod 600 …"));
        let gate = Gate::good("", "", KEY_FILE);
        gate.write("alice.key", "KEY\n");
        gate.mode("alice.key", mode);
        refused(&gate, "…alice.key: can be used by more…; run chmod 600 …");
    }
    let gate = Gate::good("", "", KEY);
    gate.mode("", 0o777);
    refused(
        &gate,
        "…is a folder that others may write to…; run chmod go-w …",
    );
    gate.mode("", 0o755);
    gate.give_to("posternd.toml", 65534);
    refused(&gate, "…belongs to user 65534…; run chown 0 …");
}

pub(crate) fn state_folder_with_other_files_is_refused() {
    let gate = Gate::good("run_as = \"nobody\"", "", KEY);
    gate.write("state/passwd", "root's");
    let line = gate.run("run").one_line(78);
    says(
        &line,
        "…/state: it contains passwd, which is not Postern's; set state_dir to …",
    );
    check_says_the_same(&gate, &line);
    let owner = |name| std::os::unix::fs::MetadataExt::uid(&gate.path(name).metadata().unwrap());
    assert_eq!([owner("state"), owner("state/passwd")], [0, 0]);
}

pub(crate) fn socket_folder_of_others_is_refused() {
    let gate =
        Gate::new(&good("", "", KEY).replace("FOLDER/control.sock", "FOLDER/run/control.sock"));
    std::fs::create_dir(gate.path("run")).unwrap();
    for mode in [0o777, 0o1777, 0o775] {
        gate.mode("run", mode);
        let line = gate.run("run").one_line(78);
        says(
            &line,
            "control_socket: others may write to its folder …; run chown 0 … and chmod go-w …",
        );
        check_says_the_same(&gate, &line);
    }
}

fn check_says_the_same(gate: &Gate, line: &str) {
    let check = gate.run("check");
    assert_eq!(check.code, Some(78));
    let says_it = check.out.contains(&format!("error: {line}\n"));
    assert!(says_it, "{}", check.out);
}
