//! The tables of the documentation are those of the code.
//!
//! `POSTERN_WRITE_MANUAL=1 cargo test --lib admin::import` writes them.

use std::path::Path;

use crate::admin::import::table::{ACCESS, FWKNOPD, KNOCKD, UCI};
use crate::client::import_fwknoprc::FWKNOPRC;
use crate::model::foreign::{Row, Verdict};

const PAGE: &str = "docs/from-fwknop-and-knockd.md";

/// The rows of a table between two marks, and the other text as it is.
fn with_table(page: &str, name: &str, rows: &[Row]) -> String {
    let (start, end) = (
        format!("<!-- {name}: written by a test -->\n"),
        format!("<!-- end of {name} -->\n"),
    );
    let (before, rest) = page
        .split_once(&start)
        .unwrap_or_else(|| panic!("{PAGE} has no {start}"));
    let (_, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("{PAGE} has no {end}"));
    let mut table = String::from(
        "\n| setting | verdict | becomes | why, and what to do |\n|---|---|---|---|\n",
    );
    for row in rows {
        let becomes = if row.becomes.is_empty() {
            "-"
        } else {
            row.becomes
        };
        let gap = if row.why.is_empty() || row.cure.is_empty() {
            ""
        } else {
            "; "
        };
        let names: Vec<String> = row
            .name
            .split(", ")
            .map(|name| format!("`{name}`"))
            .collect();
        let (names, verdict) = (names.join(", "), row.verdict.word());
        table += &format!(
            "| {names} | {verdict} | {becomes} | {}{gap}{} |\n",
            row.why, row.cure
        );
    }
    format!("{before}{start}{table}\n{end}{after}")
}

#[test]
#[allow(clippy::disallowed_methods)]
fn documented_tables_match_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let tables: [(&str, &[Row]); 5] = [
        ("access.conf", &ACCESS),
        ("fwknopd.conf", &FWKNOPD),
        ("UCI", &UCI),
        ("knockd.conf", &KNOCKD),
        (".fwknoprc", &FWKNOPRC),
    ];
    let made = tables.iter().fold(page.clone(), |page, (name, rows)| {
        with_table(&page, name, rows)
    });
    if std::env::var_os("POSTERN_WRITE_MANUAL").is_some() {
        std::fs::write(&path, &made).unwrap();
    } else {
        assert!(
            made == page,
            "write the tables with POSTERN_WRITE_MANUAL=1 cargo test --lib admin::import"
        );
    }
}

#[test]
fn each_row_has_the_words_of_its_verdict() {
    for row in ACCESS
        .iter()
        .chain(&FWKNOPD)
        .chain(&UCI)
        .chain(&KNOCKD)
        .chain(&FWKNOPRC)
    {
        let words = (
            !row.becomes.is_empty(),
            !row.why.is_empty(),
            !row.cure.is_empty(),
        );
        match row.verdict {
            Verdict::Ignore => assert_eq!(words, (false, true, false), "{}", row.name),
            Verdict::Convert => assert_eq!(words, (true, false, false), "{}", row.name),
            Verdict::Narrow => assert!(words.1 && words.2, "{}", row.name),
            Verdict::Refuse => assert_eq!(words, (false, true, true), "{}", row.name),
        }
        assert!(
            !row.cure.contains('|') && !row.becomes.contains('|'),
            "a table cell"
        );
    }
}
