//! The documentation does what it says: every command of every page, and of the README, is typed on machines of its own, and prints what the
//! page shows.
//!
//! ```text
//!   you: 203.0.113.9, 2001:db8:9::9 ══ cable ══ gate: 192.0.2.1, 2001:db8::1 ══ cable ══ inside: 10.0.0.5, fd00::5
//!                                              10.0.0.1, fd00::1
//! ```
//! Each is a network namespace and a mount namespace; what a page's comment `<!-- world: … -->` names runs there from the start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

mod carried;
mod compare;
mod machine;
mod mistakes;
#[path = "../netns/mod.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod netns;
mod options;
mod page;
mod world;

use carried::Carried;
use compare::Comparison;
use netns::ground::{Ground, Need};
use page::{Page, Step, Typed};
use world::{MACHINES, World};

/// What the pages need beside namespaces.
const NEEDS: &[Need] = &[
    Need::Users,
    Need::Program("ip"),
    Need::Program("bash"),
    Need::Program("sshd"),
    Need::Program("ssh"),
    Need::Program("iptables"),
    Need::Program("ipset"),
    Need::Program("nft"),
    Need::Program("git"),
    Need::Program("curl"),
    Need::Program("rsync"),
    Need::Program("python3"),
    Need::Program("script"),
    Need::Program("curl"),
    Need::Program("git"),
    Need::Program("rsync"),
    Need::Program("ping"),
    Need::Program("openssl"),
    Need::Program("turnserver"),
    Need::Program("systemd-analyze"),
];

fn main() -> ExitCode {
    let ground = Ground::find();
    let arguments = Arguments::from_args();
    let trial = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        ground.trial(name, NEEDS, move || try_page(&path))
    };
    let mut trials: Vec<Trial> = pages().into_iter().map(trial).collect();
    trials.push(Trial::test(
        "comparison_leaves_out_what_changes_and_nothing_else",
        comparison,
    ));
    trials.push(Trial::test(
        "when_a_knock_does_not_work_each_of_twelve_mistakes_ends_in_a_line_that_names_it",
        mistakes::all_are_named,
    ));
    trials.push(Trial::test(
        "options_and_keys_that_stand_for_those_of_other_tools_are_there",
        options::all_are_there,
    ));
    trials.push(Trial::test(
        "figures_that_the_pages_name_are_there",
        options::figures_are_there,
    ));
    trials.push(Trial::test(
        "options_and_keys_that_are_not_there_are_found_out",
        options::others_are_not,
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = folder
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    pages.push(root.join("README.md"));
    pages.sort();
    pages
}

fn try_page(path: &Path) {
    let page = Page::read(path, &MACHINES);
    let world = World::make(&page.world);
    let comparison = Comparison::new();
    let mut carried = Carried::new();
    let mut wrong = Vec::new();
    for step in &page.steps {
        match step {
            Step::File {
                machine,
                path,
                text,
            } => world.machine(machine).write(path, text),
            Step::Command(typed) => {
                wrong.extend(type_in(&page.name, &world, &comparison, &mut carried, typed).err())
            }
            Step::Next {
                line,
                machine,
                prints,
            } => {
                if let Some((_, last)) = prints.split_first().filter(|(first, _)| *first == "^C") {
                    let printed = world.machine(machine).interrupt();
                    let is_right = comparison.ends(last, &printed);
                    wrong.extend(
                        (!is_right).then(|| difference(&page.name, *line, "^C", last, &printed)),
                    );
                    continue;
                }
                let next = world
                    .machine(machine)
                    .read_on(prints.len(), |printed| comparison.is_whole(prints, printed));
                wrong.extend(
                    next.err().map(|printed| {
                        difference(&page.name, *line, "(goes on)", prints, &printed)
                    }),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A command that prints `…` last goes on until the page ends; one that prints `^C` last is ended by that. Into one that has `^D` in
/// a line of its own, the line above that is typed.
fn type_in(
    page: &str,
    world: &World,
    comparison: &Comparison,
    carried: &mut Carried,
    typed: &Typed,
) -> Result<(), String> {
    let machine = world.machine(&typed.machine);
    let command = carried.put_into(&typed.command);
    let (goes_on, is_interrupted) = match typed.prints.last().map(|line| line.trim()) {
        Some("^C") => (true, true),
        last => (last == Some("…"), false),
    };
    let wanted = if goes_on {
        &typed.prints[..typed.prints.len() - 1]
    } else {
        &typed.prints[..]
    };
    if let Some(at) = wanted.iter().position(|line| line == "^D") {
        let (asks, line) = (&wanted[..at - 1], carried.put_into(&wanted[at - 1]));
        let printed = machine.run_and_type(&command, &line, |shown| comparison.begins(asks, shown));
        let shown = [&wanted[..at], &wanted[at + 1..]].concat();
        let is_right = comparison.is_whole(&shown, &printed);
        return if is_right {
            Ok(())
        } else {
            Err(difference(
                page,
                typed.line,
                &typed.command,
                &shown,
                &printed,
            ))
        };
    }
    let printed = if goes_on {
        machine
            .run_on(&command, wanted.len(), |printed| {
                comparison.begins(wanted, printed)
            })
            .err()
    } else {
        let printed = machine.run(&command);
        carried.learn(wanted, &printed);
        Some(printed).filter(|printed| !comparison.is_whole(wanted, printed))
    };
    if is_interrupted && printed.is_none() {
        machine.interrupt();
    }
    printed.map_or(Ok(()), |printed| {
        Err(difference(
            page,
            typed.line,
            &typed.command,
            wanted,
            &printed,
        ))
    })
}

fn difference(
    page: &str,
    line: usize,
    command: &str,
    promised: &[String],
    printed: &str,
) -> String {
    format!(
        "{page}:{line}: {command}\n--- the page says\n{}\n--- it printed\n{printed}",
        promised.join("\n")
    )
}

fn comparison() -> Result<(), Failed> {
    let comparison = Comparison::new();
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    for (promised, printed, is_whole) in [
        ("", "", true),
        ("open after 21ms", "open after 3.5s\n", true),
        ("open after 21ms", "closed after 21ms", false),
        ("LEFT 12h", "LEFT 11h 59m 59s", true),
        ("[2001:db8::1]:22 is open", "192.0.2.1:22 is open", true),
        ("[2001:db8::1]:22 is open", "192.0.2.1:23 is open", false),
        ("a …\nc", "a b\nc", true),
        ("a …\nc", "a b\nd\nc", false),
        ("a\n…\nc", "a\nc", true),
        ("a\n…\nc", "a\nb\nb\nc", true),
        ("…\nc", "c", true),
        ("…\nc", "a\nc", true),
        ("…\nc", "ac", false),
        ("a", "a\nb", false),
        (
            "2026-11-22T10:49:57.854Z  INFO x",
            "2027-01-01T00:00:00.000Z  INFO x",
            true,
        ),
        ("a     b", "a  b", true),
        ("a (b)", "a (b)", true),
        ("a.b", "axb", false),
    ] {
        if comparison.is_whole(&lines(promised), printed) != is_whole {
            return Err(Failed::from(format!("{promised:?} and {printed:?}")));
        }
    }
    assert!(comparison.begins(&lines("a"), "a\nb\nc") && !comparison.begins(&lines("b"), "a\nb"));
    Ok(())
}
