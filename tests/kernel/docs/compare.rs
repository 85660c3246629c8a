//! Whether what a command printed is what a page says, with what differs from run to run left out of the comparison.
//!
//! `…` in a page matches anything within a line; a line that is only `…` matches any number of lines.

use regex::{Regex, RegexBuilder};

/// Patterns of output that varies, and their replacements.
const CHANGING: &[(&str, &str)] = &[
    (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>"),
    (r"\bpostern-[a-z]+-1\.[A-Za-z0-9_-]{20,}", "<token>"),
    (r"\b[A-Z2-7]{32}\b", "<secret>"),
    (r"[A-Za-z0-9+/]{43}=", "<key>"),
    (
        r"\b\d+(\.\d+)?(ms|µs|s|m|min|h)\b( \d+(\.\d+)?(ms|s|m|min)\b)*",
        "<length>",
    ),
    // one of two outcomes, which depends on time
    (
        r"(\[2001:db8::1\]|192\.0\.2\.1):(\d+) is open",
        "<gate>:$2 is open",
    ),
    // how often a knock is repeated depends on how busy the machine is
    (r"(is open after <length>); sent \d+ knocks to .*", "$1"),
    (r"\bsent \d+ knocks?\b", "sent <n> knocks"),
    (r"\b\d+ bytes\b", "<bytes>"),
    (r"\bpid \d+", "<pid>"),
    // the restrictions of the sandbox depend on the machine
    (
        r"(?m)^note: the sandbox is incomplete: .* \[sandbox\]\n",
        "",
    ),
    // the width of columns depends on their contents
    (r"  +", "  "),
];

pub(crate) struct Comparison {
    changing: Vec<(Regex, &'static str)>,
}

impl Comparison {
    pub(crate) fn new() -> Self {
        Self {
            changing: CHANGING
                .iter()
                .map(|(pattern, mask)| (Regex::new(pattern).unwrap(), *mask))
                .collect(),
        }
    }

    /// Whether the output equals the expected text.
    pub(crate) fn is_whole(&self, promised: &[String], printed: &str) -> bool {
        self.pattern(promised, "")
            .is_match(&self.masked(printed.trim_end()))
    }

    /// Whether the output begins as expected.
    pub(crate) fn begins(&self, promised: &[String], printed: &str) -> bool {
        self.pattern(promised, r"(\n.*)?")
            .is_match(&self.masked(printed.trim_end()))
    }

    /// Whether the output ends as expected.
    pub(crate) fn ends(&self, promised: &[String], printed: &str) -> bool {
        let promised = [&["…".to_owned()], promised].concat();
        self.is_whole(&promised, printed)
    }

    /// The text with each varying part replaced by one word.
    pub(crate) fn masked(&self, text: &str) -> String {
        let text = text
            .lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n");
        self.changing.iter().fold(text, |text, (pattern, mask)| {
            pattern.replace_all(&text, *mask).into_owned()
        })
    }

    fn pattern(&self, promised: &[String], rest: &str) -> Regex {
        let mut pattern = String::from("^");
        for (at, line) in promised.iter().enumerate() {
            if line.trim() == "…" {
                // With the line break before it, so that no lines at all are also any lines.
                pattern.push_str(if at == 0 { r"(.*\n)??" } else { r"(\n.*?)?" });
                continue;
            }
            if at > 0 && !(at == 1 && promised[0].trim() == "…") {
                pattern.push('\n');
            }
            let parts: Vec<String> = self.masked(line).split('…').map(regex::escape).collect();
            pattern.push_str(&parts.join("[^\n]*?"));
        }
        pattern.push_str(rest);
        pattern.push('$');
        RegexBuilder::new(&pattern)
            .dot_matches_new_line(true)
            .build()
            .unwrap()
    }
}
