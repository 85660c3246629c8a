//! Man pages and completions under `dist/` match the command lines and the texts in `gate.toml` and `client.toml`. Those texts
//! have every key that the readers of configs know.
//!
//! `POSTERN_WRITE_MANUAL=1 cargo test --test manual` writes them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap_complete::Shell;
use libtest_mimic::{Arguments, Failed, Trial};

mod keys;
mod pages;
mod texts;

/// By the path under `dist/`.
type Files = BTreeMap<String, String>;

fn main() -> ExitCode {
    if std::env::var_os("POSTERN_WRITE_MANUAL").is_some() {
        write_anew();
        return ExitCode::SUCCESS;
    }
    let run = |test: fn()| -> Result<(), Failed> {
        test();
        Ok(())
    };
    let plain = |name: &str, test: fn()| Trial::test(name, move || run(test));
    let mut trials = vec![
        plain(
            "man_pages_and_completions_match_code",
            are_what_the_code_says,
        ),
        plain(
            "every_config_key_is_documented",
            keys::every_key_of_the_gate_is_told,
        ),
        plain(
            "every_profile_key_is_documented",
            keys::every_key_of_a_profile_is_told,
        ),
        plain("documented_defaults_hold", keys::defaults_hold),
        plain("documented_examples_load", keys::examples_are_right),
        with(
            "man",
            "man_shows_pages_without_warning",
            man_shows_pages_without_warning,
        ),
    ];
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        trials.push(with(
            shell,
            &format!("completions_for_{shell}_can_be_read_by_it"),
            move || can_be_read(shell, check),
        ));
    }
    trials.push(with(
        "bash",
        "bash_completes_commands_and_options",
        bash_completes,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test that needs this program.
fn with(program: &'static str, name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let is_here = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    let run = move || {
        test();
        Ok::<(), Failed>(())
    };
    Trial::test(name, run).with_ignored_flag(!is_here)
}

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

fn commands() -> [(clap::Command, pages::Extra); 2] {
    [
        (
            postern::cli::postern::command(),
            pages::extra(include_str!("postern.toml")),
        ),
        (
            postern::cli::posternd::command(),
            pages::extra(include_str!("posternd.toml")),
        ),
    ]
}

/// The files that the code makes.
fn made() -> Files {
    let mut files = Files::new();
    for (command, extra) in commands() {
        for (name, page) in pages::of_program(command.clone(), &extra) {
            files.insert(format!("man/{name}"), page);
        }
        let name = command.get_name().to_owned();
        for (shell, path) in [
            (Shell::Bash, format!("bash/{name}")),
            (Shell::Zsh, format!("zsh/_{name}")),
            (Shell::Fish, format!("fish/{name}.fish")),
        ] {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut shown(&command), &name, &mut bytes);
            files.insert(
                format!("completions/{path}"),
                String::from_utf8(bytes).unwrap(),
            );
        }
    }
    for (name, page) in [pages::of_gate_config(), pages::of_client_config()] {
        files.insert(format!("man/{name}"), page);
    }
    files
}

/// A command without its hidden commands.
fn shown(command: &clap::Command) -> clap::Command {
    let kept = command
        .get_subcommands()
        .filter(|one| !one.is_hide_set())
        .map(shown);
    let forever = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let mut bare = clap::Command::new(forever(command.get_name()));
    bare = bare
        .args(command.get_arguments().cloned())
        .groups(command.get_groups().cloned());
    bare = bare
        .subcommand_required(command.is_subcommand_required_set())
        .subcommands(kept);
    bare = command
        .get_about()
        .cloned()
        .into_iter()
        .fold(bare, clap::Command::about);
    command
        .get_version()
        .map(forever)
        .into_iter()
        .fold(bare, clap::Command::version)
}

/// The files under `dist/`.
fn there() -> Files {
    let mut files = Files::new();
    for folder in [
        "man",
        "completions/bash",
        "completions/zsh",
        "completions/fish",
    ] {
        for entry in fs::read_dir(dist().join(folder))
            .into_iter()
            .flatten()
            .map(Result::unwrap)
        {
            files.insert(
                format!("{folder}/{}", entry.file_name().to_string_lossy()),
                fs::read_to_string(entry.path()).unwrap(),
            );
        }
    }
    files
}

fn write_anew() {
    there()
        .keys()
        .for_each(|path| fs::remove_file(dist().join(path)).unwrap());
    for (path, text) in made() {
        fs::create_dir_all(dist().join(&path).parent().unwrap()).unwrap();
        fs::write(dist().join(path), text).unwrap();
    }
}

fn are_what_the_code_says() {
    let (made, there) = (made(), there());
    let all: std::collections::BTreeSet<&String> = made.keys().chain(there.keys()).collect();
    let differing: Vec<&String> = all
        .into_iter()
        .filter(|path| made.get(*path) != there.get(*path))
        .collect();
    assert!(
        differing.is_empty(),
        "write them with POSTERN_WRITE_MANUAL=1 cargo test --test manual: {differing:?}"
    );
}

fn man_shows_pages_without_warning() {
    let pages: Vec<String> = there()
        .into_keys()
        .filter(|path| path.starts_with("man/"))
        .collect();
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file"])
            .arg(dist().join(&page));
        man.env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80")
            .env("MANROFFSEQ", "")
            .env("MAN_KEEP_STDERR", "1")
            .env("PAGER", "cat");
        let output = man.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{page}: {said}");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains("NAME"), "{page}:\n{shown}");
        assert!(shown.lines().count() > 10, "{page}:\n{shown}");
    }
}

fn can_be_read(shell: &str, check: &str) {
    for path in there()
        .into_keys()
        .filter(|path| path.starts_with(&format!("completions/{shell}/")))
    {
        let output = Command::new(shell)
            .arg(check)
            .arg(dist().join(&path))
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{path}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Completes like bash does after a tab.
fn bash_completes() {
    for (words, wanted, unwanted) in [
        (&["posternd", "st"][..], "status", "engine"),
        (&["posternd", ""], "run", "engine"),
        (&["posternd", "run", "--"], "--trial", "--json"),
        (&["postern", "kn"], "knock", "keygen"),
        (&["postern", "knock", "--dry"], "--dry-run", "--print"),
    ] {
        let script = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _{} {} \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            dist().join("completions/bash").join(words[0]).display(),
            words
                .iter()
                .map(|word| format!("'{word}'"))
                .collect::<Vec<_>>()
                .join(" "),
            words.len() - 1,
            words[0],
            words[0]
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let offered: Vec<&str> = said.lines().collect();
        assert!(
            offered.contains(&wanted) && !offered.contains(&unwanted),
            "{words:?}: {offered:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
