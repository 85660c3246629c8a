//! Configs and key files that are invalid, open to others, or missing.

use std::fs;

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

pub(crate) fn missing_or_unreadable_file_is_refused() {
    let gate = Gate::good("", "", KEY);
    fs::remove_file(gate.path("posternd.toml")).unwrap();
    refused(
        &gate,
        "…posternd.toml: does not exist; make it, or name the right one",
    );
    fs::create_dir(gate.path("posternd.toml")).unwrap();
    refused(
        &gate,
        "…posternd.toml: is a folder, not a file; name a file",
    );
    let gate = Gate::good("", "", KEY_FILE);
    refused(&gate, "…alice.key: does not exist; …");
    for text in ["", "\n\n", "KEYKEY\n", "KEY KEY\n", "\0\0"] {
        gate.write("alice.key", text);
        refused(&gate, "…alice.key…");
    }
    fs::write(gate.path("alice.key"), [0xff; 44]).unwrap();
    refused(&gate, "…alice.key: is not UTF-8 text; save it as UTF-8…");
}

pub(crate) fn all_config_errors_are_shown_at_once() {
    let settings = "window = \"4s\"\ncapture = \"pcap\"";
    let gate = Gate::good(settings, "backend = \"pf\"", KEY_FILE);
    gate.write("alice.key", "KEY\n");
    gate.mode("alice.key", 0o644);
    let bob = "name = \"bob\"\nservices = [\"tcp/22\"]\nkey_file = \"FOLDER/bob.key\"\nquta = 1\n";
    gate.write_user("bob", bob);
    let check = gate.run("check");
    assert_eq!((check.code, check.out.lines().count()), (Some(78), 6));
    for words in [
        "a window of 4s",
        "\"pcap\" is not a value",
        "\"pf\" is not a value",
        "alice.key: can be used",
        "bob.key: does not exist",
        "\"quta\"",
    ] {
        let errors = check.out.lines().filter(|line| line.starts_with("error: "));
        let count = errors.filter(|line| line.contains(words)).count();
        assert_eq!(count, 1, "{words}: {}", check.out);
    }
    let run = gate.run("run");
    assert_eq!((run.code, run.out.as_str()), (Some(78), ""));
    assert_eq!(run.err.replace("posternd: ", "error: "), check.out);
}
