//! `capture` of `[gate]`: where knocks and the hits of sequences come from.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::{Fields, wrong_type};
use super::problem::{Refusal, quoted, refusal};
use super::values;
use crate::model::settings::{
    CaptureKind, DriverKind, Firewall, Gate, LogSensor, LogSource, NflogGroup,
};

const NAMES: [&str; 4] = ["nflog", "kmsg", "journal", "log"];
const FORM: &str =
    "\"packet\", \"udp\", { nflog = 5 }, or a log sensor like { kmsg = true, prefix = \"KNOCK \" }";
/// The kernel's NF_LOG_PREFIXLEN without the closing zero.
const PREFIX_MAX: usize = 127;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Datagrams(CaptureKind),
    Lines(LogSensor),
}

/// What captures datagrams, and the log sensor; `None` if they are wrong. Without one the gate captures packets.
pub(super) fn read(gate: &Fields<'_>) -> Option<(CaptureKind, Option<LogSensor>)> {
    let Some(value) = gate.get("capture") else {
        return Some((CaptureKind::Packet, None));
    };
    let items: Vec<_> = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    let sources: Vec<_> = items.iter().map(|item| source(gate, item)).collect();
    let sources: Vec<Source> = sources.into_iter().collect::<Option<_>>()?;
    let mut sources = sources.into_iter();
    match (sources.next(), sources.next(), sources.next()) {
        (Some(Source::Datagrams(kind)), None, None) => Some((kind, None)),
        (Some(Source::Lines(sensor)), None, None) => Some((CaptureKind::None, Some(sensor))),
        (
            Some(Source::Datagrams(kind @ (CaptureKind::Packet | CaptureKind::Udp))),
            Some(Source::Lines(sensor)),
            None,
        ) => Some((kind, Some(sensor))),
        _ => {
            let what = "capture lists what cannot be combined";
            let cure = "write one value, or [\"packet\", { … }] with one log sensor for sequences";
            gate.refuse("capture", what, cure);
            None
        }
    }
}

/// Postern's own rules send the packets, to a group that no other rule of its own has.
pub(super) fn check(fields: &Fields<'_>, gate: Option<&Gate>, firewall: &Firewall) {
    let Some(group) = gate.and_then(|gate| gate.capture.nflog_group()) else {
        return;
    };
    if firewall.backend == DriverKind::Command {
        let what = "with backend = \"command\", posternd has no rule that sends packets to a group";
        let cure = "write capture = \"packet\", or another backend in [firewall]";
        fields.refuse("capture", what, cure);
    }
    if firewall.nflog_group == NflogGroup::Group(group) {
        let what = format!("nflog_group of [firewall] is {group}, too");
        fields.refuse("capture", what, "write another group in one of the two");
    }
}

fn source(gate: &Fields<'_>, value: &Spanned<DeValue<'_>>) -> Option<Source> {
    let at = value.span().start;
    let word = match value.get_ref() {
        DeValue::Table(table) => return sensor(gate, table, at),
        DeValue::String(text) => match text.as_ref() {
            "packet" => Ok(CaptureKind::Packet),
            "udp" => Ok(CaptureKind::Udp),
            other => {
                let what = format!("{} is not a value of capture", quoted(other));
                Err(refusal(what, format!("write {FORM}")))
            }
        },
        other => Err(wrong_type("capture", FORM, other)),
    };
    gate.file.check(at, word).map(Source::Datagrams)
}

fn sensor(gate: &Fields<'_>, table: &DeTable<'_>, at: usize) -> Option<Source> {
    let fields = Fields::new(gate.file, "capture", table, at);
    fields.only(&[&NAMES[..], &["prefix", "trusted_file"]].concat());
    let mut named = NAMES.into_iter().filter(|name| fields.has(name));
    let (Some(name), None) = (named.next(), named.next()) else {
        let what = "a table of capture needs one of nflog, kmsg, journal and log";
        let refused = refusal(what, format!("write {FORM}"));
        gate.file.refuse(at, refused);
        return None;
    };
    if name != "log" && fields.has("trusted_file") {
        let what = format!("trusted_file has no meaning with {name}");
        fields.refuse("trusted_file", what, "remove it");
    }
    if name == "nflog" {
        if fields.has("prefix") {
            let what = "prefix has no meaning with nflog";
            fields.refuse("prefix", what, "remove it");
        }
        let group = fields.number(name, 0..=u16::MAX)?;
        return Some(Source::Datagrams(CaptureKind::Nflog(group)));
    }
    let source = match name {
        "kmsg" => switched_on(&fields, name).then_some(LogSource::Kmsg),
        "journal" => switched_on(&fields, name).then_some(LogSource::Journal),
        _ => trusted_file(&fields),
    };
    fields.require(
        "prefix",
        "\"KNOCK \", the prefix of the firewall's log rule",
    );
    let prefix = fields.text("prefix", prefix);
    Some(Source::Lines(LogSensor {
        source: source?,
        prefix: prefix?,
    }))
}

fn switched_on(fields: &Fields<'_>, name: &str) -> bool {
    let flag = fields.flag(name);
    if flag == Some(false) {
        let what = format!("{name} = false captures nothing");
        let cure = format!("write {name} = true, or remove capture");
        fields.refuse(name, what, cure);
    }
    flag == Some(true)
}

/// Any local user can make the syslog daemon write a line like the kernel's.
fn trusted_file(fields: &Fields<'_>) -> Option<LogSource> {
    let path: Option<PathBuf> = fields.text("log", values::absolute);
    if fields.flag("trusted_file") != Some(true) {
        let what = "any local user can forge a line of a log file, and so knock";
        let cure = "use kmsg = true or journal = true, or accept this with trusted_file = true";
        fields.refuse("log", what, cure);
        return None;
    }
    path.map(LogSource::File)
}

fn prefix(text: &str) -> Result<String, Refusal> {
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if (1..=PREFIX_MAX).contains(&text.len()) && is_printable && text.trim() != "" {
        return Ok(text.to_owned());
    }
    let what = format!("a prefix of {} bytes is not possible here", text.len());
    let what = if is_printable {
        what
    } else {
        "the prefix has other characters than printable ASCII".to_owned()
    };
    let cure = format!(
        "write the prefix of the firewall's log rule, 1 to {PREFIX_MAX} characters on one line"
    );
    Err(refusal(what, cure))
}
