//! Prints the steps of the demo and counts failures.

use std::io::Write;

use super::interrupt::Interrupt;
use crate::model::exit::ExitError;

pub(super) struct Progress {
    pub(super) json: bool,
    pub(super) interrupt: Interrupt,
    pub(super) steps: u32,
    pub(super) failed: u32,
}

impl Progress {
    pub(super) fn step(
        &mut self,
        title: &str,
        passed: bool,
        detail: &str,
    ) -> Result<(), ExitError> {
        self.interrupt.check()?;
        self.steps = self.steps.saturating_add(1);
        self.failed = self.failed.saturating_add(u32::from(!passed));
        if self.json {
            let object = serde_json::json!({ "version": 1, "step": self.steps, "title": title, "ok": passed, "detail": detail });
            return write(&object.to_string());
        }
        let mark = if passed { "ok" } else { "FAILED" };
        write(&format!("{}. {title}: {mark}", self.steps))?;
        let mut lines = detail.lines();
        lines.try_for_each(|line| write(&format!("     {line}")))
    }

    pub(super) fn say(&self, text: &str) -> Result<(), ExitError> {
        if self.json { Ok(()) } else { write(text) }
    }
}

fn write(line: &str) -> Result<(), ExitError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(ExitError::system("writing to standard output"))
}
