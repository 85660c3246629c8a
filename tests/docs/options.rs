//! What the pages call a command, an option, a key of a config or a figure is one.
//!
//! In a table's second column `postern knock --for 10m` and `[gate] window` are looked up in the programs' own help and in the manual of the
//! config files, so that a page for people who look for a counterpart never names one that is not there.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;
use postern::cli::manual::{client::PROFILE, gate::SECTIONS};
use postern::model::counters::ReasonCounters;
use postern::model::reason::Reason;
use regex::Regex;

const PAGE: &str = "docs/from-fwknop-and-knockd.md";

pub(crate) fn all_are_there() -> Result<(), Failed> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let cells: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").nth(1))
        .collect();
    let named: Vec<&str> = cells
        .iter()
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(
        cells.len() > 80 && named.len() > 80,
        "{} rows name {}: is the table read?",
        cells.len(),
        named.len()
    );
    let missing: Vec<&str> = named.into_iter().filter(|code| !is_there(code)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("{PAGE} names what is not there: {missing:?}").into())
    }
}

/// Figures that are named in running text are among those that the page shows, and so are their reasons and rules.
pub(crate) fn figures_are_there() -> Result<(), Failed> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md"))
        .unwrap();
    let types: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let told: Vec<String> = types
        .iter()
        .map(|(name, kind)| {
            if *kind == "counter" {
                format!("{name}_total")
            } else {
                (*name).into()
            }
        })
        .collect();
    let counters = ReasonCounters::default();
    let reasons: Vec<&str> = counters
        .iter()
        .map(|(reason, _)| match reason {
            Reason::Drop(drop) => drop.name(),
            Reason::Refuse(rule) => rule.name(),
        })
        .collect();
    let all = |pattern: &str| -> Vec<String> {
        Regex::new(pattern)
            .unwrap()
            .captures_iter(&text)
            .map(|found| found[1].to_owned())
            .collect()
    };
    let named = all(r"[(`](postern_[a-z_]+)[\[{ `]");
    let given = all(r#"(?:reason|rule)="([a-z_-]+)""#);
    assert!(
        told.len() > 15 && named.len() > 6 && given.len() > 3,
        "{told:?} {named:?} {given:?}"
    );
    let odd: Vec<&String> = named.iter().filter(|name| !told.contains(name)).collect();
    let odd: Vec<&String> = odd
        .into_iter()
        .chain(
            given
                .iter()
                .filter(|name| !reasons.contains(&name.as_str())),
        )
        .collect();
    if odd.is_empty() {
        Ok(())
    } else {
        Err(format!("docs/monitoring.md names what is not there: {odd:?}").into())
    }
}

/// That what is not there is found out.
pub(crate) fn others_are_not() -> Result<(), Failed> {
    for (code, there) in [
        ("postern knock --for 10m", true),
        ("postern knock --fore 10m", false),
        ("postern knok --for 10m", false),
        ("posternd user add NAME --service tcp/22", true),
        ("posternd user add NAME --key tcp/22", false),
        ("posternd", false),
        ("[gate] window", true),
        ("[gate] windows", false),
        ("[gates] window", false),
        ("[PROFILE] allow", true),
        ("window", false),
    ] {
        assert_eq!(is_there(code), there, "{code}");
    }
    Ok(())
}

fn is_there(code: &str) -> bool {
    if let Some((section, key)) = code.strip_prefix('[').and_then(|_| code.split_once(' ')) {
        let mut sections = SECTIONS.iter().chain(std::iter::once(&PROFILE));
        return sections
            .any(|one| one.name == section && one.keys.iter().any(|one| one.name == key));
    }
    let mut words = code.split_whitespace();
    let program = match words.next() {
        Some("postern") => env!("CARGO_BIN_EXE_postern"),
        Some("posternd") => env!("CARGO_BIN_EXE_posternd"),
        _ => return false,
    };
    let words: Vec<&str> = words.collect();
    let is_command = |word: &&str| {
        !word.starts_with('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    let path: Vec<&str> = words.iter().copied().take_while(is_command).collect();
    let help = Command::new(program)
        .args(&path)
        .arg("--help")
        .output()
        .unwrap();
    let help_text = String::from_utf8(help.stdout).unwrap();
    let options = words
        .iter()
        .filter(|word| word.starts_with("--"))
        .map(|word| word.split('=').next().unwrap_or(word));
    let mut known = options.map(|option| {
        help_text
            .split([' ', '[', '=', ',', '\n'])
            .any(|word| word == option)
    });
    !path.is_empty() && help.status.success() && known.all(|known| known)
}
