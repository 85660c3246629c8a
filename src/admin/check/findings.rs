//! The findings of `posternd check`, as text and as JSON.
//!
//! The `id` of a finding is stable: documents, scripts and tests name it.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::exit::{CONFIG, ExitError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// `run` cannot start.
    Error,
    Warning,
    Note,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) id: &'static str,
    pub(crate) what: Explanation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cure: Vec<String>,
}

/// One sentence that says what is wrong, and more lines with causes and advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explanation {
    summary: String,
    details: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)?;
        if !self.details.is_empty() {
            write!(f, ": {}", self.details.join("; "))?;
        }
        Ok(())
    }
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Finding {
    fn new(level: Level, id: &'static str, summary: impl fmt::Display) -> Self {
        Self {
            level,
            id,
            what: Explanation {
                summary: one_line(summary),
                details: Vec::new(),
            },
            cure: Vec::new(),
        }
    }

    pub(crate) fn warning(id: &'static str, summary: impl fmt::Display) -> Self {
        Self::new(Level::Warning, id, summary)
    }

    pub(crate) fn note(id: &'static str, summary: impl fmt::Display) -> Self {
        Self::new(Level::Note, id, summary)
    }

    #[must_use]
    pub(crate) fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.what.details.push(one_line(detail));
        self
    }

    #[must_use]
    pub(crate) fn cured_by(mut self, commands: Vec<String>) -> Self {
        self.cure = commands;
        self
    }
}

/// Names of rules and files come from others. None may break a line or control the terminal.
fn one_line(text: impl fmt::Display) -> String {
    text.to_string()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
    exit_code: u8,
    pub(crate) summary: String,
}

impl Findings {
    /// Adds an error that keeps `run` from starting; each line is a finding.
    pub(crate) fn error(&mut self, id: &'static str, stop: &ExitError) {
        let lines = stop.message.lines();
        self.found
            .extend(lines.map(|line| Finding::new(Level::Error, id, line)));
        if self.exit_code == 0 {
            self.exit_code = if stop.code == 0 { CONFIG } else { stop.code };
        }
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        self.found.push(finding);
    }

    /// 0, or the exit code that `run` would end with.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// The findings as JSON, version 1, with a newline.
    pub(crate) fn json(&self) -> String {
        let value = serde_json::json!({ "version": 1, "ok": self.exit_code == 0, "summary": self.summary, "findings": self.found });
        format!("{value:#}\n")
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, name) in [
            (Level::Error, "error"),
            (Level::Warning, "warning"),
            (Level::Note, "note"),
        ] {
            for Finding { id, what, cure, .. } in
                self.found.iter().filter(|finding| finding.level == level)
            {
                write!(f, "{name}: {}", what.summary)?;
                // An error names its place itself.
                if level != Level::Error {
                    write!(f, " [{id}]")?;
                }
                writeln!(f)?;
                for detail in &what.details {
                    writeln!(f, "  {detail}")?;
                }
                for command in cure {
                    writeln!(f, "  run: {command}")?;
                }
            }
        }
        if self.exit_code == 0 {
            writeln!(f, "ok: {}", self.summary)?;
        }
        Ok(())
    }
}
