//! A line of the firewall's log: no hit without the exact prefix and a whole set of fields, each once.
//!
//! The first byte says how the line is wrapped: 0 a record of /dev/kmsg, 1 an entry of the journal, 2 a line of a file; 3 the text
//! alone, which is wrapped in each way and has to give the same.

use std::net::IpAddr;

use postern::core::log_line::{Format, LineRead, Lines, read};
use postern::core::sequence::Hit;

const PREFIX: &str = "KNOCK ";
const FORMATS: [Format; 3] = [Format::Kmsg, Format::Journal, Format::File];

pub fn run(data: &[u8]) {
    let Some((first, line)) = data.split_first() else {
        return;
    };
    split(line);
    if let Some(format) = FORMATS.get(usize::from(*first)) {
        judge(*format, line);
        return;
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return;
    };
    let is_one_line = !text.contains(['\n', '\0']);
    let all = [
        format!("4,1,1,-;{text}"),
        format!(
            "{{\"_TRANSPORT\":\"kernel\",\"SYSLOG_FACILITY\":\"0\",\"MESSAGE\":{}}}",
            serde_json::to_string(text).unwrap()
        ),
        format!("Nov 29 16:49:06 gate kernel: [1.2] {text}"),
    ];
    let hits: Vec<_> = FORMATS
        .into_iter()
        .zip(&all)
        .map(|(format, line)| judge(format, line.as_bytes()))
        .collect();
    if is_one_line {
        assert!(hits.iter().all(|hit| *hit == hits[0]), "{text:?}: {hits:?}");
    }
    // The same by user space.
    for line in [
        format!("12,1,1,-;{text}"),
        all[1].replacen("\"0\"", "\"1\"", 1),
        all[1].replacen("kernel", "syslog", 1),
    ] {
        for format in [Format::Kmsg, Format::Journal] {
            assert!(
                !matches!(read(format, line.as_bytes(), PREFIX), LineRead::Hit(_)),
                "{line:?}"
            );
        }
    }
}

fn judge(format: Format, line: &[u8]) -> Option<Hit> {
    let LineRead::Hit(hit) = read(format, line, PREFIX) else {
        return None;
    };
    // serde_json is trusted to unwrap an entry.
    let text = match format {
        Format::Journal => {
            let entry: serde_json::Value = serde_json::from_slice(line).unwrap();
            entry["MESSAGE"].as_str().unwrap().to_owned()
        }
        Format::Kmsg => after(line, ";"),
        Format::File => after(line, " kernel: "),
    };
    // Lines of a record's dictionary follow.
    let (text, _) = text.split_once('\n').unwrap_or((&text, ""));
    let (_, fields) = text.split_once(PREFIX).unwrap();
    let value = |name: &str| {
        let mut found = fields.split(' ').filter_map(|word| word.strip_prefix(name));
        let value = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {text:?}"));
        (value.to_owned(), found.count())
    };
    let once = |name: &str| {
        let (value, more) = value(name);
        assert_eq!(more, 0, "{name} in {text:?}");
        value
    };
    assert!(
        !once("IN=").is_empty() && once("OUT=").is_empty(),
        "{text:?}"
    );
    let source: IpAddr = once("SRC=").parse().unwrap();
    assert_eq!(source.to_canonical(), hit.source);
    once("DST=");
    assert_eq!(once("DPT=").parse(), Ok(hit.port));
    assert_eq!(once("SPT=").parse(), Ok(hit.source_port));
    let is_tcp = once("PROTO=") == "TCP";
    assert_eq!(
        (is_tcp, value("LEN=").1),
        (hit.tcp.is_some(), usize::from(!is_tcp))
    );
    // Another prefix is no hit.
    assert!(!matches!(read(format, line, "KNOCKS"), LineRead::Hit(_)));
    Some(hit)
}

/// Lines are the same however the bytes come.
fn split(bytes: &[u8]) {
    let lines_of = |size: usize| {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for part in bytes.chunks(size) {
            lines.push(part);
            while let Some(line) = lines.next_line() {
                all.push(line.to_vec());
            }
        }
        all
    };
    assert_eq!(lines_of(bytes.len().max(1)), lines_of(7));
}

fn after(line: &[u8], mark: &str) -> String {
    let line = String::from_utf8_lossy(line);
    line.split_once(mark).unwrap().1.to_owned()
}
