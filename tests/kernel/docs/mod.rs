//! Every command of every page in docs/ and of the README runs on hosts of its own and prints what the page shows.
//!
//! A page's comment `<!-- world: ... -->` names the servers that run there from the start.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;

mod carried;
mod compare;
mod page;

use carried::Carried;
use compare::Comparison;
use page::{Page, Step, Typed};
use postern_harness::hosts::{HOSTS, Hosts};
use postern_harness::{Machine, Requirement, repository};

/// How often a listing is read again until it shows what a knock changed, and the pause between.
const READS: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// What the pages need beside namespaces.
const PROGRAMS: [&str; 21] = [
    "ip",
    "bash",
    "sshd",
    "ssh",
    "iptables",
    "ipset",
    "nft",
    "git",
    "curl",
    "rsync",
    "python3",
    "script",
    "ping",
    "openssl",
    "turnserver",
    "systemd-analyze",
    "mount",
    "firewalld",
    "dbus-daemon",
    "fwknop",
    "knock",
];

pub(crate) fn tests(machine: &Machine) -> Vec<Trial> {
    let mut needs = vec![Requirement::Root];
    needs.extend(PROGRAMS.map(Requirement::Program));
    let mut of_cluster = needs.clone();
    of_cluster.extend(["etcd", "keepalived"].map(Requirement::Program));
    let has_etcd = cfg!(feature = "etcd");
    of_cluster.push(Requirement::Other("a posternd built with etcd", has_etcd));
    let trial = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let needs = if name == "cluster" {
            &of_cluster
        } else {
            &needs
        };
        machine.trial(name, needs, move || try_page(&path))
    };
    pages().into_iter().map(trial).collect()
}

fn pages() -> Vec<PathBuf> {
    let root = repository();
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
    let page = Page::read(path, &HOSTS);
    let world = Hosts::make(&page.world);
    let comparison = Comparison::new();
    let mut carried = Carried::new();
    let mut wrong = Vec::new();
    for step in &page.steps {
        match step {
            Step::File { host, path, text } => world.host(host).write(path, text),
            Step::Command(typed) => {
                wrong.extend(type_in(&page.name, &world, &comparison, &mut carried, typed).err())
            }
            Step::Next { line, host, prints } => {
                if let Some((_, last)) = prints.split_first().filter(|(first, _)| *first == "^C") {
                    let printed = world.host(host).interrupt();
                    let is_right = comparison.ends(last, &printed);
                    wrong.extend(
                        (!is_right).then(|| difference(&page.name, *line, "^C", last, &printed)),
                    );
                    continue;
                }
                let next = world
                    .host(host)
                    .read_on(prints.len(), |printed| comparison.is_whole(prints, printed));
                wrong.extend(
                    next.err().map(|printed| {
                        difference(&page.name, *line, "(running)", prints, &printed)
                    }),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A command that prints `…` last runs until the page ends; one that prints `^C` last is ended by that. Into one that has `^D` in
/// a line of its own, the line above that is typed.
fn type_in(
    page: &str,
    world: &Hosts,
    comparison: &Comparison,
    carried: &mut Carried,
    typed: &Typed,
) -> Result<(), String> {
    let host = world.host(&typed.host);
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
        let printed = host.run_and_type(&command, &line, |shown| comparison.begins(asks, shown));
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
        host.run_on(&command, wanted.len(), |printed| {
            comparison.begins(wanted, printed)
        })
        .err()
    } else {
        let mut printed = host.run(&command);
        // A reader takes longer to type the command than a knock to arrive.
        for _ in 0..READS {
            if !lists_state(&command) || comparison.is_whole(wanted, &printed) {
                break;
            }
            thread::sleep(PAUSE);
            printed = host.run(&command);
        }
        carried.learn(wanted, &printed);
        Some(printed).filter(|printed| !comparison.is_whole(wanted, printed))
    };
    if goes_on && command.contains("posternd run") {
        // A reader takes longer to type the next command than the gate to start.
        host.run("posternd status --wait");
    }
    if is_interrupted && printed.is_none() {
        host.interrupt();
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

/// Whether the command only shows what a knock changed before.
fn lists_state(command: &str) -> bool {
    ["sudo posternd grants", "sudo posternd status"].contains(&command)
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
