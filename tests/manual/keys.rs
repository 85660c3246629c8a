//! Compares the keys in the errors of config readers with the manual.

use std::path::Path;

use crate::pages;
use crate::texts::{CLIENT, GATE, Section};
use postern::adapters::config;
use postern::adapters::config::bundle::{Bundle, BundleFile};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// No reader knows this key.
const UNKNOWN: &str = "nobody_knows_this";

fn names(section: &Section) -> Vec<&str> {
    let mut names: Vec<&str> = section.keys.iter().map(|key| key.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn sorted<'t>(words: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words
}

/// A config with an unknown key in this table.
fn with_unknown(section: &str) -> String {
    let unknown = format!("{UNKNOWN} = 1\n");
    let (gate, user) = (
        "[gate]\nname = \"g\"\n",
        "[[user]]\nname = \"a\"\nservices = [\"tcp/22\"]\n",
    );
    match section {
        "posternd.toml" => format!("{unknown}{gate}"),
        "[gate]" => format!("{gate}{unknown}"),
        "[[user]]" => format!("{gate}{user}{unknown}"),
        "max_prefix" | "fwknop" => format!("{gate}{user}{section}.{unknown}"),
        "capture" => format!("{gate}capture.{unknown}"),
        "[service.NAME]" => format!("{gate}[service.NAME]\n{unknown}").replace("NAME", "web"),
        other => format!("{gate}{other}\n{unknown}"),
    }
}

pub(crate) fn every_key_of_the_gate_is_told() {
    for section in &*GATE {
        let text = with_unknown(&section.name);
        let problems = config::load(&Bundle::of_main("posternd.toml", &*text)).unwrap_err();
        let problem = problems
            .0
            .iter()
            .find(|problem| problem.what.contains(UNKNOWN))
            .unwrap_or_else(|| panic!("{text}\n{problems}"));
        let (_, known) = problem
            .cure
            .split_once(" are ")
            .unwrap_or_else(|| panic!("{problem}"));
        assert_eq!(
            sorted(known.split(", ")),
            names(section),
            "keys of {} in the reader and in the manual",
            section.name
        );
    }
    // Every table of the first section has a section.
    for key in &GATE[0].keys {
        let is_told = GATE.iter().any(|section| {
            section.name.trim_matches(['[', ']']).split('.').next() == Some(key.name.as_str())
        });
        assert!(is_told, "{}", key.name);
    }
}

pub(crate) fn every_key_of_a_profile_is_told() {
    for section in &*CLIENT {
        let table = if section.name == "[PROFILE]" {
            String::new()
        } else {
            format!("{}.", section.name)
        };
        told(section, &format!("{table}{UNKNOWN} = 1"));
    }
}

fn told(section: &Section, line: &str) {
    let text = format!("[home]\ngate = \"g\"\n{line}\n");
    let said = postern::client::profile::parse(&text, Path::new("config.toml"))
        .unwrap_err()
        .to_string();
    let (_, known) = said
        .split_once("expected one of ")
        .unwrap_or_else(|| panic!("{said}"));
    let known = known
        .split(';')
        .next()
        .unwrap()
        .split(", ")
        .map(|word| word.trim_matches('`'));
    assert_eq!(
        sorted(known),
        names(section),
        "keys of {} in the reader and in the manual",
        section.name
    );
}

/// The settings of a config; alice.key holds a key.
fn loaded(text: &str) -> String {
    let mut bundle = Bundle::of_main("posternd.toml", text);
    bundle.keys.push(BundleFile::new("alice.key", KEY));
    let loaded = config::load(&bundle).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    format!("{:?}", loaded.settings)
}

pub(crate) fn defaults_hold() {
    let user = format!("[[user]]\nname = \"a\"\nkey = \"{KEY}\"\nservices = [\"tcp/22\"]");
    let base = |section: &str| {
        let needed = match section {
            "[gate]" => "",
            "[metrics]" => "[metrics]\nfile = \"/m.prom\"",
            "[firewall.command]" => "[firewall.command]\nopen = [\"/o\"]\nclose = [\"/c\"]",
            "[service.NAME]" => "[service.web]\nports = [\"tcp/80\"]",
            "[cluster]" => {
                "[cluster]\ncoordinator = \"etcd\"\nendpoints = [\"http://127.0.0.1:2379\"]"
            }
            "[roster]" => {
                "[roster]\ntrust = [\"RWR461umz//2KQ9DlteZfIj08BJlVcxEdi0Z5fCgaKj6N9gotSYGr41L\"]"
            }
            "[[user]]" => &user,
            "max_prefix" => &format!("{user}\n[user.max_prefix]"),
            "fwknop" => {
                "[[user]]\nname = \"a\"\nservices = [\"tcp/22\"]\n[user.fwknop]\npassphrase = \"k\"\nhmac_passphrase = \"m\""
            }
            other => other,
        };
        format!("[gate]\nname = \"g\"\n{needed}\n")
    };
    let mut tried = 0;
    // Without the feature, a config with a coordinator is refused.
    let can_load = |name: &str| name != "[cluster]" || cfg!(feature = "etcd");
    for section in GATE.iter().filter(|section| can_load(&section.name)) {
        let base = base(&section.name);
        for key in &section.keys {
            let Some(default) = key.default.as_ref().filter(|default| *default != "none") else {
                continue;
            };
            // Only a service that forwards can masquerade.
            let base = if key.name == "masquerade" {
                format!("{base}forward = \"10.0.0.5:22\"\n")
            } else {
                base.clone()
            };
            assert_eq!(
                loaded(&format!("{base}{} = {default}\n", key.name)),
                loaded(&base),
                "the default of {} in {}",
                key.name,
                section.name
            );
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

pub(crate) fn examples_are_right() {
    assert!(loaded(pages::GATE_EXAMPLE).contains("gate.example.org"));
    let profiles =
        postern::client::profile::parse(pages::CLIENT_EXAMPLE, Path::new("config.toml")).unwrap();
    assert!(profiles.contains_key("home"));
}
