//! Programs in a config: what reaches the settings, and what is refused with its place.

use super::*;
use crate::model::command_template::{Argument, CommandTemplate};

const COMMAND: &str = "[firewall]\nbackend = \"command\"\nprotect = \"none\"\n[firewall.command]\n";

fn template(words: &[&str]) -> CommandTemplate {
    let arguments = words[1..]
        .iter()
        .map(|text| Argument::read(text).unwrap())
        .collect();
    CommandTemplate::new(words[0].into(), arguments)
}

#[test]
fn the_programs_of_the_command_backend_and_of_hooks_reach_the_settings() {
    let lines = format!(
        "{COMMAND}open = [\"/o\", \"{{address}}\", \"-t{{seconds}}\"]\nclose = [\"/c\"]\nlist = [\"/l\", \"all\"]\ndeadline = \"30s\"\n\
         [service.ssh]\nports = [\"tcp/22\"]\non_open = [\"/h\", \"{{user}}\"]\non_close = [\"/h\"]"
    );
    let settings = load(&bundle(&with(&lines, ""), &[])).unwrap().settings;
    assert_eq!(
        (settings.firewall.backend, settings.firewall.protect),
        (DriverKind::Command, false)
    );
    let command = settings.firewall.command.unwrap();
    assert_eq!(
        (command.open, command.close),
        (
            template(&["/o", "{address}", "-t{seconds}"]),
            template(&["/c"])
        )
    );
    assert_eq!(
        (command.list, command.deadline),
        (Some(template(&["/l", "all"])), Duration::from_secs(30))
    );
    let ssh = &settings.options["ssh"];
    assert_eq!(
        (ssh.on_open.clone(), ssh.on_close.clone()),
        (Some(template(&["/h", "{user}"])), Some(template(&["/h"])))
    );
    assert_eq!(settings.options["web"].on_open, None);

    let sparse = format!("{COMMAND}open = [\"/o\"]\nclose = [\"/c\"]\nlist = []");
    let command = load(&bundle(&with(&sparse, ""), &[]))
        .unwrap()
        .settings
        .firewall
        .command
        .unwrap();
    assert_eq!(
        (command.list, command.deadline),
        (None, Duration::from_secs(5))
    );
}

#[test]
fn what_is_wrong_with_a_program_is_said_with_line_column_and_cure() {
    let both = "open = [\"/o\"]\nclose = [\"/c\"]\n";
    let command = |line: &str| format!("{COMMAND}{line}");
    let hook = |line: &str| format!("[service.ssh]\nports = [\"tcp/22\"]\n{line}");
    for (lines, expected) in [
        (
            "[firewall]\nbackend = \"command\"\nprotect = \"none\"".to_owned(),
            "4:11: the backend \"command\" needs programs to run; add [fire",
        ),
        (
            format!("[firewall]\nbackend = \"command\"\n[firewall.command]\n{both}"),
            "4:11: the backend \"command\" cannot protect services: its programs only open and close doors for one address; close the",
        ),
        (
            format!(
                "[firewall]\nprotect = \"services\"\nbackend = \"command\"\n[firewall.command]\n{both}"
            ),
            "4:11: the backend \"command\" cannot protect services",
        ),
        (
            command("open = [\"/o\"]"),
            "6:1: [firewall.command] has no close; add close = [\"/usr/local/sbin/program\"",
        ),
        (
            command(&format!("{both}shut = []")),
            "9:1: \"shut\" has no meaning in [firewall.command]; the keys of [firewall.command] are open, cl",
        ),
        (
            command("open = \"/o {user}\"\nclose = [\"/c\"]"),
            "7:8: open cannot be a text; write a list of texts",
        ),
        (
            command("open = []\nclose = [\"/c\"]"),
            "7:8: open names no program; write [\"/usr",
        ),
        (
            command("open = [\"o\"]\nclose = [\"/c\"]"),
            "7:9: this path is relative; write the whole path",
        ),
        (
            command("open = [\"/o/{user}\"]\nclose = [\"/c\"]"),
            "7:9: a placeholder cannot stand in a program's path",
        ),
        (
            command("open = [\"/o\", \"{usr}\"]\nclose = [\"/c\"]"),
            "7:15: \"{usr}\" is no placeholder; write one of {id} {user} {allow} {address} {prefix} {family} {target} {protocol} {first} {last} \
             {ports} {service} {until} {until_unix} {seconds}",
        ),
        (
            command("open = [\"/o\"]\nclose = [\"/c\", \"{user\"]"),
            "8:16: a brace stands alone; write {user}",
        ),
        (
            command(&format!(
                "open = [\"/o\", \"--key={KEY}\"]\nclose = [\"/c\"]"
            )),
            "7:15: this is a key, and every user of the host",
        ),
        (
            command(&format!("{both}list = [\"/l\", \"{{id}}\"]")),
            "9:15: list has a placeholder, but it is run once",
        ),
        (
            command(&format!("{both}deadline = \"31s\"")),
            "9:12: \"31s\" is no deadline; write 1s to 30s",
        ),
        (
            command(&format!("{both}deadline = \"500ms\"")),
            "9:12: \"500ms\" is no deadline",
        ),
        (
            command(&format!(
                "{both}[service.git]\nports = [\"tcp/2222\"]\nforward = \"10.0.0.5:22\""
            )),
            "11:11: the backend \"command\" cannot lead a port to another host; take forward out",
        ),
        (
            hook("on_open = [\"/h\", \"{ip}\"]"),
            "5:18: \"{ip}\" is no placeholder; write one of {id}",
        ),
        (hook("on_close = [\"h\"]"), "5:13: this path is relative"),
        (
            hook("on_close = [\"/h\", \"\\u0000\"]"),
            "5:19: there is a zero byte in this argument",
        ),
        (
            hook("on_shut = [\"/h\"]"),
            "5:1: \"on_shut\" has no meaning in [service.ssh]",
        ),
    ] {
        let said = refused(&bundle(&with(&lines, ""), &[]));
        assert!(
            said.starts_with(&format!("posternd.toml:{expected}")),
            "{lines}\n{said}"
        );
        assert_eq!(said.lines().count(), 1, "{lines}\n{said}");
    }
}
