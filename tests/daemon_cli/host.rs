//! Hosts with missing rights, users, interfaces or programs.

use crate::gate::{Gate, exists, run, without};

const KEY_LINE: &str = "key = \"KEY\"";

pub(crate) fn missing_capability_is_named() {
    let gate = Gate::good("", "", KEY_LINE);
    let as_root_without = |capability: &str| {
        format!("exec setpriv --bounding-set -{capability} --inh-caps -{capability} \"$@\"")
    };
    for capability in ["net_admin", "net_raw"] {
        let line = gate
            .run_through(&as_root_without(capability), "run")
            .one_line(77);
        assert!(
            line.contains(&format!("CAP_{} is missing", capability.to_uppercase()))
                && line.contains("; run it as root"),
            "{line}"
        );
    }
    gate.give_to("", 65534);
    gate.give_to("posternd.toml", 65534);
    for command in ["run", "flush"] {
        let line = gate.run_as_nobody(&[command]).one_line(77);
        assert!(
            line.contains("CAP_NET_ADMIN is missing") && line.contains("; run it as root"),
            "{line}"
        );
    }
}

pub(crate) fn unreadable_config_is_exit_77() {
    let gate = Gate::good("", "", "key_file = \"FOLDER/alice.key\"");
    gate.write("alice.key", "KEY\n");
    gate.give_to("", 65534);
    let line = gate.run_as_nobody("run").one_line(77);
    assert!(
        line.contains("posternd.toml: cannot be read: permission denied; run as root"),
        "{line}"
    );
    gate.give_to("posternd.toml", 65534);
    let line = gate.run_as_nobody("run").one_line(77);
    assert!(
        line.contains("alice.key: cannot be read: permission denied; run as root"),
        "{line}"
    );
}

pub(crate) fn run_as_root_or_unknown_is_refused() {
    for (name, words) in [
        (
            "nosuchuser",
            "there is no user \"nosuchuser\"; make one with: useradd",
        ),
        ("root", "must not run as root; name an"),
    ] {
        let gate = Gate::good(
            &format!("run_as = \"{name}\""),
            "backend = \"iptables\"",
            KEY_LINE,
        );
        let line = gate.run("run").one_line(78);
        assert!(
            line.starts_with("run_as: ") && line.contains(words),
            "{line}"
        );
        let check = gate.run("check");
        assert_eq!(
            (check.code, check.out.lines().next()),
            (Some(78), Some(format!("error: {line}").as_str()))
        );
    }
}

pub(crate) fn missing_interface_is_a_warning() {
    let gate = Gate::good(
        "interfaces = [\"wan7\"]",
        "backend = \"iptables\"",
        KEY_LINE,
    );
    let check = gate.run("check");
    assert_eq!(
        (check.code, check.err.as_str()),
        (Some(0), ""),
        "{}",
        check.out
    );
    let findings: Vec<&str> = check
        .out
        .lines()
        .filter(|line| !line.starts_with("  ") && !line.ends_with(" [sandbox]"))
        .collect();
    assert_eq!(
        findings,
        [
            "warning: interface wan7 does not exist [interface-missing]",
            "note: Postern's rules are not installed yet [not-installed]",
            "ok: gate gate.test, 1 user; closed for everyone who has not knocked: tcp/22",
        ]
    );
}

pub(crate) fn open_service_and_no_user_are_warnings() {
    let gate = Gate::good("", "backend = \"iptables\"\nprotect = \"none\"", KEY_LINE);
    let check = gate.run("check");
    assert_eq!(check.code, Some(0), "{}", check.out);
    assert!(
        check
            .out
            .contains("warning: tcp/22 can be reached without a knock over IPv4 [reachable]\n"),
        "{}",
        check.out
    );
    let gate = Gate::new("[gate]\nname = \"g\"\n[firewall]\nbackend = \"iptables\"\n");
    let check = gate.run("check");
    assert!(
        check.code == Some(0) && check.out.contains("warning: no user is configured"),
        "{}",
        check.out
    );
}

pub(crate) fn missing_iptables_names_the_package() {
    let gate = Gate::good("", "backend = \"iptables\"", KEY_LINE);
    for (programs, words) in [
        (
            ["/usr/sbin/iptables-restore"],
            "iptables-restore is not installed; apt-get install iptables",
        ),
        (
            ["/usr/sbin/iptables-save"],
            "is not installed; apt-get install iptables",
        ),
    ] {
        assert!(exists(programs[0]), "these tests need iptables");
        let line = gate.run_through(&without(&programs), "run").one_line(69);
        assert!(line.contains(words), "{line}");
        let check = gate.run_through(&without(&programs), "check");
        assert_eq!(
            (check.code, check.out.lines().next()),
            (Some(69), Some(format!("error: {line}").as_str()))
        );
    }
}

pub(crate) fn failing_firewall_program_stops_start() {
    let gate = Gate::good("", "backend = \"iptables\"", KEY_LINE);
    gate.write("fake", "#!/bin/sh\necho it is broken >&2\nexit 3\n");
    gate.mode("fake", 0o755);
    let fake = gate.path("fake").display().to_string();
    let line = gate
        .run_through(
            &format!("mount --bind {fake} /usr/sbin/iptables-restore && exec \"$@\""),
            "run",
        )
        .one_line(69);
    assert!(
        line.contains("failed with exit status 3: it is broken; "),
        "{line}"
    );
}

pub(crate) fn wrong_command_line_is_exit_2() {
    let cases: [&[&str]; 9] = [
        &[],
        &["knock"],
        &["run", "--frobnicate"],
        &["run", "extra"],
        &["close"],
        &["close", "--all", "--user", "alice"],
        &["close", "--id", "seven"],
        &["close", "--address", "example.org"],
        &["check", "--config"],
    ];
    for arguments in cases {
        let line = run("exec \"$@\"", arguments, &[]).one_line(2);
        assert!(
            line.contains("; ") && line.contains("--help"),
            "{arguments:?}: {line}"
        );
    }
    let line = run("exec \"$@\" </dev/null", &["engine"], &[]).one_line(71);
    assert!(
        line.contains("the engine is started by `posternd run`, not by hand"),
        "{line}"
    );
}
