//! The `[firewall]` section, and programs as a config writes them.
//!
//! A program is a list: its whole path, then its arguments. It is never a shell command line (invariant 6).

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::fields::Fields;
use super::key;
use super::problem::{Refusal, quoted, refusal};
use super::values;
use crate::model::command_template::{Argument, ArgumentError, CommandTemplate, PLACEHOLDERS};
use crate::model::packet_mark::PacketMark;
use crate::model::settings::{
    CommandPrograms, DriverKind, Firewall, HostRules, NflogGroup, OnStop,
};

/// The settings without a `[firewall]` section.
pub(super) const DEFAULT: Firewall = Firewall {
    backend: DriverKind::Auto,
    protect: true,
    on_stop: OnStop::Keep,
    packet_mark: PacketMark::DEFAULT,
    host_rules: HostRules::Postern,
    nflog_group: NflogGroup::Auto,
    command: None,
};

const DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn read(fields: &Fields<'_>) -> Firewall {
    fields.only(&[
        "backend",
        "protect",
        "on_stop",
        "packet_mark",
        "host_rules",
        "nflog_group",
        "command",
    ]);
    let backends = [
        ("auto", DriverKind::Auto),
        ("iptables", DriverKind::Iptables),
        ("nftables", DriverKind::Nftables),
        ("command", DriverKind::Command),
    ];
    let backend = fields.word("backend", &backends);
    let protect = fields.word("protect", &[("services", true), ("none", false)]);
    let stops = [("keep", OnStop::Keep), ("remove", OnStop::Remove)];
    let on_stop = fields.word("on_stop", &stops);
    let keepers = [("postern", HostRules::Postern), ("mine", HostRules::Mine)];
    let host_rules = fields.word("host_rules", &keepers);
    let packet_mark = fields.text("packet_mark", packet_mark);
    let command = fields.table("command", "[firewall.command]");
    let firewall = Firewall {
        backend: backend.unwrap_or(DEFAULT.backend),
        protect: protect.unwrap_or(DEFAULT.protect),
        on_stop: on_stop.unwrap_or(DEFAULT.on_stop),
        packet_mark: packet_mark.unwrap_or(DEFAULT.packet_mark),
        host_rules: host_rules.unwrap_or(DEFAULT.host_rules),
        nflog_group: nflog_group(fields).unwrap_or(DEFAULT.nflog_group),
        command: command.and_then(|fields| command_programs(&fields)),
    };
    if firewall.backend == DriverKind::Command {
        if !fields.has("command") {
            let cure = "add [firewall.command] with open = [\"/program\", …] and close = [\"/program\", …]";
            fields.refuse("backend", "backend \"command\" needs programs", cure);
        }
        if firewall.protect {
            let key = if fields.has("protect") {
                "protect"
            } else {
                "backend"
            };
            fields.refuse(
                key,
                "backend \"command\" cannot protect services: its programs only open and close grants",
                "close the services in the host's own firewall and write protect = \"none\"",
            );
        }
    }
    firewall
}

fn nflog_group(fields: &Fields<'_>) -> Option<NflogGroup> {
    const KEY: &str = "nflog_group";
    let words = [("auto", NflogGroup::Auto), ("none", NflogGroup::None)];
    match fields.get(KEY)?.get_ref() {
        DeValue::Integer(_) => fields.number(KEY, 0..=u16::MAX).map(NflogGroup::Group),
        _ => fields.word(KEY, &words),
    }
}

fn packet_mark(text: &str) -> Result<PacketMark, Refusal> {
    let cure = format!(
        "write packet_mark = \"{}\", or other bits that nothing on this host uses",
        PacketMark::DEFAULT
    );
    text.parse()
        .map_err(|error| refusal(format!("{}: {error}", quoted(text)), cure))
}

fn command_programs(fields: &Fields<'_>) -> Option<CommandPrograms> {
    fields.only(&["open", "close", "list", "deadline"]);
    for key in ["open", "close"] {
        let example = "[\"/usr/local/sbin/program\", \"{address}\", \"{service}\", \"{seconds}\"]";
        fields.require(key, example);
    }
    let open = program(fields, "open");
    let close = program(fields, "close");
    let list = list_program(fields);
    let deadline = if fields.has("deadline") {
        fields.text("deadline", values::bounded("deadline", 1, 30))
    } else {
        Some(DEADLINE)
    };
    Some(CommandPrograms {
        open: open?,
        close: close?,
        list: list?,
        deadline: deadline?,
    })
}

/// A program and its arguments; `None` if the key is missing or wrong.
pub(super) fn program(fields: &Fields<'_>, key: &str) -> Option<CommandTemplate> {
    let words = fields.texts(key, Ok)?;
    let Some(((at, path), arguments)) = words.split_first() else {
        let example = "[\"/usr/local/sbin/program\", \"{user}\", \"{address}\"]";
        let cure = format!("write {example}, or remove {key}");
        fields.refuse(key, format!("{key} names no program"), cure);
        return None;
    };
    let path = fields.file.check(*at, program_path(path));
    let arguments = arguments
        .iter()
        .map(|(at, text)| fields.file.check(*at, argument(text)));
    let arguments: Vec<Option<Argument>> = arguments.collect();
    let arguments: Option<Vec<Argument>> = arguments.into_iter().collect();
    Some(CommandTemplate::new(path?, arguments?))
}

/// `Some(None)` without a program; an empty list means the same.
fn list_program(fields: &Fields<'_>) -> Option<Option<CommandTemplate>> {
    if !fields.has("list") {
        return Some(None);
    }
    let words = fields.texts("list", Ok)?;
    if words.is_empty() {
        return Some(None);
    }
    let template = program(fields, "list")?;
    let has_placeholder = |text| Argument::read(text).is_ok_and(|argument| !argument.is_plain());
    match words.iter().skip(1).find(|(_, text)| has_placeholder(text)) {
        None => Some(Some(template)),
        Some((at, _)) => {
            let what = "list has a placeholder, but it runs once for all grants";
            let cure = "remove the placeholder, and print the {id} of each open grant on a line";
            fields.file.refuse(*at, refusal(what, cure));
            None
        }
    }
}

fn program_path(text: &str) -> Result<PathBuf, Refusal> {
    if text.contains(['{', '}']) {
        return Err(refusal(
            "the path of a program cannot have a placeholder",
            "name one program, and use placeholders like {user} in its arguments",
        ));
    }
    values::absolute(text)
}

fn argument(text: &str) -> Result<Argument, Refusal> {
    if key::looks_like_key(text) {
        let what = "this is a key, and every user of the host can see a program's arguments";
        return Err(refusal(what, "remove it"));
    }
    Argument::read(text).map_err(|error| match error {
        ArgumentError::UnknownPlaceholder(name) => refusal(
            format!("unknown placeholder {}", quoted(&format!("{{{name}}}"))),
            format!("write one of {{{}}}", PLACEHOLDERS.join("} {")),
        ),
        ArgumentError::Brace => refusal(
            "a brace has no partner",
            "write {user} for a placeholder, {{ or }} for a brace itself",
        ),
        ArgumentError::ZeroByte => refusal("an argument cannot contain a zero byte", "remove it"),
    })
}
