//! What is around the text of a line, and whether it says that the kernel wrote it.

use std::borrow::Cow;

use serde::Deserialize;

/// The text, and whether it is the kernel's own.
type Unwrapped<'a> = Option<(bool, Cow<'a, str>)>;

/// The longest text before the tag of a syslog daemon's line.
const HEADER_MAX: usize = 128;
const TAG: &str = " kernel: ";

/// A record of `/dev/kmsg`: `PRIORITY,NUMBER,TIME,FLAGS;TEXT`, then lines of a dictionary. The kernel gives what user space
/// writes another facility than its own, 0.
pub(super) fn kmsg(record: &[u8]) -> Unwrapped<'_> {
    let (head, text) = split(record)?;
    let priority: u16 = head.split(',').next()?.parse().ok()?;
    Some((priority >> 3 == 0, text.into()))
}

/// The number of a record. The kernel counts them without a gap.
pub fn kmsg_number(record: &[u8]) -> Option<u64> {
    let (head, _) = split(record)?;
    head.split(',').nth(1)?.parse().ok()
}

fn split(record: &[u8]) -> Option<(&str, &str)> {
    let line = record.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.split_once(';')
}

/// The fields of a journal's entry that count. An entry whose text is no UTF-8 has a list of bytes.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "MESSAGE", borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "_TRANSPORT", borrow)]
    transport: Cow<'a, str>,
    #[serde(rename = "SYSLOG_FACILITY", borrow)]
    facility: Option<Cow<'a, str>>,
}

/// The journal itself sets the transport. What user space writes to `/dev/kmsg` has it, too, with another facility.
pub(super) fn journal(line: &[u8]) -> Unwrapped<'_> {
    let entry: Entry<'_> = serde_json::from_slice(line).ok()?;
    let is_kernel = entry.transport == "kernel" && entry.facility.as_deref() == Some("0");
    Some((is_kernel, entry.message))
}

/// A line of a syslog daemon: time, host and tag, and perhaps the kernel's time in brackets.
pub(super) fn file(line: &[u8]) -> Option<&str> {
    let (header, text) = std::str::from_utf8(line).ok()?.split_once(TAG)?;
    if header.len() > HEADER_MAX {
        return None;
    }
    let is_time = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b' '))
    };
    let timed = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "));
    Some(match timed {
        Some((time, rest)) if is_time(time) => rest,
        _ => text,
    })
}
