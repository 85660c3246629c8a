//! A line of the firewall's log, read as a hit of a sequence.
//!
//! A line has to be whole, and to begin exactly with the prefix of the log rule. Everything else is no hit. Strangers cause
//! the lines, so a line costs bounded work.

use crate::core::sequence::Hit;

mod envelope;
mod fields;
mod lines;

pub use envelope::kmsg_number;
pub use lines::{LINE_MAX, Lines};

/// How a line is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A record of `/dev/kmsg`.
    Kmsg,
    /// A line of `journalctl -o json`.
    Journal,
    /// A line of a syslog daemon's file. Anyone on the host can forge it.
    File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum LineRead {
    Hit(Hit),
    /// It has the prefix and is no hit: it is cut, of another protocol, or forged.
    Malformed,
    /// It has another prefix.
    Other,
}

/// Reads a line without its end.
pub fn read(format: Format, line: &[u8], prefix: &str) -> LineRead {
    let unwrapped = match format {
        Format::Kmsg => envelope::kmsg(line),
        Format::Journal => envelope::journal(line),
        Format::File => envelope::file(line).map(|text| (true, text.into())),
    };
    let Some((is_kernel, text)) = unwrapped else {
        return LineRead::Other;
    };
    let Some(rest) = text.strip_prefix(prefix) else {
        return LineRead::Other;
    };
    // The rule's prefix may end in a blank that the config does not have.
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let hit = fields::hit(rest).filter(|_| is_kernel);
    hit.map_or(LineRead::Malformed, LineRead::Hit)
}

#[cfg(test)]
mod tests;
