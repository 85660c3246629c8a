//! A page as it is read: the blocks of a Markdown file that say or show something, in order.
//!
//! A block is one of
//! - `console`: lines that begin with the name of a host and `$ ` are commands, the lines below each are what it prints;
//! - `console gate`: what the last running command there prints next, after all that the page has shown of it; with `^C` as its
//!   first line, that command is ended, and the lines below are the last that it prints;
//! - any language with a place behind it, `toml gate:/etc/postern/posternd.toml`: a file with these contents;
//! - a `console` block that is one of the project's own two commands;
//! - `text`: a drawing. Anything else is refused, so that nothing in a page escapes the test.

use std::fs;
use std::path::Path;

/// What a page does, in order.
#[derive(Debug)]
pub(crate) enum Step {
    /// Write this file on this host.
    File {
        host: String,
        path: String,
        text: String,
    },
    /// Type this command on this host.
    Command(Typed),
    /// Wait for the next lines of the running command at this host.
    Next {
        line: usize,
        host: String,
        prints: Vec<String>,
    },
}

/// A command and what the page says that it prints.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) line: usize,
    pub(crate) host: String,
    pub(crate) command: String,
    pub(crate) prints: Vec<String>,
}

/// A page and the words of its comment `<!-- world: … -->`: what else runs on the hosts.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) world: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// The project's own commands, typed in its own folder: another test runs the first, and the second runs all this.
const OWN: [&str; 2] = ["$ cargo run --release -- demo", "$ tests/run"];

const WORLD: &str = "<!-- world:";

impl Page {
    pub(crate) fn read(path: &Path, hosts: &[&str]) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        let world = text
            .lines()
            .find_map(|line| line.strip_prefix(WORLD)?.strip_suffix("-->"));
        let world = world
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let mut steps = Vec::new();
        let mut lines = text.lines().zip(1..);
        while let Some((fence, at)) = lines.next() {
            let Some(info) = fence.trim_start().strip_prefix("```") else {
                continue;
            };
            let indent = fence.len() - fence.trim_start().len();
            let block: Vec<(String, usize)> = lines
                .by_ref()
                .take_while(|(line, _)| line.trim_start() != "```")
                .map(|(line, number)| (line.get(indent..).unwrap_or_default().to_owned(), number))
                .collect();
            let mut info = info.split_whitespace();
            match (info.next(), info.next()) {
                (Some("console"), None)
                    if block.iter().any(|(line, _)| OWN.contains(&line.as_str())) =>
                {
                    assert!(
                        block.len() == 1,
                        "{name}:{at}: nothing else beside the project's own command"
                    );
                }
                (Some("console"), None) => steps.extend(commands(&name, &block, hosts)),
                (Some("console"), Some(host)) => {
                    let prints = block.into_iter().map(|(line, _)| line).collect();
                    steps.push(Step::Next {
                        line: at,
                        host: host.to_owned(),
                        prints,
                    });
                }
                (Some("text"), None) => {}
                (Some(_), Some(place)) => {
                    let (host, path) = place
                        .split_once(':')
                        .unwrap_or_else(|| panic!("{name}:{at}: {place} is not HOST:PATH"));
                    let text = block.iter().map(|(line, _)| format!("{line}\n")).collect();
                    steps.push(Step::File {
                        host: host.to_owned(),
                        path: path.to_owned(),
                        text,
                    });
                }
                _ => panic!(
                    "{name}:{at}: a block that no test runs: make it console, text, or name its place"
                ),
            }
        }
        Self { name, world, steps }
    }
}

fn commands(name: &str, block: &[(String, usize)], hosts: &[&str]) -> Vec<Step> {
    let mut typed: Vec<Typed> = Vec::new();
    let mut goes_on = false;
    for (text, line) in block {
        let prompt = text
            .split_once("$ ")
            .filter(|(host, _)| hosts.contains(host));
        match (prompt, typed.last_mut()) {
            (_, Some(last)) if goes_on => {
                last.command.push('\n');
                last.command.push_str(text);
            }
            (Some((host, command)), _) => {
                typed.push(Typed {
                    line: *line,
                    host: host.to_owned(),
                    command: command.to_owned(),
                    prints: Vec::new(),
                });
            }
            (None, Some(last)) => last.prints.push(text.clone()),
            (None, None) => panic!(
                "{name}:{line}: a console block begins with a prompt such as `{}$ `",
                hosts[0]
            ),
        }
        goes_on = typed
            .last()
            .is_some_and(|last| last.prints.is_empty() && last.command.ends_with('\\'));
    }
    typed.into_iter().map(Step::Command).collect()
}
