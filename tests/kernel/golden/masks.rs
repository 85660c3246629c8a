//! Patterns of output that varies, by name. Output that no pattern matches is compared as it is.
//!
//! In JSON a number becomes a bare word, `"left_ms": <ms>`, so that a reader still sees that it was a number.

use regex::{Captures, Regex};

/// A pattern and its replacement; `#` is the length of the part that is named `long`.
const KINDS: &[(&str, &str)] = &[
    // times and lengths of time
    (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"\b1[789]\d{11}\b", "<epoch-ms>"),
    (
        r#"("(?:left|uptime|daemon_uptime|after|age|behind)_ms": ?)-?\d+"#,
        "$1<ms>",
    ),
    (r#"("last_took_us": ?)\d+"#, "$1<us>"),
    (r"(_time_seconds )\d+\.\d+", "$1<epoch-s>"),
    (r"\b(up|counting for) \d+s,", "$1 <s>,"),
    (
        r"\bthe last \S+ ago took [0-9.]+(µs|ms|s)\b",
        "the last <s> ago took <us>",
    ),
    (
        r"\ball of it in (\d+m( \d+s)?|[0-9.]+s)\b",
        "all of it in <s>",
    ),
    (
        r"(?m)(  (?:-|[0-9.]+) +)(\d+m( \d+s)?|[0-9.]+s)$",
        "$1<left>",
    ),
    (
        r"\bis open after [0-9.]+(ms|s)\b(; sent .*)?",
        "is open after <ms>",
    ),
    // how often a knock is repeated depends on how busy the machine is
    (r"\bsent \d+ knocks?\b", "sent <n> knocks"),
    (r#"("count": ?)[1-9]\d*\b"#, "$1<n>"),
    (
        r"\bmade (\d+m( \d+s)?|[0-9.]+(ms|s)) (ago|ahead)",
        "made <age> $4",
    ),
    (r"\bexpires \d+s(\d+ms)?", "expires <left>"),
    (r"\b[0-9.]+ ms\b", "<ms>"),
    (r"(steps passed \()\d+s\)", "$1<s>)"),
    // keys, packets, and lines that hold keys
    (
        r"\b(?P<kind>postern-(token|secret|request)-1)\.(?P<long>[A-Za-z0-9_-]{20,})",
        "$kind.<# letters>",
    ),
    (r"\b[A-Z2-7]{32}\b", "<secret of 32 letters>"),
    (r"[A-Za-z0-9+/]{160,}={0,2}", "<packet>"),
    (r"[A-Za-z0-9+/]{43}=", "<key of 44 letters>"),
    (r"\bRW[A-Za-z0-9+/]{54}", "<key of a signer>"),
    (r"(signed by )[0-9A-F]{16}\b", "$1<name of a signer>"),
    (r#"(?m)^(      ")[0-9A-F]{16}""#, "$1<name of a signer>\""),
    // the length of a packet is random
    (r#"("bytes": ?)\d{3}\b"#, "$1<bytes>"),
    (r"\b\d{3}( random-looking)? bytes\b", "<bytes>$1 bytes"),
    // the table has rows for the steps around now, and once in a while one more
    (r"(?m)^(postern_hint_rows )\d$", "$1<rows>"),
    // the restrictions of the sandbox depend on the machine
    (
        r"(?m)^note: the sandbox is incomplete: .* \[sandbox\]\n",
        "",
    ),
    (
        r#",\n    \{\n      "id": "sandbox",\n      "level": "note",\n      "what": ".*"\n    \}"#,
        "",
    ),
    (
        r#"\n    \{\n      "id": "sandbox",\n      "level": "note",\n      "what": ".*"\n    \},?"#,
        "",
    ),
    (r#"("findings": \[)\s+\]"#, "$1]"),
    (r"\bhandle \d+\b", "handle <n>"),
    // other names of the machine
    (r"\band \d+ more names\b", "and <n> more names"),
];

pub(crate) struct Masks {
    kinds: Vec<(Regex, &'static str)>,
}

impl Masks {
    pub(crate) fn new() -> Self {
        let mut kinds: Vec<_> = KINDS
            .iter()
            .map(|(pattern, name)| (Regex::new(pattern).unwrap(), *name))
            .collect();
        let version = regex::escape(env!("CARGO_PKG_VERSION"));
        kinds.push((
            Regex::new(&format!(r"\b(posternd?) {version}\b")).unwrap(),
            "$1 <version>",
        ));
        kinds.push((
            Regex::new(&format!(r#"\bversion="{version}""#)).unwrap(),
            r#"version="<version>""#,
        ));
        Self { kinds }
    }

    pub(crate) fn put_on(&self, text: &str) -> String {
        self.kinds
            .iter()
            .fold(text.to_owned(), |text, (pattern, name)| {
                let replaced = pattern.replace_all(&text, |found: &Captures<'_>| {
                    let mut name = (*name).to_owned();
                    if let Some(long) = found.name("long") {
                        name = name.replace('#', &long.as_str().len().to_string());
                    }
                    let mut put = String::new();
                    found.expand(&name, &mut put);
                    put
                });
                replaced.into_owned()
            })
    }
}
