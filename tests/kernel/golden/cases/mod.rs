//! The cases: which commands are typed where, in which order, so that each shows its ordinary answer and its important failures.

mod why;

use super::commands::{self, Kind};
use super::stage::{Stage, Transcripts};

/// Commands that are typed on machines which they share.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Whose text and JSON come of it.
    commands: &'static [&'static str],
    /// As `Hosts::make` names them.
    servers: &'static [&'static str],
    story: fn(&mut Stage),
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "setting_up",
        commands: &[
            "posternd",
            "posternd init",
            "posternd check",
            "posternd import",
            "posternd user",
            "posternd user add",
            "posternd user list",
            "posternd user show",
            "posternd user remove",
            "posternd user disable",
            "posternd user enable",
            "posternd user rotate",
            "postern",
            "postern keygen",
            "postern enroll",
            "postern import",
            "postern profiles",
        ],
        servers: &[],
        story: setting_up,
    },
    Case {
        name: "roster",
        commands: &[
            "posternd roster",
            "posternd roster init",
            "posternd roster add",
            "posternd roster remove",
            "posternd roster sign",
            "posternd roster verify",
            "posternd roster apply",
            "posternd roster publish",
            "posternd roster pull",
        ],
        servers: &[],
        story: roster,
    },
    Case {
        name: "gate",
        commands: &[
            "posternd run",
            "posternd status",
            "posternd grants",
            "posternd metrics",
            "posternd close",
            "posternd confirm",
            "posternd reload",
            "posternd flush",
            "posternd reset-clock",
        ],
        servers: &[],
        story: gate,
    },
    Case {
        name: "client",
        commands: &[
            "postern knock",
            "postern close",
            "postern connect",
            "postern run",
            "postern keep",
            "postern open-packet",
        ],
        servers: &["gate/http:8080"],
        story: client,
    },
    Case {
        name: "why",
        commands: &["posternd explain"],
        servers: &[],
        story: why::story,
    },
    Case {
        name: "demo",
        commands: &["posternd demo"],
        servers: &[],
        story: demo,
    },
];

impl Case {
    /// The golden files that come of it.
    pub(crate) fn files(&self) -> Vec<String> {
        let own = commands::all().into_iter().filter(|(command, kind)| {
            *kind != Kind::Help && self.commands.contains(&command.as_str())
        });
        own.map(|(command, kind)| commands::file(&command, kind))
            .collect()
    }

    pub(crate) fn give(&self) -> Transcripts {
        let mut stage = Stage::with(self.servers);
        (self.story)(&mut stage);
        stage.all_told()
    }
}

/// A gate is set up and gets users, with nothing running and then with a daemon; a client gets profiles.
fn roster(stage: &mut Stage) {
    stage.play(include_str!("roster.txt"));
}

fn setting_up(stage: &mut Stage) {
    stage.play(include_str!("setting_up.txt"));
    let token = stage.does(
        "gate",
        "posternd user add --json erin -s tcp/22 | grep -o 'postern-secret-1[A-Za-z0-9_.-]*'",
    );
    let you = stage.world.host("you");
    you.write("~/token", &token);
    you.write("~/profile.toml", PROFILE);
    stage.play(include_str!("profiles.txt"));
}

/// A gate that runs, with grants open: what it reports, and what changes it.
fn gate(stage: &mut Stage) {
    set_up(stage);
    stage.play(include_str!("gate.txt"));
}

/// A client and a running gate: knocks, ports that open, and errors.
fn client(stage: &mut Stage) {
    set_up(stage);
    stage.play(include_str!("client.txt"));
}

fn demo(stage: &mut Stage) {
    for options in ["nftables", "nftables --classic", "nftables --json", "pf"] {
        stage.tell("gate", &format!("posternd demo --backend {options}"));
    }
}

/// Where both ends take the same key from.
const KEY: &str = "fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU=";

/// A gate with one user, who has two profiles; it does not run yet.
fn set_up(stage: &Stage) {
    let config = GATE.replace("KEY", KEY);
    stage
        .world
        .host("gate")
        .write("/etc/postern/posternd.toml", &config);
    stage.does("gate", "chmod 755 /etc/postern");
    stage.world.host("you").write(
        "~/.config/postern/config.toml",
        &PROFILES.replace("KEY", KEY),
    );
}

const GATE: &str = r#"[gate]
name = "gate.example.org"

[firewall]
backend = "nftables"

[service.web]
ports = ["tcp/8080"]

[service.inner]
ports = ["tcp/2222"]
forward = "10.0.0.5:22"
masquerade = true

[service.range]
ports = ["udp/7000-7010"]
forward = "10.0.0.5"

[[user]]
name = "alice"
key = "KEY"
services = ["tcp/22", "web", "inner", "range"]
targets = ["10.0.0.0/24"]
quota = "100/h"
"#;

const PROFILES: &str = r#"[home]
gate = "gate.example.org"
address = "192.0.2.1:62201"
key = "KEY"
services = ["tcp/22"]

[both]
gate = "gate.example.org"
key = "KEY"
services = ["web"]
duration = "10m"
"#;

const PROFILE: &str = r#"[work]
gate = "work.example.org"
address = ["work.example.org", "[2001:db8::1]:4000"]
key = "fyPbTQjV707H1t6C4O0gMNzlbQwzTDsnkmtueUN8kiU="
services = ["tcp/22", "web"]
duration = "10m"
code = "ask"
"#;
