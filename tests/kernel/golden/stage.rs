//! Where commands are typed so that what they print is kept: on the machines of the documentation, each command under its own name.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::commands::{self, Kind};
use super::masks::Masks;
use postern_harness::hosts::Hosts;

/// What every command printed, by the name of its golden file.
pub(crate) type Transcripts = BTreeMap<String, String>;

/// Between what a shell hands back: standard output, standard error, and how it ended.
const CUT: char = '\u{1e}';

pub(crate) struct Stage {
    pub(crate) world: Hosts,
    masks: Masks,
    told: Transcripts,
}

impl Stage {
    /// The three machines, with these servers.
    pub(crate) fn with(servers: &[&str]) -> Self {
        let words: Vec<String> = servers.iter().map(|word| (*word).to_owned()).collect();
        Self {
            world: Hosts::make(&words),
            masks: Masks::new(),
            told: Transcripts::new(),
        }
    }

    /// Runs a script. `HOST$ COMMAND` keeps what the command prints; a line `> COMMAND` below it is run in its place.
    /// `HOST: COMMAND` only prepares, and `#` begins a comment.
    pub(crate) fn play(&mut self, script: &str) {
        let mut lines = script
            .lines()
            .filter(|line| !line.starts_with('#'))
            .peekable();
        while let Some(line) = lines.next() {
            let (host, rest) = line.split_at(line.find(['$', ':']).unwrap());
            let (is_shown, shown) = (rest.starts_with('$'), &rest[2..]);
            let command = lines.next_if(|next| next.starts_with("> "));
            if is_shown {
                self.tell_as(host, shown, command.map_or(shown, |line| &line[2..]));
            } else {
                self.does(host, shown);
            }
        }
    }

    /// Types a command and keeps what it prints.
    pub(crate) fn tell(&mut self, machine: &str, command: &str) {
        self.tell_as(machine, command, command);
    }

    /// The same, where what runs is more than what is shown.
    pub(crate) fn tell_as(&mut self, machine: &str, shown: &str, command: &str) {
        let script = format!(
            "( {command}\n) >/run/told.out 2>/run/told.err </dev/null; code=$?; cat /run/told.out; printf '\\036'; cat /run/told.err; printf '\\036%d' $code"
        );
        let printed = self.world.host(machine).run(&script);
        let parts: Vec<&str> = printed.split(CUT).collect();
        let [out, err, code] = parts[..] else {
            panic!("{shown}: {printed}")
        };
        let (name, kind) = commands::named_in(shown);
        let text = self.told.entry(commands::file(&name, kind)).or_default();
        let _ = writeln!(text, "{machine}$ {shown}");
        text.push_str(&self.masks.put_on(out));
        if !out.is_empty() && !out.ends_with('\n') {
            text.push_str("[no newline]\n");
        }
        for line in self.masks.put_on(err).lines() {
            let _ = writeln!(text, "{}{line}", Kind::ASIDE);
        }
        if code != "0" {
            let _ = writeln!(text, "[exit status {code}]");
        }
    }

    /// Runs a command that only prepares; it must succeed.
    pub(crate) fn does(&self, machine: &str, command: &str) -> String {
        let said = self.world.host(machine).run(command);
        assert!(
            !said.contains("[exit status"),
            "{machine}$ {command}\n{said}"
        );
        said
    }

    pub(crate) fn all_told(self) -> Transcripts {
        self.told
    }
}
