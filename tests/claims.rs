//! SECURITY.md claims nothing that no test shows: every test it names is one, every row and every attack names some, and none of
//! those that must be there is left out.
//!
//! Reads the page and the sources as text. Whether a test fails once its defence is gone is not seen here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The attacks that the page must speak of, by its headings.
const ATTACKS: [&str; 19] = [
    "Replay here",
    "Replay at another gate",
    "Swallow and re-send",
    "NAT sharing",
    "Race after close",
    "Clock games",
    "Lost state",
    "CPU and state exhaustion",
    "Lock-out by spoofed sources",
    "Log flooding",
    "Timing",
    "Traffic analysis by length",
    "Key-id linkability",
    "Open-port fingerprint",
    "Unmasking replies",
    "Server compromise",
    "Filter bypass by fragments, extension headers, VLAN or IPv6",
    "Provisioning leaks",
    "Malleable replay keys",
];
/// What was found in others and must be answered, by the beginning of its heading.
const PREDECESSORS: [&str; 3] = ["CVE-2012-4434", "CVE-2012-4435", "CVE-2012-4436"];
/// Whom the table of the threat model must speak of.
const ACTORS: [&str; 11] = [
    "A stranger on the internet",
    "Someone who sees the wire",
    "Someone on the path",
    "Someone behind the same NAT",
    "A user who wants more",
    "A thief of a client's key",
    "A hostile engine",
    "Another local user",
    "Who may write the gate's config",
    "Accident, crash and haste",
    "The maker of a dependency",
];

/// Something that is claimed, and the tests that it names.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    heading: String,
    tests: Vec<(String, String)>,
}

#[test]
fn every_claim_of_the_page_names_tests_that_there_are() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    assert_eq!(faults(&page), Vec::<String>::new());
    let named: usize = claims(&page).iter().map(|claim| claim.tests.len()).sum();
    assert!(
        named > 80,
        "the test no longer finds what the page names: {named}"
    );
}

#[test]
fn a_wrong_name_a_claim_without_a_test_and_a_missing_attack_are_found() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let found = |from: &str, to: &str| {
        assert!(page.contains(from), "{from}");
        faults(&page.replacen(from, to, 1))
    };
    let name = "tests/gate: replay_after_a_restart_is_refused";
    assert_eq!(
        found(name, "tests/gate: replay_after_a_restart_is_admitted").len(),
        1,
        "a name that is no trial's"
    );
    assert_eq!(
        found(name, "tests/gate: marks_live_on").len(),
        1,
        "a function that is no test by its own name"
    );
    assert_eq!(
        found(name, "tests/capture: replay_after_a_restart_is_refused").len(),
        1,
        "another place"
    );
    assert_eq!(
        found(name, "src/nowhere.rs: replay_after_a_restart_is_refused").len(),
        1,
        "no place at all"
    );
    assert_eq!(
        found("flood_of_random_bytes", "flood_of_roses").len(),
        1,
        "a name that is put together, but never so"
    );
    assert_eq!(
        found("### NAT sharing\n", "### NAT\n").len(),
        1,
        "an attack under another name"
    );
    assert_eq!(found("\n### Clock games\n", "\n").len(), 1);
    assert_eq!(found("### CVE-2012-4435", "### CVE-2012-9999").len(), 1);
    assert_eq!(
        found("| Another local user on the gate's host |", "| Another |").len(),
        1
    );
    let bare = "### Replay at another gate\nNo test.\n\n";
    assert_eq!(
        found("### Replay at another gate\n", bare).len(),
        0,
        "the tests are still there"
    );
    assert_eq!(
        found(
            "### Replay at another gate\n",
            &format!("{bare}### Another\n")
        )
        .len(),
        1,
        "now they are another's"
    );
    let row = "| | nothing | nobody knows | |\n| Another local user";
    assert_eq!(
        found("| Another local user", row).len(),
        1,
        "a row without a test"
    );
}

/// Whatever is wrong with the page, a line each.
fn faults(page: &str) -> Vec<String> {
    let claims = claims(page);
    let mut faults = Vec::new();
    for claim in &claims {
        if claim.tests.is_empty() {
            faults.push(format!("{}: names no test", claim.heading));
        }
        let absent = claim
            .tests
            .iter()
            .filter(|(place, name)| !is_test(place, name));
        faults.extend(
            absent.map(|(place, name)| format!("{}: {place}: {name} is no test", claim.heading)),
        );
    }
    let is_there = |start: &&str| claims.iter().any(|claim| claim.heading.starts_with(*start));
    let wanted = ATTACKS.iter().chain(&PREDECESSORS).chain(&ACTORS).copied();
    faults.extend(
        wanted
            .filter(|start| !is_there(start))
            .map(|start| format!("{start}: not on the page")),
    );
    faults
}

/// Every row of the table of the threat model, and every section of the third level.
fn claims(page: &str) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut in_section = false;
    for line in page.lines() {
        let heading = line.strip_prefix("### ");
        let row = line
            .strip_prefix("| ")
            .filter(|row| !row.starts_with("who |"));
        in_section = heading.is_some() || in_section && !line.starts_with("## ");
        match (heading, row) {
            (Some(heading), _) => claims.push(Claim {
                heading: heading.to_owned(),
                tests: Vec::new(),
            }),
            (None, Some(row)) => claims.push(Claim {
                heading: row.to_owned(),
                tests: named(row),
            }),
            (None, None) if in_section => claims.last_mut().unwrap().tests.extend(named(line)),
            (None, None) => {}
        }
    }
    claims
}

/// What a line has between backquotes of the form `place: name`.
fn named(line: &str) -> Vec<(String, String)> {
    let quoted = line.split('`').skip(1).step_by(2);
    let places = ["tests/", "src/", "proto/", "fuzz/"];
    let test = quoted
        .filter(|text| places.iter().any(|place| text.starts_with(place)))
        .filter_map(|text| text.split_once(": "));
    test.map(|(place, name)| (place.to_owned(), name.to_owned()))
        .collect()
}

/// A function under `#[test]`, or a trial, in that file or folder.
fn is_test(place: &str, name: &str) -> bool {
    let place = root().join(place);
    let files = if place.is_dir() {
        sources(&place)
    } else {
        vec![place.clone()]
    };
    let texts: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap_or_default())
        .collect();
    if texts
        .iter()
        .any(|text| functions_under_test(text).contains(name))
    {
        return true;
    }
    // Trials are listed in the main file of a folder, or in the one file.
    let main = if place.is_dir() {
        place.join("main.rs")
    } else {
        place
    };
    let main = fs::read_to_string(main).unwrap_or_default();
    // With what stands between strings: quotes in comments and letters make it hard to tell, and code is no name.
    let strings: BTreeSet<&str> = texts
        .iter()
        .flat_map(|text| text.split('"').skip(1))
        .collect();
    main.contains("libtest_mimic::run")
        && main.lines().any(|line| lists(line.trim(), name, &strings))
}

fn functions_under_test(text: &str) -> BTreeSet<&str> {
    let behind = text.split("#[test]").skip(1);
    behind
        .filter_map(|rest| rest.split_once("fn ")?.1.split('(').next())
        .collect()
}

/// Whether a line of a list of trials has this one: as a string, as the name of a function, or as a format to fill in.
fn lists(line: &str, name: &str, strings: &BTreeSet<&str>) -> bool {
    let in_list = line
        .strip_suffix(',')
        .and_then(|entry| entry.rsplit([':', ' ']).next());
    if in_list == Some(name) || line.split('"').skip(1).step_by(2).any(|text| text == name) {
        return true;
    }
    let mut formats = line
        .split('"')
        .skip(1)
        .step_by(2)
        .filter_map(|text| text.strip_prefix("{backend}::"));
    formats.any(|format| fits(format, name, strings))
}

/// Whether a format makes this name with other strings of the same tests in its places.
fn fits(format: &str, name: &str, strings: &BTreeSet<&str>) -> bool {
    match format.split_once('{') {
        None => format == name,
        Some((before, rest)) => {
            let (Some(tail), Some((_, after))) = (name.strip_prefix(before), rest.split_once('}'))
            else {
                return false;
            };
            let mut ends =
                (0..=tail.len()).filter(|end| *end == 0 || strings.contains(&tail[..*end]));
            ends.any(|end| fits(after, &tail[end..], strings))
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|ending| ending == "rs") {
            found.push(entry);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
