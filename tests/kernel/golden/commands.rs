//! The commands of both programs, as their command lines say: what each golden file is called, and which there must be.

use std::process::Command;

use postern_harness::{postern, posternd};

/// What of a command is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Help,
    Text,
    Json,
}

impl Kind {
    /// In front of each line that came on standard error.
    pub(crate) const ASIDE: &str = "stderr: ";

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Help => "help",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Every command and every kind of output that it has.
pub(crate) fn all() -> Vec<(String, Kind)> {
    let mut found = Vec::new();
    for mut program in programs() {
        program.build();
        let name = program.get_name().to_owned();
        add(&program, name, &mut found);
    }
    found
}

fn programs() -> [clap::Command; 2] {
    [
        postern::cli::postern::command(),
        postern::cli::posternd::command(),
    ]
}

fn add(command: &clap::Command, name: String, found: &mut Vec<(String, Kind)>) {
    let has_json = command
        .get_arguments()
        .any(|argument| argument.get_long() == Some("json"));
    let kinds = [
        Some(Kind::Help),
        Some(Kind::Text),
        has_json.then_some(Kind::Json),
    ];
    found.extend(kinds.into_iter().flatten().map(|kind| (name.clone(), kind)));
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        add(inner, format!("{name} {}", inner.get_name()), found);
    }
}

/// `posternd-user-add.json`.
pub(crate) fn file(command: &str, kind: Kind) -> String {
    format!("{}.{}", command.replace(' ', "-"), kind.name())
}

/// Which command a line runs, and in which form it answers.
pub(crate) fn named_in(line: &str) -> (String, Kind) {
    let mut words = line
        .split_whitespace()
        .skip_while(|word| !["postern", "posternd"].contains(word))
        .peekable();
    let program = words
        .next()
        .unwrap_or_else(|| panic!("{line} runs neither program"));
    let [postern, posternd] = programs();
    let mut command = if program == "postern" {
        &postern
    } else {
        &posternd
    };
    let mut name = program.to_owned();
    while let Some(inner) = words.peek().and_then(|word| command.find_subcommand(word)) {
        name = format!("{name} {}", inner.get_name());
        (command, _) = (inner, words.next());
    }
    let kind = if words.any(|word| word == "--json") {
        Kind::Json
    } else {
        Kind::Text
    };
    (name, kind)
}

/// What `--help` says.
pub(crate) fn help(command: &str) -> String {
    let mut words = command.split(' ');
    let program = if words.next() == Some("postern") {
        postern()
    } else {
        posternd()
    };
    let output = Command::new(program)
        .args(words)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{command}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}
