//! Configs and key files that are invalid, open to others, or missing.

use std::fs;

use crate::gate::{Gate, good};

/// Runs `run` and `check`. Returns the one line of `run`.
fn refused(gate: &Gate, code: i32) -> String {
    let line = gate.run("run").one_line(code);
    let check = gate.run("check");
    assert_eq!(
        (check.code, check.err.as_str()),
        (Some(code), ""),
        "{}",
        check.out
    );
    assert_eq!(check.out, format!("error: {line}\n"));
    assert!(line.contains("; "), "it does not say what to do: {line}");
    line
}

pub(crate) fn config_error_has_line_fault_and_cure() {
    let key = "key = \"KEY\"";
    let cases = [
        (
            good("windw = \"30s\"", "", key),
            ":5:1: unknown key \"windw\" in [gate]",
        ),
        (
            good("", "backnd = \"iptables\"", key),
            ":7:1: unknown key \"backnd\" in [firewall]",
        ),
        (good("", "", "key = \"KEY!\""), ":11:7: invalid key"),
        (good("", "", key) + "[broken\n", "this is not TOML"),
    ];
    for (text, words) in cases {
        let gate = Gate::new(&text);
        let line = refused(&gate, 78);
        assert!(
            line.starts_with(gate.path("posternd.toml").to_str().unwrap()) && line.contains(words),
            "{line}"
        );
        assert!(line.contains(".toml:"), "no line is named: {line}");
    }
}

pub(crate) fn error_in_user_file_names_that_file() {
    let gate = Gate::good("", "", "key = \"KEY\"");
    gate.write(
        "users.d/bob.toml",
        "[[user]]\nname = \"bob\"\nservices = [\"tcp/22\"]\nkey = \"KEYKEY\"\n",
    );
    gate.mode("users.d", 0o755);
    let line = refused(&gate, 78);
    assert!(
        line.starts_with(gate.path("users.d/bob.toml").to_str().unwrap())
            && line.contains(":4:7: invalid key"),
        "{line}"
    );
}

pub(crate) fn file_open_to_others_is_refused() {
    for mode in [0o644, 0o640, 0o622, 0o602] {
        let gate = Gate::good("", "", "key = \"KEY\"");
        gate.mode("posternd.toml", mode);
        let line = refused(&gate, 78);
        assert!(
            line.contains(&format!("(mode {mode:04o})")) && line.contains("; run chmod 600 "),
            "{line}"
        );
        let gate = Gate::good("", "", "key_file = \"FOLDER/alice.key\"");
        gate.write("alice.key", "KEY\n");
        gate.mode("alice.key", mode);
        let line = refused(&gate, 78);
        assert!(
            line.contains("alice.key: can be used by more") && line.contains("; run chmod 600 "),
            "{line}"
        );
    }
    let gate = Gate::good("", "", "key = \"KEY\"");
    gate.mode("", 0o777);
    let line = refused(&gate, 78);
    assert!(
        line.contains("is a folder that others may write to") && line.contains("; run chmod go-w "),
        "{line}"
    );
    gate.mode("", 0o755);
    gate.give_to("posternd.toml", 65534);
    let line = refused(&gate, 78);
    assert!(
        line.contains("belongs to user 65534") && line.contains("; run chown 0 "),
        "{line}"
    );
}

pub(crate) fn missing_or_unreadable_file_is_refused() {
    let gate = Gate::good("", "", "key = \"KEY\"");
    fs::remove_file(gate.path("posternd.toml")).unwrap();
    assert!(
        refused(&gate, 78)
            .contains("posternd.toml: does not exist; make it, or name the right one")
    );
    fs::create_dir(gate.path("posternd.toml")).unwrap();
    assert!(refused(&gate, 78).contains("posternd.toml: is a folder, not a file; name a file"));
    let gate = Gate::good("", "", "key_file = \"FOLDER/none.key\"");
    assert!(refused(&gate, 78).contains("none.key: does not exist; "));
    let gate = Gate::good("", "", "key_file = \"FOLDER/alice.key\"");
    for text in ["", "\n\n", "KEYKEY\n", "KEY KEY\n", "\0\0"] {
        gate.write("alice.key", text);
        let line = refused(&gate, 78);
        assert!(line.contains("alice.key"), "{text:?}: {line}");
    }
    fs::write(gate.path("alice.key"), [0xff; 44]).unwrap();
    assert!(refused(&gate, 78).contains("alice.key: is not UTF-8 text; save it as UTF-8"));
}

pub(crate) fn all_config_errors_are_shown_at_once() {
    let gate = Gate::good(
        "window = \"4s\"\ncapture = \"pcap\"",
        "backend = \"pf\"",
        "key_file = \"FOLDER/alice.key\"",
    );
    gate.write("alice.key", "KEY\n");
    gate.mode("alice.key", 0o644);
    gate.write("users.d/bob.toml", "[[user]]\nname = \"bob\"\nservices = [\"tcp/22\"]\nkey_file = \"FOLDER/bob.key\"\nquta = 1\n");
    gate.mode("users.d", 0o755);
    let check = gate.run("check");
    assert_eq!(check.code, Some(78));
    for words in [
        "a window of 4s",
        "\"pcap\" is not a value",
        "\"pf\" is not a value",
        "alice.key: can be used",
        "bob.key: does not exist",
        "\"quta\"",
    ] {
        assert_eq!(
            check
                .out
                .lines()
                .filter(|line| line.starts_with("error: ") && line.contains(words))
                .count(),
            1,
            "{words}: {}",
            check.out
        );
    }
    assert_eq!(check.out.lines().count(), 6, "{}", check.out);
    let run = gate.run("run");
    assert_eq!((run.code, run.out.as_str()), (Some(78), ""));
    assert_eq!(run.err.replace("posternd: ", "error: "), check.out);
}
