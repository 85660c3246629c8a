//! Hosts with missing rights, users, interfaces or programs.

use crate::gate::{Gate, run, says};

pub(crate) fn missing_capability_is_named() {
    let gate = Gate::good("", "", "key = \"KEY\"");
    for capability in ["net_admin", "net_raw"] {
        let without =
            format!("exec setpriv --bounding-set -{capability} --inh-caps -{capability} \"$@\"");
        let missing = format!("…CAP_{} is missing…", capability.to_uppercase());
        gate.run_through(&without, "run")
            .fails(77, &(missing + "; run it as root…"));
    }
    gate.give_to("", 65534);
    gate.give_to("posternd.toml", 65534);
    for command in ["run", "flush"] {
        gate.run_as_nobody(command)
            .fails(77, "…CAP_NET_ADMIN is missing…; run it as root…");
    }
}

pub(crate) fn unreadable_config_is_exit_77() {
    let gate = Gate::good("", "", "key_file = \"FOLDER/alice.key\"");
    gate.write("alice.key", "KEY\n");
    gate.give_to("", 65534);
    for file in ["posternd.toml", "alice.key"] {
        let pattern = format!("…{file}: cannot be read: permission denied; run as root…");
        gate.run_as_nobody("run").fails(77, &pattern);
        gate.give_to("posternd.toml", 65534);
    }
}

pub(crate) fn run_as_root_or_unknown_is_refused() {
    for (name, words) in [
        (
            "nosuchuser",
            "there is no user \"nosuchuser\"; make one with: useradd",
        ),
        ("root", "must not run as root; name an"),
    ] {
        let gate = Gate::with(&format!("run_as = \"{name}\""));
        let line = gate.run("run").one_line(78);
        says(&line, &format!("run_as: …{words}…"));
        let check = gate.run("check");
        assert_eq!(check.code, Some(78));
        says(&check.out, &format!("error: {line}\n…"));
    }
}

pub(crate) fn weak_protection_is_a_warning() {
    let check = Gate::with("interfaces = [\"wan7\"]").run("check").ok();
    let findings = check.lines().filter(|line| !line.starts_with("  "));
    let findings: Vec<&str> = findings
        .filter(|line| !line.ends_with(" [sandbox]"))
        .collect();
    let expected = [
        "warning: interface wan7 does not exist [interface-missing]",
        "note: Postern's rules are not installed yet [not-installed]",
        "ok: gate gate.test, 1 user; closed for everyone who has not knocked: tcp/22",
    ];
    assert_eq!(findings, expected);
    let firewall = "backend = \"iptables\"\nprotect = \"none\"";
    let check = Gate::good("", firewall, "key = \"KEY\"").run("check").ok();
    let reachable = "…warning: tcp/22 can be reached without a knock over IPv4 [reachable]\n…";
    says(&check, reachable);
}

pub(crate) fn broken_iptables_stops_the_start() {
    let gate = Gate::with("");
    gate.write("fake", "#!/bin/sh\necho it is broken >&2\nexit 3\n");
    gate.mode("fake", 0o755);
    let (nothing, fake) = ("/dev/null", gate.place("fake"));
    let with = |file: &str, program: &str, command: &str| {
        let script = format!("mount --bind {file} /usr/sbin/{program} && exec \"$@\"");
        gate.run_through(&script, command)
    };
    for program in ["iptables-restore", "iptables-save"] {
        let line = with(nothing, program, "run").one_line(69);
        says(&line, "…is not installed; apt-get install iptables…");
        let check = with(nothing, program, "check");
        assert_eq!(check.code, Some(69));
        says(&check.out, &format!("error: {line}\n…"));
    }
    with(&fake, "iptables-restore", "run").fails(69, "…failed with exit status 3: it is broken; …");
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
        run("exec \"$@\"", arguments).fails(2, "…; …--help…");
    }
    let by_hand = "…the engine is started by `posternd run`, not by hand…";
    run("exec \"$@\" </dev/null", &["engine"]).fails(71, by_hand);
}
