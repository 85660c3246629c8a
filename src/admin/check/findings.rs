//! What `posternd check` found, and how it is told: one line each, or JSON.
//!
//! Finds nothing itself. The `id` of a finding is stable: documents, scripts and tests name it.

use std::fmt;

use crate::model::exit::{CONFIG, ExitError};

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// `error`, `warning` or `note`.
    pub level: &'static str,
    /// Which kind it is.
    pub id: &'static str,
    /// What it is, why, and what to do; one line.
    pub what: String,
    /// Commands that mend it, in order, where there are such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cure: Vec<String>,
}

impl Finding {
    /// Something that an administrator should mend.
    pub fn warning(id: &'static str, what: impl fmt::Display) -> Self {
        Self {
            level: "warning",
            id,
            what: line(what),
            cure: Vec::new(),
        }
    }

    /// Something that is good to know.
    pub fn note(id: &'static str, what: impl fmt::Display) -> Self {
        Self {
            level: "note",
            id,
            what: line(what),
            cure: Vec::new(),
        }
    }

    /// With the commands that mend it.
    #[must_use]
    pub fn cured_by(mut self, commands: Vec<String>) -> Self {
        self.cure = commands;
        self
    }
}

/// Names of rules and files come from others; none may break a line or reach the terminal as more than text.
fn line(what: impl fmt::Display) -> String {
    what.to_string()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
    exit_code: u8,
    /// What is in force.
    pub summary: String,
}

impl Findings {
    /// Adds what would keep `run` from starting, a finding a line.
    pub fn error(&mut self, id: &'static str, stop: &ExitError) {
        self.found.extend(stop.message.lines().map(|what| Finding {
            level: "error",
            id,
            what: line(what),
            cure: Vec::new(),
        }));
        if self.exit_code == 0 {
            self.exit_code = if stop.code == 0 { CONFIG } else { stop.code };
        }
    }

    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        self.found.push(finding);
    }

    /// 0 where nothing keeps `run` from starting; else the exit code that `run` would end with.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// The findings as JSON, version 1, with a newline.
    pub fn json(&self) -> String {
        let value = serde_json::json!({ "version": 1, "ok": self.exit_code == 0, "summary": self.summary, "findings": self.found });
        format!("{value:#}\n")
    }
}

/// A line a finding, errors first, then what is in force.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in ["error", "warning", "note"] {
            for finding in self.found.iter().filter(|finding| finding.level == level) {
                write!(f, "{level}: {}", finding.what)?;
                if !finding.cure.is_empty() {
                    write!(f, "; run: {}", finding.cure.join(" && "))?;
                }
                // An error says by itself where to look.
                if level == "error" {
                    writeln!(f)?
                } else {
                    writeln!(f, " [{}]", finding.id)?
                }
            }
        }
        if self.exit_code == 0 {
            writeln!(f, "ok: {}", self.summary)
        } else {
            Ok(())
        }
    }
}
