//! Man pages: one for each command of each program, and one for each config file.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use serde::Deserialize;

use crate::texts::{CLIENT, GATE, Key, Section};

const SOURCE: &str = concat!("Postern ", env!("CARGO_PKG_VERSION"));
const MANUAL: &str = "Postern";

/// The parts of a program's page that are not in its help.
#[derive(Deserialize)]
pub(crate) struct Extra {
    section: String,
    /// Headings with paragraphs; a paragraph is a term, which may be empty, and a text.
    parts: Vec<(String, Vec<(String, String)>)>,
    see_also: Vec<String>,
}

pub(crate) fn extra(text: &str) -> Extra {
    toml::from_str(text).unwrap()
}

/// The pages of a program and its visible commands, with file names.
pub(crate) fn of_program(command: Command, extra: &Extra) -> Vec<(String, String)> {
    let mut command = command
        .disable_help_subcommand(true)
        .subcommand_value_name("command");
    command.build();
    let mut pages = Vec::new();
    of_command(&command, extra, None, &mut pages);
    pages
}

fn of_command(
    command: &Command,
    extra: &Extra,
    parent: Option<&str>,
    pages: &mut Vec<(String, String)>,
) {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(&extra.section)
        .source(SOURCE)
        .manual(MANUAL);
    let mut bytes = Vec::new();
    man.render_title(&mut bytes).unwrap();
    man.render_name_section(&mut bytes).unwrap();
    man.render_synopsis_section(&mut bytes).unwrap();
    man.render_description_section(&mut bytes).unwrap();
    if command
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
    {
        man.render_options_section(&mut bytes).unwrap();
    }
    let shown: Vec<&Command> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    if !shown.is_empty() {
        man.render_subcommands_section(&mut bytes).unwrap();
    }
    let mut page = String::from_utf8(bytes)
        .unwrap()
        .replace(".SH SUBCOMMANDS", ".SH COMMANDS");
    let mut rest = Roff::new();
    exit_status(&mut rest, command);
    match parent {
        None => {
            for (heading, paragraphs) in &extra.parts {
                rest.control("SH", [heading.as_str()]);
                paragraphs
                    .iter()
                    .for_each(|(term, text)| paragraph(&mut rest, term, text));
            }
            see_also(&mut rest, &extra.see_also);
        }
        Some(parent) => see_also(&mut rest, &[format!("{parent}({})", extra.section)]),
    }
    page.push_str(&rest.to_roff());
    pages.push((
        format!("{name}.{}", extra.section),
        with_one_preamble(&page),
    ));
    shown
        .into_iter()
        .for_each(|command| of_command(command, extra, Some(&name), pages));
}

/// The text after the help.
fn exit_status(roff: &mut Roff, command: &Command) {
    let Some(text) = command.get_after_help().map(ToString::to_string) else {
        return;
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.strip_prefix("Exit status: ") {
        Some(codes) => {
            roff.control("SH", ["EXIT STATUS"]);
            roff.text([roman(codes)]);
        }
        None => {
            roff.control("SH", ["NOTES"]);
            roff.text([roman(text)]);
        }
    }
}

fn paragraph(roff: &mut Roff, term: &str, text: &str) {
    if term.is_empty() {
        roff.control("PP", []);
    } else {
        roff.control("TP", []);
        roff.text([bold(term)]);
    }
    roff.text([roman(text)]);
}

fn see_also(roff: &mut Roff, pages: &[impl AsRef<str>]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut words: Vec<Inline> = Vec::new();
    for page in pages {
        let (name, section) = page.as_ref().split_once('(').unwrap();
        let separator = if words.is_empty() { "" } else { ", " };
        words.extend([roman(separator), bold(name), roman(format!("({section}"))]);
    }
    roff.text(words);
}

/// The page of the gate's config.
pub(crate) fn of_gate_config() -> (String, String) {
    let about = "The config of a gate is TOML: /etc/postern/posternd.toml and the files services.d/*.toml and users.d/*.toml beside it, in the order of their names. They hold keys, so they must belong to root, and no other user may have access. An unknown key is an error. posternd check lists every error with file, line and cure. posternd reads a changed config on SIGHUP, unless it has an error.";
    let see = ["posternd(8)", "postern-config(5)"];
    let page = config(
        "posternd.toml",
        "the config of a Postern gate",
        about,
        &GATE[1..],
        GATE_EXAMPLE,
        &see,
    );
    ("posternd.toml.5".to_owned(), page)
}

/// The page of the client's config.
pub(crate) fn of_client_config() -> (String, String) {
    let about = "The config of the client is TOML: $XDG_CONFIG_HOME/postern/config.toml, else ~/.config/postern/config.toml. It holds keys, so others must not be able to read it. Each table is a profile; postern knock takes its name. An unknown key is an error.";
    let see = ["postern(1)", "posternd.toml(5)"];
    let page = config(
        "postern-config",
        "the profiles of the Postern client",
        about,
        &CLIENT,
        CLIENT_EXAMPLE,
        &see,
    );
    ("postern-config.5".to_owned(), page)
}

pub(crate) const GATE_EXAMPLE: &str = include_str!("gate_example.toml");

pub(crate) const CLIENT_EXAMPLE: &str = include_str!("client_example.toml");

fn config(
    name: &str,
    short: &str,
    about: &str,
    sections: &[Section],
    example: &str,
    see: &[&str],
) -> String {
    let mut roff = Roff::new();
    roff.control(
        "TH",
        [name.to_uppercase().as_str(), "5", "", SOURCE, MANUAL],
    );
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {short}"))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(about)]);
    for section in sections {
        roff.control("SH", [section.name.as_str()]);
        roff.text([roman(&section.about)]);
        section.keys.iter().for_each(|key| of_key(&mut roff, key));
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    example
        .lines()
        .for_each(|line| _ = roff.text([roman(line)]));
    roff.control("fi", []);
    see_also(&mut roff, see);
    roff.to_roff()
}

fn of_key(roff: &mut Roff, key: &Key) {
    roff.control("TP", []);
    roff.text([bold(&key.name), roman(" = "), italic(&key.takes)]);
    let default = key
        .default
        .as_ref()
        .map(|default| format!(" Default: {default}."))
        .unwrap_or_default();
    roff.text([roman(format!("{}{default}", key.about))]);
}

/// Keeps only the first definition of the apostrophe.
fn with_one_preamble(page: &str) -> String {
    let is_preamble = |line: &&str| line.starts_with(".ie ") || line.starts_with(".el ");
    let lines = page
        .lines()
        .take(2)
        .chain(page.lines().skip(2).filter(|line| !is_preamble(line)));
    lines.map(|line| format!("{line}\n")).collect()
}
