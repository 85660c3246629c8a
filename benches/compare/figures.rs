//! Medians and percentiles, tables for a page of text, and raw data as CSV.

use std::fs;
use std::path::Path;

use postern_harness::now;

/// Measured values, sorted.
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    pub(crate) fn at(&self, percent: usize) -> f64 {
        self.0[(self.0.len() - 1) * percent / 100]
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(50)
    }
}

/// Prints the rows of a table, the first one as its head.
pub(crate) fn print_table(rows: &[Vec<String>]) {
    print_head(&rows[0]);
    rows[1..].iter().for_each(|row| print_row(row));
}

pub(crate) fn print_head(cells: &[impl AsRef<str>]) {
    print_row(cells);
    println!("|{}", "---|".repeat(cells.len()));
}

pub(crate) fn print_row(cells: &[impl AsRef<str>]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    println!("| {} |", cells.join(" | "));
}

pub(crate) fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

/// Writes a file of values separated by commas.
pub(crate) fn write_csv(folder: &Path, name: &str, head: &str, lines: &[String]) {
    let text = format!("{head}\n{}\n", lines.join("\n"));
    fs::write(folder.join(name), text).unwrap();
}

/// When and where this was measured.
pub(crate) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "));
    format!(
        "{}, Linux {}, {} × {}",
        now(),
        read("/proc/sys/kernel/osrelease").trim(),
        std::thread::available_parallelism().map_or(0, usize::from),
        model.unwrap_or("processor"),
    )
}

/// How busy the machine is with all that runs on it.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = text.split(' ').take(3).collect();
    format!("load {}", load.join(" "))
}
