//! Programs that a config names: those of `[firewall.command]` and the hooks of services.
//!
//! Reads each as a list, the program's whole path and then its arguments, never as a line for a shell (invariant 6).

use std::path::PathBuf;
use std::time::Duration;

use super::bounds;
use super::fields::Fields;
use super::page::Page;
use super::problem::{Fault, fault, quoted};
use super::secret;
use crate::model::command_template::{Argument, ArgumentError, CommandTemplate, PLACEHOLDERS};
use crate::model::settings::CommandPrograms;
use crate::model::time;

const DEADLINE: Duration = Duration::from_secs(5);
const DEADLINE_MIN: Duration = Duration::from_secs(1);
const DEADLINE_MAX: Duration = Duration::from_secs(30);
const EXAMPLE: &str = "[\"/usr/local/sbin/program\", \"{user}\", \"{address}\"]";

/// The `[firewall.command]` section; `None` where something in it is wrong, and that was said.
pub(super) fn read_command(page: &mut Page<'_>, fields: &Fields<'_>) -> Option<CommandPrograms> {
    fields.only(page, &["open", "close", "list", "deadline"]);
    for key in ["open", "close"] {
        fields.require(
            page,
            key,
            "[\"/usr/local/sbin/program\", \"{address}\", \"{service}\", \"{seconds}\"]",
        );
    }
    let open = read_template(page, fields, "open");
    let close = read_template(page, fields, "close");
    let list = read_list(page, fields);
    let deadline = if fields.has("deadline") {
        fields.text(page, "deadline", deadline)
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

/// One program and its arguments; `None` where it is missing or wrong.
pub(super) fn read_template(
    page: &mut Page<'_>,
    fields: &Fields<'_>,
    key: &str,
) -> Option<CommandTemplate> {
    let words = fields.texts(page, key, Ok)?;
    let Some(((span, path), arguments)) = words.split_first() else {
        page.refuse(
            fields.span_of(key),
            fault(
                format!("{key} names no program"),
                format!("write {EXAMPLE}, or take {key} out"),
            ),
        );
        return None;
    };
    let program = page.check(span.clone(), program(path));
    let read: Vec<Option<Argument>> = arguments
        .iter()
        .map(|(span, text)| page.check(span.clone(), argument(text)))
        .collect();
    Some(CommandTemplate::new(
        program?,
        read.into_iter().collect::<Option<Vec<Argument>>>()?,
    ))
}

/// `Some(None)` where there is none, which an empty list says too.
fn read_list(page: &mut Page<'_>, fields: &Fields<'_>) -> Option<Option<CommandTemplate>> {
    if !fields.has("list") {
        return Some(None);
    }
    let words = fields.texts(page, "list", Ok)?;
    if words.is_empty() {
        return Some(None);
    }
    let template = read_template(page, fields, "list")?;
    for (span, text) in words.iter().skip(1) {
        if Argument::read(text).is_ok_and(|argument| !argument.is_plain()) {
            let what = "list has a placeholder, but it is run once for all grants";
            page.refuse(span.clone(), fault(what, "take the placeholder out; the program prints the {id} of each open grant on a line"));
            return None;
        }
    }
    Some(Some(template))
}

fn program(text: &str) -> Result<PathBuf, Fault> {
    if text.contains(['{', '}']) {
        return Err(fault(
            "a placeholder cannot stand in a program's path",
            "name one program; it can take {user} and the like as arguments",
        ));
    }
    bounds::absolute(text)
}

fn argument(text: &str) -> Result<Argument, Fault> {
    if secret::looks_like_key(text) {
        return Err(fault(
            "this is a key, and every user of the host can see a program's arguments",
            "take it out",
        ));
    }
    Argument::read(text).map_err(|wrong| match wrong {
        ArgumentError::UnknownPlaceholder(name) => fault(
            format!("{} is no placeholder", quoted(&format!("{{{name}}}"))),
            format!("write one of {{{}}}", PLACEHOLDERS.join("} {")),
        ),
        ArgumentError::Brace => fault(
            "a brace stands alone",
            "write {user} for a placeholder, {{ or }} for a brace itself",
        ),
        ArgumentError::ZeroByte => fault(
            "there is a zero byte in this argument",
            "take it out; no program can be given one",
        ),
    })
}

fn deadline(text: &str) -> Result<Duration, Fault> {
    let deadline = time::parse_duration(text)
        .ok()
        .filter(|length| (DEADLINE_MIN..=DEADLINE_MAX).contains(length));
    deadline.ok_or_else(|| {
        fault(
            format!("{} is no deadline", quoted(text)),
            "write 1s to 30s",
        )
    })
}
