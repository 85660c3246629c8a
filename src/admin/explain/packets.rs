//! Packets in base64 from text: one on each line, or wrapped over several lines.

use std::io::{BufRead, Read};
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::exit::{DATA, ExitError, IO};

/// The longest line, enough for a datagram of 48 KiB.
const LINE_MAX: usize = 65_536;
/// The widths at which programs wrap base64.
const WRAPPED: RangeInclusive<usize> = 60..=80;

/// A packet of ours in base64, or one of fwknop, which is text on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PacketText {
    pub(super) text: String,
    /// What the text is in base64.
    pub(super) decoded: Option<Vec<u8>>,
}

pub(super) struct Packets<R> {
    text: R,
    lines: usize,
    over: bool,
}

impl<R: BufRead> Packets<R> {
    pub(super) fn of(text: R) -> Self {
        Self {
            text,
            lines: 0,
            over: false,
        }
    }

    /// The joined lines of the next packet, and the number of the first; `None` at the end.
    fn joined(&mut self) -> Result<Option<(String, usize)>, ExitError> {
        let mut joined = String::new();
        let (mut first, mut width) = (0, 0);
        loop {
            let Some(line) = self.line()? else {
                return Ok((!joined.is_empty()).then_some((joined, first)));
            };
            if joined.is_empty() {
                (first, width) = (self.lines, line.len());
            }
            joined.push_str(&line);
            let is_full = line.len() == width
                && width.is_multiple_of(4)
                && WRAPPED.contains(&width)
                && !line.ends_with('=');
            if !joined.is_empty() && (!is_full || joined.len() > LINE_MAX) {
                return Ok(Some((joined, first)));
            }
        }
    }

    fn line(&mut self) -> Result<Option<String>, ExitError> {
        let mut line = Vec::new();
        let most = u64::try_from(LINE_MAX.saturating_add(1)).unwrap_or(u64::MAX);
        let read = (&mut self.text).take(most).read_until(b'\n', &mut line);
        let length =
            read.map_err(|error| ExitError::new(IO, format!("reading packets: {error}")))?;
        self.lines = self.lines.saturating_add(1);
        if length > LINE_MAX {
            return Err(self.no_packet(self.lines));
        }
        let text = std::str::from_utf8(&line).map_err(|_| self.no_packet(self.lines))?;
        Ok((length > 0).then(|| text.trim().to_owned()))
    }

    fn no_packet(&self, line: usize) -> ExitError {
        let cure = "give each packet as `postern knock --print` writes it";
        let what = format!("line {line} is not a packet in base64; {cure}");
        ExitError::new(DATA, what)
    }
}

impl<R: BufRead> Iterator for Packets<R> {
    type Item = Result<PacketText, ExitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let packet = match self.joined() {
            Ok(Some((text, line))) => {
                let decoded = STANDARD.decode(&text).ok();
                if decoded.is_none() && !postern_fwknop::looks_like(text.as_bytes()) {
                    Err(self.no_packet(line))
                } else {
                    Ok(PacketText { text, decoded })
                }
            }
            Ok(None) => return None,
            Err(stop) => Err(stop),
        };
        self.over = packet.is_err();
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Vec<u8>, String>> {
        Packets::of(text.as_bytes())
            .map(|packet| packet.map(|packet| packet.decoded.unwrap()))
            .map(|packet| packet.map_err(|stop| stop.message))
            .collect()
    }

    fn wrapped(text: &str, width: usize) -> String {
        text.as_bytes()
            .chunks(width)
            .map(|line| format!("{}\r\n", str::from_utf8(line).unwrap()))
            .collect()
    }

    #[test]
    fn packets_on_one_or_several_lines_are_read() {
        for length in [132, 133, 134, 200, 485, 516] {
            let packets: Vec<Vec<u8>> = (0..3).map(|n| vec![n; length]).collect();
            let texts: Vec<String> = packets
                .iter()
                .map(|packet| STANDARD.encode(packet))
                .collect();
            let expected: Vec<_> = packets.into_iter().map(Ok).collect();
            assert_eq!(read(&texts.join("\n")), expected, "{length}");
            let found = read(&format!("\n\n  {}  \n\n", texts.join("\n\n")));
            assert_eq!(found, expected, "{length}");
            for width in [60, 64, 72, 76] {
                let text: String = texts
                    .iter()
                    .map(|text| wrapped(text, width) + "\n")
                    .collect();
                assert_eq!(read(&text), expected, "{length} in lines of {width}");
            }
        }
    }

    #[test]
    fn short_packets_are_read() {
        let expected = [Ok(b"ABC".to_vec()), Ok(b"DEF".to_vec())];
        assert_eq!(read("QUJD\nREVG\n"), expected);
        assert_eq!(read(""), []);
        assert_eq!(read("\n \n"), []);
    }

    #[test]
    fn invalid_base64_is_reported_with_its_line() {
        let said = read("QUJD\n\nno base64!\nQUJD\n");
        assert_eq!(said.len(), 2);
        assert!(
            said[1]
                .as_ref()
                .unwrap_err()
                .starts_with("line 3 is not a packet in base64; "),
            "{said:?}"
        );
        let long = "A".repeat(LINE_MAX + 4);
        assert!(read(&long)[0].as_ref().unwrap_err().starts_with("line 1 "));
        let endless = (wrapped(&"A".repeat(LINE_MAX * 3), 76), ());
        assert!(
            read(&endless.0).len() < 5,
            "and no more is kept than a line may have"
        );
        assert!(Packets::of(&b"\xff\xfe\n"[..]).next().unwrap().is_err());
    }
}
